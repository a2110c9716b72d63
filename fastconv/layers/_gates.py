"""Ways back through a rectifier and through the pooling after it, in the order that costs least.

A rectifier lets a number of dy through or not, as y in its place says. Max pooling copies numbers,
and its way back hands each on to where it came from. So the two can change places: what the
rectifier would stop after the pooling it can stop before it, where there is a quarter of the
numbers (of 2x2 windows), each bit of the result being the same. The first layer of a network of
two convolutions for 28x28 images makes 2.8 million numbers a batch of 128: 1.8 ms, against 0.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastconv._checks import Array
from fastconv.activations import ActivationFunction, relu, relu6
from fastconv.layers._base import Backprop, Pullback

_Word: TypeAlias = Literal["relu", "relu6"] | None


@dataclass
class Gated:
    """A way back that begins with a rectifier's: some numbers of dy, +0 for the others."""

    activation: ActivationFunction
    y: Array
    rest: Pullback

    def __call__(self, dy: Array, need_dx: bool) -> tuple[Array | list[Array] | None, list[Array]]:
        """Go back; see `Pullback`."""
        return self.rest(self.activation.gradient(dy, self.y, None), need_dx)


@dataclass
class Picked:
    """A way back through a y whose numbers are copies of numbers of x."""

    y: Array
    rest: Pullback

    def __call__(self, dy: Array, need_dx: bool) -> tuple[Array | list[Array] | None, list[Array]]:
        """Go back; see `Pullback`."""
        return self.rest(dy, need_dx)

    def gated(self, activation: ActivationFunction) -> Pullback:
        """Return the way back through this and the activation whose result was x."""
        return Gated(activation, self.y, self.rest)


@dataclass
class Marked(Picked):
    """One that goes back through a rectifier at no cost: the windows are known that it stops.

    `gate` takes the rectifier's word and gives the way back through both.
    """

    gate: Callable[[_Word], Pullback]

    def gated(self, activation: ActivationFunction) -> Pullback:
        """Return the way back through this and the activation whose result was x."""
        if activation is relu or activation is relu6:
            return self.gate(activation.fused)
        return super().gated(activation)


def swapped(before: Backprop, after: Backprop) -> tuple[Backprop, Backprop]:
    """Return the ways back through two layers of a chain, with the gate where it costs least."""
    gated, picked = before.pullback, after.pullback
    if not isinstance(picked, Picked) or not isinstance(gated, Gated):
        return before, after
    moved = picked.gated(gated.activation)
    return before.by(gated.rest), after.by(moved)
