"""A case of the benchmark with times of its own, for tests of what is made of them."""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # last: hides no installed fastconv

from benchmarks.cases import Case, Timing
from benchmarks.shapes import BY_NAME


def a_case(**times: float) -> Case:
    """A case with times such as `fastconv_channels_last=1.0`; NaN is what an engine lacks."""
    timings = []
    for key, value in times.items():
        engine, data_format = key.split("_", 1)
        note = "no such thing" if math.isnan(value) else ""
        timings.append(Timing(engine, data_format, False, value, note))
    return Case(BY_NAME["vgg16_conv4_2"], "forward", "float32", 1, timings)
