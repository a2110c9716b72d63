"""What `fit` returns: the losses and metrics of each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping


class History:
    """The record of a training run.

    Parameters
    ----------
    first
        The number of the first epoch.

    Attributes
    ----------
    epoch
        The numbers of the epochs.
    history
        For "loss", each metric's name and, with validation data, "val_" before each of these: a
        list of values, one an epoch. Callbacks may add names, such as "learning_rate"; a NaN stands
        for an epoch in which one was not given.

    Examples
    --------
    >>> record = History()
    >>> record.append({"loss": 0.5, "val_loss": 0.75})
    >>> record.history["val_loss"]
    [0.75]
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, values: Mapping[str, float]) -> None:
        """Add the values of the next epoch."""
        earlier = len(self.epoch)
        self.epoch.append(self._first + earlier)
        for name in {**self.history, **values}:
            self.history.setdefault(name, [math.nan] * earlier).append(values.get(name, math.nan))
