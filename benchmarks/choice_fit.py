"""Constants of csrc/choose.c's cost model, fitted to times: `python -m benchmarks.choice --fit`.

The model is linear: what Winograd's algorithm costs is a sum of products, inputs, outputs and
transformed kernels, each times a constant, in multiply-adds of a direct convolution of one image.
So the constants are those that bring it nearest to the measured ratio of the two algorithms'
times, in relative least squares, and are drawn to those there are where the layers do not say.
Take them over by hand, rounded, and let `python -m benchmarks.choice` say whether any row is off.
Layers of so many channels that the kernel's way through the caches decides, with taps far apart or
of stride 2, say nothing of them and are left out.  The constants must be fitted again when either
algorithm becomes faster, on an idle machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from benchmarks.shapes import Layer

NAMES = ("PRODUCT", "INPUT", "OUTPUT", "KERNEL")

# Outputs of the tiles of float32, by the taps of a piece, of squares and of lines.
_SQUARES = {2: ((4, 4),), 3: ((4, 4),), 4: ((4, 4),), 5: ((2, 2), (2, 3))}
_LINES = (3, 4, 5)

# Outputs of a unit in float32; inputs and outputs of a kernel gradient that are summed at once.
_UNIT, _PART = 16, (128, 64)

# How many times as much a kernel in pieces costs, of two dimensions or one, and what a piece costs
# besides for each tile and position, in products; its gradient costs no more.
_PIECES, _EACH_PIECE = 1.05, 130 / 1.15

# Channels beyond which a product costs STREAM's share, not PRODUCT, and the gap from which PHASES.
_MOST_CHANNELS, _FAR = 512, 3

# What a constant's change by its own size weighs, beside a ratio that is wrong by as much.
_DRAWN = 0.2


def _points(size: int, taps: int, outputs: int, dilation: int) -> tuple[int, int]:
    """Points of a row or column of tiles, of which some take 1 or 2 fewer; how many tiles it is."""

    def points_for(count: int) -> int:
        needed = taps + count - 1
        fewer = (points - 2, points - 1) if points in (5, 6) else ()
        return next((n for n in fewer if needed <= n and outputs > points - n), points)

    points, phases = outputs + taps - 1, min(dilation, size) if taps > 1 else 1
    most = -(-size // phases)
    large, tiles = size - (most - 1) * phases, -(-most // outputs)
    last = most - (tiles - 1) * outputs
    if tiles == 1:
        return large * points_for(last) + (phases - large) * points_for(last - 1), phases
    ends, whole = large if last == 1 else phases, (tiles - 1) * phases
    return whole * points + ends * points_for(last), whole + ends


def _pieces(taps: int, most: int) -> list[int]:
    """The taps of the pieces of a row of taps."""
    return [min(most, taps - i) for i in range(0, taps, most)]


def _products(taps: int, r: int) -> int:
    """What four outputs multiply of a row of taps in pieces of r."""
    return sum(r + 3 - (i > 0 and some < r) for i, some in enumerate(_pieces(taps, r)))


def _cut(kernel: tuple[int, int]) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """The taps of pieces of a kernel of float32, as csrc/winograd_form.c has them, and outputs."""

    def products(r: int) -> int:
        return math.prod(_products(taps, r) for taps in kernel if taps > 1)

    line = 1 in kernel
    candidates = _LINES if line else (2, 3, 4) if min(kernel) > 4 else (2, 3)
    best = min((r for r in candidates if r <= max(kernel)), key=products)
    r = 5 if kernel == (5, 5) else best
    down, across = (r if taps > 1 else 1 for taps in kernel)
    outputs = ((4 if down > 1 else 1, 4 if across > 1 else 1),) if line else _SQUARES[r]
    return (down, across), outputs


def _forms(layer: Layer, pass_name: str) -> Iterable[tuple[float, ...]]:
    """What each form has of the model's four terms, for one image."""
    c_in, c_out = layer.c_in // layer.groups, layer.c_out // layer.groups
    size = layer.output_size
    if pass_name == "dx":
        c_in, c_out, size = c_out, c_in, (layer.h, layer.w)
    taps, tiles_of = _cut(layer.kernel)
    cuts = [_pieces(of_kernel, most) for of_kernel, most in zip(layer.kernel, taps, strict=True)]
    pieces = len(cuts[0]) * len(cuts[1])
    more, each = (_PIECES, _EACH_PIECE) if pieces > 1 and pass_name != "dkernel" else (1.0, 0.0)
    groups = layer.groups * more
    values, whole = pieces * c_in, -(-c_out // _UNIT) * _UNIT
    for outputs in tiles_of:
        points = [m + r - 1 for m, r in zip(outputs, taps, strict=True)]
        count = products = groups
        for a in range(2):
            along, tiles = _points(size[a], taps[a], outputs[a], layer.dilation[a])
            count *= along
            products *= sum(
                along - (tiles if i > 0 and some < taps[a] else 0) for i, some in enumerate(cuts[a])
            )
        kernels = 0 if pass_name == "packed" else points[0] * points[1] * values * whole / layer.n
        of_inputs, of_outputs = count * values, count * whole
        if pass_name == "dkernel":
            of_inputs *= -(-c_out // _PART[1])
            of_outputs *= pieces * -(-c_in // _PART[0])
        yield products * (c_in * whole + each), of_inputs, of_outputs, groups * kernels


def _direct(layer: Layer, pass_name: str) -> float:
    """Multiply-adds for one image, without rows of taps in the padding."""
    size = (layer.h, layer.w) if pass_name == "dx" else layer.output_size
    taps, dilation, padding = layer.kernel[0], layer.dilation[0], layer.padding[0]
    if pass_name == "dx":
        padding = (taps - 1) * dilation - padding
    inputs = layer.output_size[0] if pass_name == "dx" else layer.h
    rows = sum(
        0 <= i + t * dilation - padding < inputs for i in range(size[0]) for t in range(taps)
    )
    c_in, c_out = (layer.c_out, layer.c_in) if pass_name == "dx" else (layer.c_in, layer.c_out)
    whole = -(-c_out // layer.groups // _UNIT) * _UNIT * layer.groups
    return rows * size[1] * layer.kernel[1] * c_in / layer.groups * whole


def fit(
    times: Iterable[tuple[Layer, str, Mapping[str, float]]], constants: tuple[float, ...]
) -> dict[str, float]:
    """The constants for layers, passes and seconds by algorithm, from those there are."""
    rows = []
    for layer, pass_name, seconds in times:
        if not {"direct", "winograd"} <= seconds.keys():
            continue
        if max(layer.c_in, layer.c_out) > _MOST_CHANNELS * layer.groups:
            continue
        if max(layer.dilation) >= _FAR or max(layer.strides) > 1:
            continue
        terms = min(_forms(layer, pass_name), key=lambda terms: np.dot(terms, constants))
        ratio = seconds["winograd"] / seconds["direct"]
        rows.append(np.array(terms) * constants / (ratio * _direct(layer, pass_name)))
    drawn = _DRAWN * math.sqrt(len(rows)) * np.eye(len(constants))
    matrix = np.concatenate([np.array(rows).reshape(-1, len(constants)), drawn])
    right = np.concatenate([np.ones(len(rows)), drawn.sum(axis=1)])
    found = np.linalg.lstsq(matrix, right, rcond=None)[0] * constants
    return dict(zip(NAMES, map(float, found), strict=True))
