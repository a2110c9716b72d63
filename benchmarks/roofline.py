"""The roofline picture: speed against operations a byte, under the machine's two limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, best_peer, seconds
from benchmarks.report import PASS_TITLES
from benchmarks.shapes import CATEGORIES
from benchmarks.store import limits_key

_PASSES = ("forward", "dx", "dkernel")


def draw(
    path: Path,
    cases: Sequence[Case],
    data_format: str,
    limits: Mapping[str, tuple[float, float]],
) -> None:
    """Draw a panel for each pass and number of threads: of float32 and of the widest vectors.

    A filled point is fastconv, the ring above or below it the best peer, the lines the FMA peak
    and the copy bandwidth through main memory.  Layers that fit in the caches may lie above the
    slope, Winograd above the flat part.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    isa, dtype = min((case.isa, case.dtype) for case in cases)
    cases = [c for c in cases if (c.isa, c.dtype) == (isa, dtype) and c.layer.op != "program"]
    threads = sorted({case.threads for case in cases})
    passes = [p for p in _PASSES if any(case.pass_name == p for case in cases)] or ["forward"]
    figure, axes = plt.subplots(
        len(threads), len(passes), figsize=(5.5 * len(passes), 4.5 * len(threads)),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for line, n in zip(axes, threads, strict=True):
        for axis, pass_name in zip(line, passes, strict=True):
            chosen = [c for c in cases if (c.threads, c.pass_name) == (n, pass_name)]
            _panel(
                axis, chosen, data_format, limits.get(limits_key(dtype, n), (math.nan, math.nan))
            )
            axis.set_title(f"{PASS_TITLES[pass_name]}, {n} thread{'s'[: n - 1]}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("operations / byte")
    for axis in axes[:, 0]:
        axis.set_ylabel("GFLOP/s")
    _legend(figure, axes)
    figure.suptitle(
        f"fastconv, {' '.join(filter(None, (dtype, isa)))}, {data_format}; rings: the best peer"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, cases: Sequence[Case], data_format: str, limits: tuple[float, float]) -> None:
    colours = dict(zip(CATEGORIES, (f"C{i % 10}" for i in range(len(CATEGORIES))), strict=True))
    peak = max([limits[0], *(case.fma_peak for case in cases)])
    corner = peak / limits[1]
    points = [corner / 256, corner, corner * 64]
    axis.plot(points, [limits[1] * points[0] / 1e9, peak / 1e9, peak / 1e9], color="black", lw=1)
    for case in cases:
        ours = seconds(case, "fastconv", data_format)
        best = best_peer(case, data_format)
        theirs = best.seconds if best else math.nan
        rates = [case.layer.flops / time / 1e9 for time in (ours, theirs)]
        x = case.intensity
        late = list(CATEGORIES).index(case.layer.category) >= 10
        style = {"color": colours[case.layer.category], "marker": "s" if late else "o"}
        axis.plot([x, x], rates, color="0.8", lw=0.8, zorder=1)
        axis.plot([x], rates[:1], ls="", ms=5, label=case.layer.category, **style)
        axis.plot([x], rates[1:], ls="", ms=6, mfc="none", mec="0.4", marker="o", mew=0.8)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.grid(visible=True, which="major", color="0.92")


def _legend(figure: Any, axes: Any) -> None:
    """One entry for each class that has a point."""
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(CATEGORIES[label], handle)
    figure.legend(
        list(entries.values()), list(entries), loc="outside right center", fontsize=8,
        frameon=False,
    )  # fmt: skip
