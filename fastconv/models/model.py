"""What every model does with its layers: predict, and learn."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv._checks import Array
from fastconv.models._examples import batches
from fastconv.models._identity import same_objects
from fastconv.models._progress import Verbosity, tracked
from fastconv.models._trained import Trained

Predictor: TypeAlias = Callable[[npt.NDArray[Any]], Array]


class Model(Trained):
    """A function of one input, made of layers, that can be trained.

    A deep copy and a pickle hold all of it, the optimizer and what that remembers included, so that
    their training goes on with the same bits.

    A kind of model says how its layers are connected: in `build`, `__call__`, `forward` and
    `_prepare`.
    """

    _ready: _Ready | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is packed for `predict`: a copy packs its own."""
        return {**vars(self), "_ready": None}

    # -- what a kind of model gives

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
        until a weight or an activation is replaced. The last bits can differ from those of a call
        of the model.

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
        cut = batches(len(inputs), batch_size) or [slice(0, 0)]
        shown = tracked(cut, "predict", verbose)
        outputs = [function(inputs[batch]) for batch in shown]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def _function(self, size: tuple[int, ...]) -> Predictor:
        """Return the model prepared for inputs of this size: the last one made, while it holds."""
        layers = self.layers
        parts: list[object] = [*layers, *[getattr(layer, "activation", None) for layer in layers]]
        parts += [weight for layer in layers for weight in layer.weights]
        ready = self._ready
        if ready is None or not ready.holds(size, parts):
            ready = self._ready = _Ready(size, parts, self._prepare(size))
        return ready.function


@dataclass(frozen=True)
class _Ready:
    """A model prepared for one input size, and what that rests on: layers, activations, weights.

    Weights are never written to, only replaced: the same arrays are the same weights.
    """

    size: tuple[int, ...]
    parts: Sequence[object]
    function: Predictor

    def holds(self, size: tuple[int, ...], parts: Sequence[object]) -> bool:
        """Return whether the size and the parts are still those."""
        return self.size == size and same_objects(self.parts, parts)
