"""The Markdown page of a run: machine, summaries of the ratios, a table for each pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.cases import Case, best_peer, find, geometric_mean, limit, ratio, seconds
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST, PEERS
from benchmarks.shapes import CATEGORIES, PASSES

PASS_TITLES = {
    "forward": "Forward, called",
    "packed": "Forward, packed beforehand",
    "dx": "Input gradient",
    "dx_indices": "Input gradient from stored indices",
    "dkernel": "Kernel and bias gradient",
}

_LAYOUT = {CHANNELS_LAST: "NHWC", CHANNELS_FIRST: "NCHW"}

# How many of the rows below 1 a summary names.
_LEAST = 8

# Each has a table of its own: the engines that offer it differ.
_KINDS = {"conv2d": "convolution", "dense": "dense", "pool2d": "pooling"}

_READING = """\
A ratio is the best peer's time divided by fastconv's, for the same layer in the same run, each
into freshly allocated outputs: above 1 fastconv is faster. How each figure is taken and what the
columns mean stands at the top of `benchmarks/compare.py`.
"""


@dataclass
class Run:
    """What the page says of a run besides its cases; `limits` by dtype and threads."""

    machine: str
    command: str
    date: str
    load: float  # of the machine before the run, in processes
    versions: dict[str, str]
    missing: dict[str, str]  # engines that take no part, and why
    formats: Sequence[str]
    limits: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    picture: str = ""


def number(value: float, digits: int = 2) -> str:
    """A figure for a cell; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def milliseconds(value: float) -> str:
    """A time with three or more digits that count."""
    return number(value * 1e3, 4 if value < 1e-4 else 3 if value < 1e-2 else 1)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; all but the first column are set right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def page(run: Run, cases: Sequence[Case]) -> str:
    """The whole page."""
    lines = ["# fastconv against its peers", "", _READING, *_facts(run, cases)]
    groups: dict[tuple[str, int], list[Case]] = {}
    for case in sorted(cases, key=lambda case: (case.dtype, case.threads)):  # stable
        groups.setdefault((case.dtype, case.threads), []).append(case)
    for (dtype, threads), group in groups.items():
        for data_format in run.formats:
            lines += _means(group, f"{dtype}, {_count(threads)}, {data_format}", data_format)
        if threads > 1 and (dtype, 1) in groups:
            title = f"{dtype}, {_count(threads)}"
            lines += _speedups(groups[dtype, 1], group, run.formats[0], title)
    for (dtype, threads), group in groups.items():
        for pass_name in PASSES:
            for kind, kind_title in _KINDS.items():
                chosen = [c for c in group if c.pass_name == pass_name and _kind(c) == kind]
                title = f"{PASS_TITLES[pass_name]}, {kind_title}: {dtype}, {_count(threads)}"
                lines += _results(chosen, title, run.formats)
    return "\n".join(lines).rstrip() + "\n"


def _kind(case: Case) -> str:
    return "pool2d" if case.layer.is_pool else case.layer.op


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _facts(run: Run, cases: Sequence[Case]) -> list[str]:
    """Machine, command, engines and limits, as a list."""
    engines = ", ".join(f"{PEERS[name].title} {v}" for name, v in run.versions.items())
    lines = [
        f"- Machine: {run.machine}",
        f"- Command: `{run.command}`",
        f"- Date: {run.date}, load of the machine before: {number(run.load, 1)}",
        f"- Engines: {engines}",
    ]
    if run.missing:
        missing = (f"{PEERS[name].title} ({why})" for name, why in run.missing.items())
        lines.append(f"- Without: {', '.join(missing)}")
    for (dtype, threads), (peak, copy) in sorted(run.limits.items()):
        peaks = [c.fma_peak for c in cases if (c.dtype, c.threads) == (dtype, threads)]
        lines.append(
            f"- Limits, {dtype}, {_count(threads)}: "
            f"FMA peak {number(max([peak, *peaks]) / 1e9, 1)} GFLOP/s, "
            f"copy through memory {number(copy / 1e9, 1)} GB/s"
        )
    return [*lines, "", *([f"![Roofline]({run.picture})", ""] if run.picture else [])]


def _summary(cases: Sequence[Case], title: str, value: Callable[[Case], float]) -> list[str]:
    """Geometric mean and least value for each class and pass."""
    passes = [p for p in PASSES if any(case.pass_name == p for case in cases)]

    def cell(category: str | None, pass_name: str) -> str:
        chosen = [c for c in cases if c.pass_name == pass_name]
        values = [value(c) for c in chosen if category in (None, c.layer.category)]
        least = min(filter(math.isfinite, values), default=math.nan)
        return f"{geometric_mean(values):.2f} ({least:.2f})" if math.isfinite(least) else "-"

    rows = [[title, *(cell(c, p) for p in passes)] for c, title in CATEGORIES.items()]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    rows.append(["**all**", *(cell(None, p) for p in passes)])
    head = ["class", *(p.replace("_", " from ") for p in passes)]
    return [f"## {title}", "", *table(head, rows)]


