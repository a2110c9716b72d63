"""The callbacks that end a training run: when it gets no better, or breaks."""

from __future__ import annotations

import math

from fastconv import _checks
from fastconv._checks import Array
from fastconv.callbacks._base import Callback, Logs
from fastconv.callbacks._monitor import MonitoringCallback, flag_of

__all__ = ["EarlyStopping", "TerminateOnNaN"]


class EarlyStopping(MonitoringCallback):
    """End the training when a value has not become better for some epochs.

    Parameters
    ----------
    monitor
        The value's name in the history.
    min_delta
        By how much a better value must be so.
    patience
        How many epochs without a better value are let pass; the training ends after them.
    verbose
        1 prints a line when it ends the training.
    mode
        "min" or "max" is better; "auto" asks the metric of that name, a loss being better small.
    baseline
        If given, an epoch counts as better only if it beats this value, too.
    restore_best_weights
        Whether the model has the weights of the best epoch when `fit` returns, early or not.
    start_from_epoch
        Epochs before this one are not looked at.

    Attributes
    ----------
    best, best_epoch
        The best value and its epoch, counted from 0; None before the first.
    stopped_epoch
        The epoch after which the training ended, or None if it was not ended.

    Examples
    --------
    >>> stop = EarlyStopping(patience=2, restore_best_weights=True)
    >>> stop.monitor
    'val_loss'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, abs(_checks.real("min_delta", min_delta, -math.inf)))
        self.patience = _checks.integer("patience", patience, 0)
        self.verbose = flag_of(verbose)
        self.baseline = (
            None if baseline is None else _checks.real("baseline", baseline, -float("inf"))
        )
        self.restore_best_weights = _checks.flag("restore_best_weights", restore_best_weights)
        self.start_from_epoch = _checks.integer("start_from_epoch", start_from_epoch, 0)

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training run."""
        super().on_train_begin(logs)
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._best_weights: list[Array] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and end the training where the patience is at its end."""
        current = self._current(logs)
        if epoch < self.start_from_epoch:
            return
        self._waited += 1
        if self._is_better(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
            if self.baseline is None or self._is_better(current, self.baseline):
                self._waited = 0
            return
        if self._waited >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Put the best weights back."""
        if self.stopped_epoch is not None and self.verbose:
            print(f"epoch {self.stopped_epoch + 1}: stopped, {self.monitor} became no better")
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)


class TerminateOnNaN(Callback):
    """End the training when the loss is NaN or infinite, with a message.

    The model goes back to the weights that gave the last finite loss; Keras's callback of this name
    leaves it with NaNs.

    Attributes
    ----------
    stopped_batch
        The step of the epoch, counted from 0, whose loss was not finite; None if there was none.
    """

    def on_train_begin(self, logs: Logs) -> None:
        """Begin with the weights as they are."""
        self.stopped_batch: int | None = None
        self._sound = self._before = self._weights()

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Hold the weights with which the step's loss is computed."""
        self._before = self._weights()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Look at the loss."""
        if math.isfinite(logs["loss"]):
            self._sound = self._before
            return
        print(
            f"step {batch + 1}: the loss is {logs['loss']}, training ends; the model has the "
            "weights of the last finite loss"
        )
        self.stopped_batch = batch
        self.model.stop_training = True
        self.model.set_weights(self._sound)

    def _weights(self) -> list[Array]:
        """Return the weights themselves: they are replaced in training and never written to."""
        return list(self.model.named_weights.values())
