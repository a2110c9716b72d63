"""What `fit` returns: the losses and metrics of each epoch."""

from __future__ import annotations


class History:
    """The record of a training run.

    Attributes
    ----------
    epoch
        The numbers of the epochs, from 0.
    history
        For "loss", each metric's name and, with validation data, "val_" before each of these: a
        list of values, one an epoch.

    Examples
    --------
    >>> record = History()
    >>> record.append({"loss": 0.5, "val_loss": 0.75})
    >>> record.history["val_loss"]
    [0.75]
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def append(self, values: dict[str, float]) -> None:
        """Add the values of the next epoch."""
        self.epoch.append(len(self.epoch))
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
