"""What every model does with its layers: predict, and learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv import _checks
from fastconv import losses as _losses
from fastconv import metrics as _metrics
from fastconv import optimizers as _optimizers
from fastconv._checks import Array
from fastconv.layers import Backprop
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.models import _training
from fastconv.models._history import History
from fastconv.models._layered import Layered
from fastconv.models._progress import Progress, Verbosity, tracked
from fastconv.optimizers import Optimizer

Predictor: TypeAlias = Callable[[npt.ArrayLike], Array]


class Model(Layered):
    """A function of one input, made of layers, that can be trained.

    A kind of model says how its layers are connected: in `build`, `__call__`, `forward` and
    `_prepare`.
    """

    _seed: int
    _recipe: _training.Recipe | None = None
    _ready: _Ready | None = None

    # -- what a kind of model gives

    @abstractmethod
    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights for inputs of this shape, batch included, if there are none yet."""

    @abstractmethod
    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the output for x, with nothing packed and nothing kept."""

    @abstractmethod
    def forward(self, x: npt.ArrayLike, *, training: bool = False) -> tuple[Array, Backprop]:
        """Return ``(y, backprop)``, in the protocol of `Layer.forward`."""

    @abstractmethod
    def _accept(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return x as an array of a shape that fits; build the model if it is its first."""

    @abstractmethod
    def _prepare(self, size: tuple[int, ...]) -> Predictor:
        """Return the model as it now is, as a function for many calls on inputs of one size."""

    # -- using it

    def predict(
        self,
        x: npt.ArrayLike,
        batch_size: int | None = None,
        verbose: Verbosity = "auto",
    ) -> Array:
        """Return the output for x, batch by batch.

        Kernels are packed for the size of x once, and used again by the next call with that size
        until a weight is replaced. The last bits can differ from those of a call of the model.

        Parameters
        ----------
        x
            Array-like, the batch first.
        batch_size
            How many examples are computed at once; None is 32.
        verbose
            0 shows nothing, 1 a bar, "auto" a bar on a terminal (with tqdm installed).
        """
        inputs = self._accept(x)
        function = self._function(inputs.shape[1:])
        cut = _training.batches(len(inputs), batch_size) or [slice(0, 0)]
        shown = tracked(cut, "predict", verbose)
        return np.concatenate([function(inputs[batch]) for batch in shown])

    def _function(self, size: tuple[int, ...]) -> Predictor:
        """Return the model prepared for inputs of this size: the last one made, while it holds."""
        parts = [*self.layers, *(weight for layer in self.layers for weight in layer.weights)]
        ready = self._ready
        if ready is None or not ready.holds(size, parts):
            ready = self._ready = _Ready(size, parts, self._prepare(size))
        return ready.function

    # -- training

    def compile(
        self,
        optimizer: str | Optimizer,
        loss: str | Loss,
        *,
        metrics: Sequence[str | Metric] | None = None,
    ) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer
            "sgd", "adam" or an `Optimizer`, which then trains this model alone.
        loss
            "sparse_categorical_crossentropy" or a `Loss`.
        metrics
            What else is measured, such as ``["accuracy"]``.
        """
        if isinstance(metrics, str) or not isinstance(metrics or (), Sequence):
            raise TypeError(f"metrics must be a list such as ['accuracy'], received {metrics!r}")
        measured = [_metrics.get(metric) for metric in metrics or ()]
        names = ["loss", *(metric.name for metric in measured)]
        if len(set(names)) < len(names):
            raise ValueError(f"metrics must have names of their own, received {names[1:]}")
        self._recipe = _training.Recipe(
            _optimizers.get(optimizer), _losses.get(loss), tuple(measured)
        )

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbosity = "auto",
        *,
        validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> History:
        """Train, one step of the optimizer for each batch.

        The same seed gives the same weights, bit for bit, on any number of threads. The values
        recorded are the means over an epoch's batches, each as it was before its step.

        Parameters
        ----------
        x, y
            Array-likes of the same length: inputs and what the loss compares with the output.
        batch_size
            Examples in a batch; None is 32. The last batch may be smaller.
        epochs
            How many times all examples are seen.
        verbose
            0 shows nothing, 1 a bar for each epoch and its line, 2 the lines alone; "auto" is 1 on
            a terminal and 2 elsewhere. Without tqdm there is no bar.
        validation_data
            (x, y) that are only measured, after each epoch.
        shuffle
            Whether each epoch has an order of its own.
        seed
            Fixes that order; without it, the model's seed does.

        Returns
        -------
        History
            ``history.history["loss"]``, and so on for the metrics and for "val_loss".
        """
        recipe = self._compiled()
        given = _training.examples(x, y)
        course = _training.Course(
            batch_size=batch_size,
            epochs=_checks.integer("epochs", epochs),
            shuffle=_checks.flag("shuffle", shuffle),
            seed=self._seed if seed is None else _checks.integer("seed", seed, 0),
            validation=_validation(validation_data),
        )
        self.build((None, *given[0].shape[1:]))
        progress = Progress(verbose, course.epochs, len(given[0]))
        return _training.train(self, recipe, given, course, progress)

    def evaluate(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        batch_size: int | None = None,
        verbose: Verbosity = "auto",
    ) -> list[float]:
        """Return ``[loss, *metrics]``, the means over x and y, just as validation gives them.

        The parameters are `fit`'s and `predict`'s.
        """
        recipe = self._compiled()
        given = _training.examples(x, y)
        cut = tracked(_training.batches(len(given[0]), batch_size), "evaluate", verbose)
        return list(_training.measure(self, recipe, given, cut).values().values())

    def _compiled(self) -> _training.Recipe:
        if self._recipe is None:
            raise ValueError(f"model {self.name!r} is not compiled yet: call compile first")
        return self._recipe


@dataclass(frozen=True)
class _Ready:
    """A model prepared for one input size, and what that rests on: its layers and weights.

    Weights are never written to, only replaced: the same arrays are the same weights.
    """

    size: tuple[int, ...]
    parts: Sequence[object]
    function: Predictor

    def holds(self, size: tuple[int, ...], parts: Sequence[object]) -> bool:
        """Return whether the size and the parts are still those."""
        return (
            self.size == size
            and len(self.parts) == len(parts)
            and all(old is new for old, new in zip(self.parts, parts, strict=True))
        )


def _validation(
    data: tuple[npt.ArrayLike, npt.ArrayLike] | None,
) -> _training.Examples | None:
    if data is None:
        return None
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ValueError("validation_data must be a pair (x, y)")
    return _training.examples(*data, names=("validation_data[0]", "validation_data[1]"))
