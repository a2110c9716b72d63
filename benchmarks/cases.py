"""What a measurement yields, and the figures that follow from it.  Anything missing is NaN."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import CHANNELS_LAST
from benchmarks.shapes import BY_NAME, PASSES, Layer


@dataclass
class Timing:
    """The best time of one engine in one layout; `note` says why there is none."""

    engine: str
    data_format: str
    reuse: bool = False
    seconds: float = math.nan
    note: str = ""
    failed: bool = False


@dataclass
class Case:
    """One problem, its timings, and the machine's limits while it was measured.

    `fma_peak` is in FLOP/s, `copy_bandwidth` in bytes/s for a copy of this case's size.  `isa` is
    the instruction set that the engines were held to, if any.
    """

    layer: Layer
    pass_name: str
    dtype: str
    threads: int
    timings: list[Timing]
    fma_peak: float = math.nan
    copy_bandwidth: float = math.nan
    isa: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two cases measurements of the same thing."""
        return self.layer.name, self.layer.n, self.pass_name, self.dtype, self.threads, self.isa

    @property
    def rank(self) -> tuple[Any, ...]:
        """Where the case stands in a table: by kind of run, then as the layers are listed."""
        order = list(BY_NAME)
        name = self.layer.name
        place = order.index(name) if name in BY_NAME else len(order)
        run = self.isa, self.dtype, self.threads
        return *run, place, name, self.layer.n, PASSES.index(self.pass_name)

    @property
    def bytes_moved(self) -> int:
        return self.layer.bytes_moved(self.pass_name, 8 if self.dtype == "float64" else 4)

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.layer.flops / self.bytes_moved

    def or_better(self, other: Case) -> Case:
        """This measurement with what another one of the same thing has found to be possible.

        Each engine keeps its better time, and the machine its higher limits: what makes the
        machine slower for a minute is left out, for all alike.
        """
        timings = []
        for own in self.timings:
            found = find(other, own.engine, own.data_format, own.reuse)
            better = found is not None and not own.failed and not found.seconds >= own.seconds
            timings.append(found if found and better and math.isfinite(found.seconds) else own)
        return dataclasses.replace(
            self,
            timings=timings,
            fma_peak=max(self.fma_peak, other.fma_peak),
            copy_bandwidth=max(self.copy_bandwidth, other.copy_bandwidth),
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Case:
        """The inverse of `to_json`."""
        layer = Layer.from_json(fields["layer"])
        timings = [Timing(**timing) for timing in fields["timings"]]
        return cls(**{**fields, "layer": layer, "timings": timings})


def find(case: Case, engine: str, data_format: str, reuse: bool = False) -> Timing | None:
    """The timing of an engine in a layout, if it was measured."""
    for timing in case.timings:
        if (timing.engine, timing.data_format, timing.reuse) == (engine, data_format, reuse):
            return timing
    return None


def seconds(case: Case, engine: str, data_format: str, reuse: bool = False) -> float:
    """The time of `find`, or NaN."""
    timing = find(case, engine, data_format, reuse)
    return timing.seconds if timing else math.nan


def stands_against(timing: Timing, case: Case, data_format: str) -> bool:
    """Whether a peer's timing counts in fastconv's ratio in this layout.

    Against channels_last every peer in its better layout; against channels_first those that are
    fed it.  A dense layer has no layout.
    """
    if timing.engine == "fastconv" or not math.isfinite(timing.seconds):
        return False
    return data_format in (CHANNELS_LAST, timing.data_format) or case.layer.op == "dense"


def best_peer(case: Case, data_format: str) -> Timing | None:
    """The fastest peer that stands against fastconv in this layout."""
    peers = [timing for timing in case.timings if stands_against(timing, case, data_format)]
    return min(peers, key=lambda timing: timing.seconds, default=None)


def ratio(case: Case, data_format: str) -> float:
    """The best peer's time over fastconv's, both with fresh outputs."""
    best = best_peer(case, data_format)
    return best.seconds / seconds(case, "fastconv", data_format) if best else math.nan


def apart(cases: Iterable[Case]) -> tuple[list[Case], list[Case]]:
    """The cases, and apart from them those of one image where the same layers stand with more."""
    batches: dict[str, set[int]] = {}
    cases = list(cases)
    for case in cases:
        batches.setdefault(case.layer.name, set()).add(case.layer.n)
    single = [c.layer.n == 1 and len(batches[c.layer.name]) > 1 for c in cases]
    rest = [case for case, alone in zip(cases, single, strict=True) if not alone]
    return rest, [case for case, alone in zip(cases, single, strict=True) if alone]


def limit(case: Case) -> tuple[str, float]:
    """What bounds the direct algorithm, "FMA" or "copy", and the seconds that it would take.

    Pooling is held to the copy alone.  Winograd does fewer multiplications than are counted, so
    it may come out above 100 % of the FMA peak.
    """
    copying = case.bytes_moved / case.copy_bandwidth
    computing = case.layer.flops / case.fma_peak
    if case.layer.is_pool or copying > computing:
        return "copy", copying
    return "FMA", computing


def geometric_mean(values: Iterable[float]) -> float:
    """Over the finite values; NaN if there is none."""
    logs = [math.log(value) for value in values if math.isfinite(value)]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan
