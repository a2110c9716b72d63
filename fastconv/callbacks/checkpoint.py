"""The callback that writes the model into files during training."""

from __future__ import annotations

import os

from fastconv import _checks
from fastconv.callbacks._base import Logs
from fastconv.callbacks._monitor import MonitoringCallback, flag_of

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(MonitoringCallback):
    """Write the model, or its weights alone, after each epoch, or after each better one.

    A file appears under its name only when it is complete: an interrupted training leaves the one
    before it.

    Parameters
    ----------
    filepath
        The file, such as "best.safetensors"; the epoch (counted from 1) and values of the history
        may be part of it, as in "{epoch:02d}-{val_loss:.2f}.safetensors".
    monitor
        With `save_best_only`, the name of the value that must become better.
    verbose
        1 prints a line for each file.
    save_best_only
        Whether only better epochs are written.
    save_weights_only
        Whether `Model.save_weights` writes the file, rather than `Model.save`.
    mode
        "min" or "max" is better; "auto" asks the metric of that name, a loss being better small.
    initial_value_threshold
        The value that the first epoch must beat with `save_best_only`, such as an earlier best.

    Examples
    --------
    >>> keep = ModelCheckpoint("best.safetensors", monitor="val_accuracy", save_best_only=True)
    >>> keep.monitor
    'val_accuracy'
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath = str(_checks.path("filepath", filepath))
        self.verbose = flag_of(verbose)
        self.save_best_only = _checks.flag("save_best_only", save_best_only)
        self.save_weights_only = _checks.flag("save_weights_only", save_weights_only)
        self.best = (
            None
            if initial_value_threshold is None
            else _checks.real("initial_value_threshold", initial_value_threshold, -float("inf"))
        )

    def on_train_begin(self, logs: Logs) -> None:
        """Find out which way is better, if that is asked."""
        if self.save_best_only:
            super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the file, if there is reason to."""
        if self.save_best_only:
            current = self._current(logs)
            if not self._is_better(current, self.best):
                return
            self.best = current
        path = self._path(epoch, logs)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"epoch {epoch + 1}: wrote {path}")

    def _path(self, epoch: int, logs: Logs) -> str:
        """Return the file's name for this epoch."""
        try:
            return self.filepath.format(**{**logs, "epoch": epoch + 1})
        except (AttributeError, LookupError, ValueError) as error:
            raise ValueError(
                f"filepath {self.filepath!r} cannot be filled from epoch, {', '.join(logs)}: "
                f"{error}"
            ) from error
