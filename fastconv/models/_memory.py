"""The memory that activations take: counted on what a call of each layer makes and keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._checks import Shape
from fastconv.layers import Backprop, Layer
from fastconv.layers._gates import swapped
from fastconv.models import _reach


@dataclass(frozen=True)
class Memory:
    """Bytes for one layer and one batch.

    Attributes
    ----------
    inference
        The layer's output.
    training
        What of the layer's call is kept for the way back: its output, if this layer or the next
        needs it there, and what else it has made, such as a mask.
    """

    inference: int
    training: int


def measured(chain: Sequence[Layer], shape: Shape, batch_size: int) -> list[Memory] | None:
    """Return the memory for each layer of a chain; None where a size of the input is open.

    One and two images of zeros are sent through, and the arrays counted that the ways back hold:
    what a layer keeps is known to nobody but itself. The rest is a straight line.
    """
    if any(size is None for size in shape[1:]):
        return None
    one, two = (_counted(chain, (count, *shape[1:])) for count in (1, 2))
    return [
        Memory(
            a.inference + (batch_size - 1) * (b.inference - a.inference),
            a.training + (batch_size - 1) * (b.training - a.training),
        )
        for a, b in zip(one, two, strict=True)
    ]


def _counted(chain: Sequence[Layer], shape: Shape) -> list[Memory]:
    """Return the memory of each layer for a batch of this shape."""
    known = {id(_owner(weight)) for layer in chain for weight in layer.weights}
    x = np.zeros([size or 0 for size in shape], chain[0].dtype)
    known.add(id(x))
    x = x[_reach.reached(chain, x.shape)]
    made: list[npt.NDArray[Any]] = []  # keeps the outputs alive, so that no id is used twice
    ways: list[Backprop] = []
    for layer in chain:
        x, way = layer.forward(x, training=True)
        made.append(_owner(x))
        ways.append(way)
        if len(ways) > 1:
            ways[-2:] = swapped(*ways[-2:])
    kept = {id(a): (a, index) for index, way in reversed([*enumerate(ways)]) for a in _held(way)}
    kept |= {id(a): (a, index) for index, a in reversed([*enumerate(made)]) if id(a) in kept}
    training = [0] * len(chain)
    for key, (array, index) in kept.items():
        if key not in known:
            training[index] += array.nbytes
    before = [None, *made[:-1]]  # a layer that returns a view of its input has made nothing
    outputs = [
        0 if id(a) in known or a is b else a.nbytes for a, b in zip(made, before, strict=True)
    ]
    return [Memory(*pair) for pair in zip(outputs, training, strict=True)]


def _held(way: Backprop) -> Iterator[npt.NDArray[Any]]:
    """Yield the arrays that a way back keeps alive, each as the array that owns its memory."""
    seen: set[int] = set()
    rest: list[Any] = [way.pullback]
    while rest:
        thing = rest.pop()
        if id(thing) in seen or isinstance(thing, (Layer, type, str)):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            yield _owner(thing)
        elif isinstance(thing, Mapping):
            rest += thing.values()
        elif isinstance(thing, (list, tuple, set, frozenset)):
            rest += thing
        else:
            rest += _inside(thing)


def _inside(thing: Any) -> list[Any]:
    """Return what a function holds: variables around it, defaults, arguments, attributes."""
    found = []
    for cell in getattr(thing, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            continue
    found += getattr(thing, "__defaults__", None) or ()
    found += [getattr(thing, name, None) for name in ("__self__", "func", "args", "keywords")]
    found += vars(thing).values() if is_dataclass(thing) else ()
    return [item for item in found if item is not None]


def _owner(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array whose memory a view shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
