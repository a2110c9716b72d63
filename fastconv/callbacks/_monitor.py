"""What callbacks compare from epoch to epoch: one of the values that `fit` records."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastconv import _checks
from fastconv.callbacks._base import Callback, Logs


class MonitoringCallback(Callback):
    """A callback that looks for the best value of one name in `logs`.

    A NaN is never better than anything.

    Parameters
    ----------
    monitor
        The name, such as "val_loss".
    mode
        "min" or "max" is better; "auto" asks the metric of that name, a loss being better small.
    min_delta
        By how much a better value must be so.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"monitor must be a name such as 'val_loss', received {monitor!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', received {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = _checks.real("min_delta", min_delta)

    def on_train_begin(self, logs: Logs) -> None:
        """Find out which way is better."""
        names: Sequence[str] = self.params["metrics"]
        if self.monitor.startswith("val_") and not any(name.startswith("val_") for name in names):
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, but fit was given neither "
                "validation_data nor validation_split"
            )
        self._sign = {"min": 1.0, "max": -1.0}[self._resolved()]

    def _resolved(self) -> str:
        """Return "min" or "max"."""
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        found = "min" if name == "loss" else self.model.metric_modes.get(name)
        if found is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether a small or a large {self.monitor!r} "
                "is better: set mode to 'min' or 'max'"
            )
        return found

    def _current(self, logs: Logs) -> float:
        """Return the value of this epoch."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, but there is only "
                f"{', '.join(logs)}"
            )
        return logs[self.monitor]

    def _is_better(self, value: float, than: float | None) -> bool:
        """Return whether a value is better than another by more than `min_delta`."""
        if than is None:
            return not math.isnan(value)
        return self._sign * (than - value) > self.min_delta


def flag_of(verbose: object) -> bool:
    """Return `verbose`, 0 or 1, as a flag."""
    if isinstance(verbose, bool) or verbose not in (0, 1):
        raise ValueError(f"verbose must be 0 or 1, received {verbose!r}")
    return verbose == 1
