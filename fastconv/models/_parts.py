"""A batch of training in parts, so that a step works in the caches, in memory that is bounded.

Parts of 32 images took, one thread, of the time of 128 at once: 0.54 for a network of 6 3x3
convolutions on 64x64 images, whose arrays of 67 MB each are memory that the system has to clear
again and again; 0.93 for one of two convolutions on 28x28. LeNet-5, whose arrays fit anyway, loses
by parts (1.15): it is left whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastconv import layers as _layers
from fastconv import losses as _losses
from fastconv._checks import Array, Shape
from fastconv._fastconv_core import flushed_denormals
from fastconv.layers import BatchNormalization, Dropout, Layer
from fastconv.losses import Loss
from fastconv.models._identity import same_objects

_LEAST = 32  # examples: with fewer, what a call costs by itself shows (16 took 1.03 to 1.14)
_ENOUGH = 5 << 20  # bytes of outputs, of all layers together, with which no call is a short one

# Kinds that may treat each example by itself, a kind derived from them not included: another could
# look at the batch as a whole, as batch normalization does.
_APART = {getattr(module, name) for module in (_layers, _losses) for name in module.__all__} - {
    BatchNormalization
}


def _is_apart(layer: Layer) -> bool:
    """Return whether a layer is known to treat each example by itself."""
    # A mask given the batch's size, or one decision for all of it, is that of a whole batch.
    noise_shape = layer.noise_shape if isinstance(layer, Dropout) else None
    return type(layer) in _APART and (noise_shape is None or noise_shape[:1] == (None,))


@dataclass(frozen=True)
class Parts:
    """How batches of examples of one size are cut for some layers."""

    layers: Sequence[Layer]
    trainable: Sequence[bool]
    size: tuple[int, ...]
    most: int | None

    @classmethod
    def of(cls, layers: Sequence[Layer], size: tuple[int, ...]) -> Parts:
        """Return the cut for a chain of built layers and inputs of this size."""
        trainable = [layer.trainable for layer in layers]
        if not all(map(_is_apart, layers)):
            return cls(layers, trainable, size, None)
        shape: Shape = (None, *size)
        outputs = 0
        for layer in layers:
            shape = layer.compute_output_shape(shape)
            outputs += math.prod(extent or 0 for extent in shape[1:]) * layer.dtype.itemsize
        # Each part reads all weights and adds to all their gradients: it is to have as many bytes.
        weights = sum(weight.nbytes for layer in layers for weight in layer.trainable_weights)
        return cls(layers, trainable, size, max(_LEAST, max(_ENOUGH, weights) // max(outputs, 1)))

    def holds(self, layers: Sequence[Layer], size: tuple[int, ...]) -> bool:
        """Return whether these are still the layers, as frozen as they were, and the size."""
        return (
            self.size == size
            and same_objects(self.layers, layers)
            and all(a is b.trainable for a, b in zip(self.trainable, layers, strict=True))
        )

    def cut(self, count: int, loss: Loss) -> list[slice]:
        """Return a batch of `count` examples cut into parts as equal as can be."""
        if self.most is None or type(loss) not in _APART:
            return [slice(0, count)]
        parts = -(-count // self.most)
        ends = [count * part // parts for part in range(parts + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(ends)]


def added(sums: Sequence[Array], more: Sequence[Array]) -> list[Array]:
    """Return the gradients of parts added up, in the arrays of the first."""
    with flushed_denormals():
        return [np.add(a, b, out=a) for a, b in zip(sums, more, strict=True)]
