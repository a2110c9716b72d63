"""What fastconv is to reach on each class of layer, and whether a case does.

A goal is a ratio: the best peer's time over fastconv's, on one thread.  With more threads the goal
is to be behind nowhere; how much they gain is a table of its own.  Where the goal would take more
than the machine can give, a time within 90 % of the machine's limit counts as reached.
"""

from __future__ import annotations

import math

from benchmarks.cases import Case, limit, ratio, seconds
from benchmarks.peers import CHANNELS_FIRST

# Near enough to the machine's limit to count.
NEAR_LIMIT = 0.90

# Pooling of NCHW arrays is held to PyTorch besides, which has no vector code for it.
NCHW_POOL_OVER_TORCH = 8.0

_ALL = ("forward", "packed", "dx", "dkernel")

_FLOAT32 = {
    "3x3": (1.5, 2.0, 1.7, 2.0),
    "5x5": (1.3, 1.4, 1.3, 1.1),
    "3x3s2": (1.0, 1.05, 1.1, 1.2),
    "1x1": (1.05, 1.1, 1.1, 1.0),
    "1x1s2": (1.0, 1.0, 1.2, 1.0),
    "1x7": (1.2, 1.2, 1.2, 1.2),
    "dilated": (1.2, 1.2, 1.2, 1.2),
    "stem": (1.1, 1.1, 2.0, 1.2),
    "small": (2.0, 2.0, 2.0, 1.5),
    "depthwise": (1.2, 1.2, 1.8, 1.8),
    "grouped": (1.2, 1.2, 1.8, 1.8),
    "max": (2.0, 1.0, 2.0, 1.0),
    "avg": (1.1, 1.0, 1.5, 1.0),
}
_STEM_3X3 = (2.0, 2.0, 2.0, 1.2)

# In every pass; a peer that packs float64 kernels beforehand is ONNX Runtime alone.
_FLOAT64 = {"3x3": 4.0, "1x1": 2.0, "depthwise": 3.0, "max": 2.0, "avg": 2.0}


# Of a training step, and the most seconds that a small call may take.
_TRAINING = 3.0
SECONDS = {"predict_lenet5": 60e-6, "tiny_conv_1_4": 2e-6, "tiny_conv_16_16": 6e-6}


def goal(case: Case) -> float:
    """The ratio to reach; 1 where nothing more is asked."""
    layer = case.layer
    if case.threads > 1:
        return 1.0
    if layer.op == "program":
        return _TRAINING if layer.name.startswith("train") else 1.0
    if case.dtype == "float64":
        return 1.0 if case.pass_name == "packed" else _FLOAT64.get(layer.category, 1.0)
    goals = _FLOAT32.get(layer.category, (1.0,) * len(_ALL))
    if layer.category == "stem" and layer.kernel == (3, 3):
        goals = _STEM_3X3
    return dict(zip(_ALL, goals, strict=True))[case.pass_name.removesuffix("_indices")]


def share_of_limit(case: Case, data_format: str) -> float:
    """The time that the machine's limit allows / fastconv's time."""
    return limit(case)[1] / seconds(case, "fastconv", data_format)


def multiplies_less(case: Case) -> bool:
    """Whether Winograd's algorithm fits, so that the FMA peak does not bound a layer's speed."""
    layer, (down, across) = case.layer, case.layer.strides
    if layer.groups > 1 or layer.is_pool:
        return False
    least, most = sorted(layer.kernel)
    if (down, across) == (1, 1):
        return 3 <= most <= 36 if least == 1 else most <= 12
    pairs = least >= 3 and most <= 8 and (least + 1) // 2 == (most + 1) // 2
    tiles = (down, across) == (2, 2) and pairs and layer.c_in > 8
    along_rows = layer.c_in <= 8 and layer.kernel[1] > 2 * across
    return case.pass_name != "dkernel" and (tiles or along_rows)


def reached(case: Case, data_format: str) -> str:
    """How the goal is reached: by its "ratio", at the "limit", or not: ""; "-" without a peer."""
    value = ratio(case, data_format)
    if not math.isfinite(value):
        return "-"
    if _is_slow(case, data_format):
        return ""
    if value >= goal(case) and _beats_torch(case, data_format):
        return "ratio"
    if case.layer.op == "program":
        return ""
    bound = limit(case)[0]
    near = share_of_limit(case, data_format) >= NEAR_LIMIT
    return "limit" if near and (bound == "copy" or not multiplies_less(case)) else ""


def _is_slow(case: Case, data_format: str) -> bool:
    """Whether a call takes longer than the time set for it."""
    most = SECONDS.get(case.layer.name, math.inf)
    return case.threads == 1 and seconds(case, "fastconv", data_format) > most


def _beats_torch(case: Case, data_format: str) -> bool:
    """Whether NCHW pooling on one thread is as far ahead of PyTorch as it should be."""
    asked = data_format == CHANNELS_FIRST and case.layer.is_pool and case.threads == 1
    if not asked:
        return True
    theirs = seconds(case, "torch", CHANNELS_FIRST)
    ours = seconds(case, "fastconv", CHANNELS_FIRST)
    return not theirs / ours < NCHW_POOL_OVER_TORCH  # NaN, no such figure, asks for nothing
