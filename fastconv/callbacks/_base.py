"""The protocol of a callback: what `fit` tells it, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.models._trained import Trained

Logs = dict[str, float]


class Callback:
    """Something that follows a training run, and may end it by ``self.model.stop_training = True``.

    Each method is told of one moment and does nothing unless a subclass says what. `logs` holds the
    means of the epoch so far by name ("loss", the metrics and, at the end of an epoch, these with
    "val_" before them); what `on_epoch_end` adds to it is recorded in the history. A method
    ``on_...`` that `fit` never calls is refused when the class is made.

    Attributes
    ----------
    model
        The model in training.
    params
        "epochs", "steps" (of an epoch), "verbose" and "metrics", the names that `logs` will have.

    Examples
    --------
    >>> class Shout(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print("epoch", epoch, sorted(logs))
    """

    model: Trained
    params: Mapping[str, Any]

    def __init_subclass__(cls, **words: Any) -> None:
        """Refuse a method that looks like one of the moments and is none."""
        super().__init_subclass__(**words)
        for name in vars(cls):
            if name.startswith("on_") and not hasattr(Callback, name):
                moments = ", ".join(known for known in vars(Callback) if known.startswith("on_"))
                raise TypeError(f"{cls.__name__}.{name} would never be called; there is {moments}")

    def set_model(self, model: Trained) -> None:
        """Take the model, before the training begins."""
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Take the description of the training run, before it begins."""
        self.params = params

    def on_train_begin(self, logs: Logs) -> None:
        """Act before the first epoch; `logs` is empty."""

    def on_train_end(self, logs: Logs) -> None:
        """Act after the last epoch, unless an exception ended the training."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Act before an epoch, counted from 0; `logs` is empty."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Act after an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Act before a step, counted from 0 in each epoch; `logs` is empty."""

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Act after a step."""


class CallbackList(Callback):
    """Several callbacks as one, which are told in their order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = callbacks

    def set_model(self, model: Trained) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.set_model(model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.set_params(params)

    def on_train_begin(self, logs: Logs) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.on_train_begin(logs)

    def on_train_end(self, logs: Logs) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Hand on."""
        for callback in self._callbacks:
            callback.on_train_batch_end(batch, logs)


def checked(callbacks: object) -> list[Callback]:
    """Return `fit`'s argument `callbacks` as a list."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise TypeError(f"callbacks must be a list of Callback objects, received {callbacks!r}")
    return list(callbacks)