def _means(cases: Sequence[Case], title: str, data_format: str) -> list[str]:
    lines = _summary(
        cases, f"Geometric mean (and least) ratio: {title}", lambda case: ratio(case, data_format)
    )
    ratios = {case.layer.name + " " + case.pass_name: ratio(case, data_format) for case in cases}
    finite = [value for value in ratios.values() if math.isfinite(value)]
    behind = sorted((value, name) for name, value in ratios.items() if value < 1.0)
    if behind:
        least = ", ".join(f"{name} {value:.2f}" for value, name in behind[:_LEAST])
        lines += [f"{len(behind)} of {len(finite)} rows are below 1, the least: {least}.", ""]
    return lines


def _speedups(
    single: Sequence[Case], several: Sequence[Case], data_format: str, title: str
) -> list[str]:
    """How much less time fastconv takes with several threads, beside the FMA peak's growth."""
    times = {(c.layer, c.pass_name): seconds(c, "fastconv", data_format) for c in single}
    peaks = [max(case.fma_peak for case in cases) for cases in (single, several)]
    lines = _summary(
        several,
        f"Speed over one thread, geometric mean (and least): {title}, {data_format}",
        lambda case: (
            times.get((case.layer, case.pass_name), math.nan)
            / seconds(case, "fastconv", data_format)
        ),
    )
    return [*lines, f"The FMA peak grows by a factor of {number(peaks[1] / peaks[0])}.", ""]


def _results(cases: Sequence[Case], title: str, formats: Sequence[str]) -> list[str]:
    """The table of one pass, a row a layer, and what is not in it."""
    if not cases:
        return []
    peers = list(
        dict.fromkeys(
            (t.engine, t.data_format) for c in cases for t in c.timings if t.engine != "fastconv"
        )
    )
    with_times = [p for p in peers if any(math.isfinite(seconds(c, *p)) for c in cases)]
    head = ["layer", "shape"]
    for data_format in formats:
        head += [f"{_LAYOUT[data_format]} {text}" for text in _own_head(cases)]
    head += [f"{_column(*peer)} ms" for peer in with_times]
    notes: dict[str, int] = {}
    rows = []
    for case in cases:
        row = [case.layer.name, case.layer.shape]
        for data_format in formats:
            row += _own_cells(case, data_format, notes, len(_own_head(cases)))
        rows.append(row + [_peer_cell(case, *peer, notes) for peer in with_times])
    lines = [f"## {title}", "", *table(head, rows)]
    lines += [f"{n}. {text}" for text, n in notes.items()] + [""] * bool(notes)
    absent = {_absence(cases, *peer) for peer in peers if peer not in with_times}
    return lines + ([f"Not in this table: {'; '.join(sorted(absent))}.", ""] if absent else [])


def _own_head(cases: Sequence[Case]) -> list[str]:
    unit = "GB/s" if cases[0].layer.is_pool else "GFLOP/s"
    reuse = any(timing.reuse for case in cases for timing in case.timings)
    return ["ms", *(["out= ms"] if reuse else []), unit, "% of limit", "**ratio**"]


def _own_cells(case: Case, data_format: str, notes: dict[str, int], width: int) -> list[str]:
    """fastconv's time, its time with out=, its rate, its share of the limit, and the ratio."""
    timing = find(case, "fastconv", data_format)
    if timing is None or timing.note:
        text = _mark(notes, f"fastconv: {timing.note}") if timing else "-"
        return [text, *["-"] * (width - 1)]
    time = timing.seconds
    cells = [milliseconds(time)]
    if width == 5:
        cells.append(milliseconds(seconds(case, "fastconv", data_format, reuse=True)))
    amount = case.bytes_moved if case.layer.is_pool else case.layer.flops
    name, bound = limit(case)
    share = number(bound / time * 100, 0)
    return [
        *cells,
        number(amount / time / 1e9, 1),
        share if share == "-" else f"{share} {name}",
        f"**{number(ratio(case, data_format))}**",
    ]


def _peer_cell(case: Case, engine: str, layout: str, notes: dict[str, int]) -> str:
    """The peer's time, bold where no other is less."""
    timing = find(case, engine, layout)
    if timing is None:
        return "-"
    if timing.note:
        return _mark(notes, f"{PEERS[engine].title}: {timing.note}")
    text = milliseconds(timing.seconds)
    return f"**{text}**" if timing is best_peer(case, CHANNELS_LAST) else text


def _mark(notes: dict[str, int], text: str) -> str:
    return f"[{notes.setdefault(text, len(notes) + 1)}]"


def _absence(cases: Sequence[Case], engine: str, layout: str) -> str:
    """Why an engine has no time in any of the cases."""
    found = [find(case, engine, layout) for case in cases]
    notes = dict.fromkeys(timing.note for timing in found if timing and timing.note)
    return f"{PEERS[engine].title} ({', '.join(notes)})"


def _column(engine: str, data_format: str) -> str:
    peer = PEERS[engine]
    layout = f" {_LAYOUT[data_format]}" if len(peer.formats) > 1 else ""
    return f"{peer.title}{layout}{' †' if peer.prepacks else ''}"
