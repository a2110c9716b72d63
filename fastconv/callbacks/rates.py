"""The callbacks that change the learning rate from epoch to epoch."""

from __future__ import annotations

from collections.abc import Callable

from fastconv import _checks
from fastconv.callbacks._base import Callback, Logs
from fastconv.callbacks._monitor import MonitoringCallback, flag_of

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of each epoch; the history records it.

    Parameters
    ----------
    schedule
        A function from the epoch, counted from 0, and the learning rate to the new one.
    verbose
        1 prints a line for each epoch.

    Examples
    --------
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch % 10 == 9 else rate)
    """

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be a function of (epoch, rate), received {schedule!r}")
        self.schedule = schedule
        self.verbose = flag_of(verbose)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Set the rate."""
        rate = self.schedule(epoch, self.model.optimizer.learning_rate)
        self.model.optimizer.learning_rate = rate
        if self.verbose:
            print(f"epoch {epoch + 1}: learning rate {rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Record the rate."""
        logs["learning_rate"] = self.model.optimizer.learning_rate


class ReduceLROnPlateau(MonitoringCallback):
    """Multiply the learning rate by a factor when a value has not become better for some epochs.

    The history records the rate of each epoch.

    Parameters
    ----------
    monitor
        The value's name in the history.
    factor
        What the rate is multiplied by, in [0, 1).
    patience
        How many epochs without a better value are let pass.
    verbose
        1 prints a line for each change.
    mode
        "min" or "max" is better; "auto" asks the metric of that name, a loss being better small.
    min_delta
        By how much a better value must be so.
    cooldown
        How many epochs after a change are not counted.
    min_lr
        The rate does not go below this one.

    Examples
    --------
    >>> slow_down = ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-5)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor = _checks.real("factor", factor, below=1.0)
        self.patience = _checks.integer("patience", patience, 0)
        self.verbose = flag_of(verbose)
        self.cooldown = _checks.integer("cooldown", cooldown, 0)
        self.min_lr = _checks.real("min_lr", min_lr)

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training run."""
        super().on_train_begin(logs)
        self.best: float | None = None
        self._waited = self._cooling = 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare, and change the rate where the patience is at its end."""
        current = self._current(logs)
        logs["learning_rate"] = self.model.optimizer.learning_rate
        if self._cooling:
            self._cooling -= 1
            self._waited = 0
        if self._is_better(current, self.best):
            self.best = current
            self._waited = 0
        elif not self._cooling:
            self._waited += 1
            if self._waited >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        """Make the rate smaller, unless it is as small as it may be."""
        optimizer = self.model.optimizer
        if optimizer.learning_rate <= self.min_lr:
            return
        optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        self._cooling, self._waited = self.cooldown, 0
        if self.verbose:
            print(f"epoch {epoch + 1}: learning rate reduced to {optimizer.learning_rate:g}")
