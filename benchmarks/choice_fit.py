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

# Outputs of the tiles of float32, by taps; one direction may be left as it is.
_OUTPUTS = {
    (3, 3): ((4, 4),),
    (4, 4): ((4, 4),),
    (5, 5): ((2, 2), (2, 3)),
    (1, 3): ((1, 4),),
    (3, 1): ((4, 1),),
    (1, 5): ((1, 4),),
    (5, 1): ((4, 1),),
    (1, 7): ((1, 2),),
    (7, 1): ((2, 1),),
}

# Outputs of a unit in float32; inputs and outputs of a kernel gradient that are summed at once.
_UNIT, _PART = 16, (128, 64)

# How many times as much a kernel in pieces costs, and its gradient.
_PIECES, _PIECES_DKERNEL = 1.5, 1.25

# Channels beyond which a product costs STREAM's share, not PRODUCT, and the gap from which PHASES.
_MOST_CHANNELS, _FAR = 512, 3

# What a constant's change by its own size weighs, beside a ratio that is wrong by as much.
_DRAWN = 0.2


def _points(size: int, taps: int, outputs: int, dilation: int) -> tuple[int, int]:
    """Points of a row or column of tiles, of which some take 4 or 5 of 6; how many tiles it is."""

    def points_for(count: int) -> int:
        needed = taps + count - 1
        some = [n for n in (4, 5) if points == 6 and needed <= n and outputs > points - n]
        return some[0] if some else points

    points, phases = outputs + taps - 1, min(dilation, size) if taps > 1 else 1
    most = -(-size // phases)
    large, tiles = size - (most - 1) * phases, -(-most // outputs)
    last = most - (tiles - 1) * outputs
    if tiles == 1:
        return large * points_for(last) + (phases - large) * points_for(last - 1), phases
    ends, whole = large if last == 1 else phases, (tiles - 1) * phases
    return whole * points + ends * points_for(last), whole + ends


def _forms(layer: Layer, pass_name: str) -> Iterable[tuple[float, ...]]:
    """What each form has of the model's four terms, for one image."""
    c_in, c_out = layer.c_in // layer.groups, layer.c_out // layer.groups
    size = layer.output_size
    if pass_name == "dx":
        c_in, c_out, size = c_out, c_in, (layer.h, layer.w)
    # A kernel of 7x7 is summed in four pieces of 4x4: those of 3 taps lack a point in each tile.
    kernel, pieces = ((4, 4), 4) if layer.kernel == (7, 7) else (layer.kernel, 1)
    more = _PIECES_DKERNEL if pass_name == "dkernel" else _PIECES
    groups = layer.groups * (more if pieces > 1 else 1.0)
    values, whole = pieces * c_in, -(-c_out // _UNIT) * _UNIT
    for outputs in _OUTPUTS[kernel]:
        points = [m + taps - 1 for m, taps in zip(outputs, kernel, strict=True)]
        count = products = groups
        for n, taps, m, d in zip(size, kernel, outputs, layer.dilation, strict=True):
            along, tiles = _points(n, taps, m, d)
            count *= along
            products *= 2 * along - tiles if pieces > 1 else along
        kernels = 0 if pass_name == "packed" else points[0] * points[1] * values * whole / layer.n
        of_inputs, of_outputs = count * values, count * whole
        if pass_name == "dkernel":
            of_inputs *= -(-c_out // _PART[1])
            of_outputs *= pieces * -(-c_in // _PART[0])
        yield products * c_in * whole, of_inputs, of_outputs, groups * kernels


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
