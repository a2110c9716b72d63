"""The Markdown page of a run: machine, summaries of the ratios, a table for each pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from benchmarks.cases import Case, apart, best_peer, find, geometric_mean, limit, ratio, seconds
from benchmarks.goals import SECONDS, goal, multiplies_less, reached, share_of_limit
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST, PEERS
from benchmarks.shapes import CATEGORIES, PASSES
from benchmarks.store import Run, limits_key

PASS_TITLES = {
    "forward": "Forward, called",
    "packed": "Forward, packed beforehand",
    "dx": "Input gradient",
    "dx_indices": "Input gradient from stored indices",
    "dkernel": "Kernel and bias gradient",
}

_REACHED = {"ratio": "✓", "limit": "✓ limit", "": "✗", "-": ""}

_LAYOUT = {CHANNELS_LAST: "NHWC", CHANNELS_FIRST: "NCHW"}

# What the tables of means begin with.
MEANS = "Geometric mean (and least) ratio"
SHARES = "Share of the machine's limit, geometric mean (and least)"
SPEEDUPS = "Speed over one thread, geometric mean (and least)"
SINGLE = "What a call with one image pays for its kernel"

ISA_TITLES = {"": "", "avx2": "held to AVX2"}

# What part of the FMA peak's growth with threads a layer that it bounds should keep.
_SCALING = 0.93

# How many of the rows below 1 a summary names.
_LEAST = 8

# Each has a table of its own: the engines that offer it differ.
_KINDS = {"conv2d": "convolution", "dense": "dense", "pool2d": "pooling"}

_READING = """\
A ratio is the best peer's time divided by fastconv's, for the same layer in the same run, or the
better of each in runs that were repeated, into freshly allocated outputs: above 1 fastconv is
faster. How each figure is taken and what the columns mean stands at the top of
`benchmarks/compare.py`. A goal is the ratio that fastconv sets out to reach: ✓ it does, ✓ limit it
is within 90 % of what the machine can give at all, ✗ neither.
"""


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


def page(runs: Sequence[Run], cases: Sequence[Case], picture: str = "") -> str:
    """The whole page, of one run or of several together."""
    lines = ["# fastconv against its peers", "", _READING, *_facts(runs, cases), ""]
    if picture:
        lines += [f"![Roofline]({picture})", ""]
    groups, images = map(_groups, apart(cases))
    for (isa, dtype, threads), everything in groups.items():
        group = [case for case in everything if case.layer.op != "program"]
        title = _title(isa, dtype, threads)
        for data_format in _formats(group) if group else []:
            lines += _means(group, f"{title}, {data_format}", data_format)
        if group:
            lines += _shares(group, title, _formats(group)[0])
        if threads > 1 and (isa, dtype, 1) in groups:
            single = [case for case in groups[isa, dtype, 1] if case.layer.op != "program"]
            lines += _speedups(single, group, _formats(group)[0], title)
        programs = [case for case in everything if case.layer.op == "program"]
        lines += _programs(programs, f"Training steps and small calls: {title}")
    for key, group in images.items():
        lines += _single(group, f"{SINGLE}: {_title(*key)}, {CHANNELS_LAST}")
    for key, group in groups.items():
        for pass_name in PASS_TITLES:
            for kind, kind_title in _KINDS.items():
                chosen = [c for c in group if c.pass_name == pass_name and _kind(c) == kind]
                title = f"{PASS_TITLES[pass_name]}, {kind_title}: {_title(*key)}"
                lines += _results(chosen, title, _formats(group))
    return "\n".join(lines).rstrip() + "\n"


def _groups(cases: Iterable[Case]) -> dict[tuple[str, str, int], list[Case]]:
    """The cases that share a title, in the order of their titles."""
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.rank[:3]):  # stable
        groups.setdefault((case.isa, case.dtype, case.threads), []).append(case)
    return groups


def _title(isa: str, dtype: str, threads: int) -> str:
    """What all cases of a group have in common."""
    return ", ".join(filter(None, (dtype, ISA_TITLES.get(isa, isa), _count(threads))))


def _formats(cases: Sequence[Case]) -> list[str]:
    """The layouts in which fastconv was measured."""
    own = {t.data_format for c in cases for t in c.timings if t.engine == "fastconv"}
    return [f for f in (CHANNELS_LAST, CHANNELS_FIRST) if f in own] or [CHANNELS_LAST]


def _kind(case: Case) -> str:
    return "pool2d" if case.layer.is_pool else case.layer.op


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _facts(runs: Sequence[Run], cases: Sequence[Case]) -> list[str]:
    """Machine, commands, engines and limits, as a list."""
    versions = dict.fromkeys(pair for run in runs for pair in run.versions.items())
    engines = ", ".join(f"{PEERS[name].title} {version}" for name, version in versions)
    loads = [run.load for run in runs]
    lines = [f"- Machine: {text}" for text in dict.fromkeys(run.machine for run in runs)]
    lines += [f"- Command: `{text}`" for text in dict.fromkeys(run.command for run in runs)]
    lines += [
        f"- Date: {', '.join(dict.fromkeys(run.date for run in runs))}, "
        f"load of the machine before: at most {number(max(loads, default=math.nan), 1)}",
        f"- Engines: {engines}",
    ]
    for isa in sorted({run.isa for run in runs}):
        missing = {name: why for run in runs if run.isa == isa for name, why in run.missing.items()}
        if missing:
            said = ", ".join(f"{PEERS[name].title} ({why})" for name, why in missing.items())
            lines.append(f"- Without{f', {ISA_TITLES[isa]}' if isa else ''}: {said}")
    return lines + _limits(runs, cases)


def _limits(runs: Sequence[Run], cases: Sequence[Case]) -> list[str]:
    """The FMA peak and the copy bandwidth of the machine, the best that any run saw."""
    lines = []
    for isa, dtype, threads in sorted({(c.isa, c.dtype, c.threads) for c in cases}):
        key = limits_key(dtype, threads)
        found = [run.limits[key] for run in runs if run.isa == isa and key in run.limits]
        peaks = [peak for peak, _ in found]
        peaks += [c.fma_peak for c in cases if (c.isa, c.dtype, c.threads) == (isa, dtype, threads)]
        copies = [copy for _, copy in found]
        lines.append(
            f"- Limits, {_title(isa, dtype, threads)}: FMA peak {number(_most(peaks) / 1e9, 1)} "
            f"GFLOP/s, copy through memory {number(_most(copies) / 1e9, 1)} GB/s"
        )
    return lines


def _most(values: Iterable[float]) -> float:
    """The greatest of the finite values; NaN if there is none."""
    return max(filter(math.isfinite, values), default=math.nan)


def _summary(
    cases: Sequence[Case],
    title: str,
    value: Callable[[Case], float],
    note: Callable[[Sequence[Case]], str] = lambda _cases: "",
) -> list[str]:
    """Geometric mean and least value for each class and pass, and a note."""
    passes = [p for p in PASSES if any(case.pass_name == p for case in cases)]

    def cell(category: str | None, pass_name: str) -> str:
        chosen = [c for c in cases if c.pass_name == pass_name]
        chosen = [c for c in chosen if category in (None, c.layer.category)]
        values = [value(c) for c in chosen]
        least = min(filter(math.isfinite, values), default=math.nan)
        if not math.isfinite(least):
            return "-"
        return f"{geometric_mean(values):.2f} ({least:.2f}) {note(chosen)}".rstrip()

    rows = [[title, *(cell(c, p) for p in passes)] for c, title in CATEGORIES.items()]
    rows = [row for row in rows if set(row[1:]) != {"-"}]
    rows.append(["**all**", *(cell(None, p) for p in passes)])
    head = ["class", *(p.replace("_", " from ") for p in passes)]
    return [f"## {title}", "", *table(head, rows)]


def _means(cases: Sequence[Case], title: str, data_format: str) -> list[str]:
    """The ratios in short, and how many rows of each class reach their goal."""

    def reaching(chosen: Sequence[Case]) -> str:
        found = [reached(case, data_format) for case in chosen]
        compared = [how for how in found if how != "-"]
        return f"{sum(map(bool, compared))}/{len(compared)} ✓"

    lines = _summary(
        cases,
        f"{MEANS}: {title}",
        lambda case: ratio(case, data_format),
        reaching,
    )
    ratios = {f"{c.layer.name} {c.pass_name}": ratio(c, data_format) for c in cases}
    finite = [value for value in ratios.values() if math.isfinite(value)]
    behind = sorted((value, name) for name, value in ratios.items() if value < 1.0)
    if behind:
        least = ", ".join(f"{name} {value:.2f}" for value, name in behind[:_LEAST])
        lines += [f"{len(behind)} of {len(finite)} rows are below 1, the least: {least}.", ""]
    return lines


def _shares(cases: Sequence[Case], title: str, data_format: str) -> list[str]:
    """What part of the machine's limit is reached; above 1 by Winograd's algorithm."""
    return _summary(
        cases,
        f"{SHARES}: {title}, {data_format}",
        lambda case: share_of_limit(case, data_format),
    )


def _speedups(
    single: Sequence[Case], several: Sequence[Case], data_format: str, title: str
) -> list[str]:
    """How much less time fastconv takes with several threads, beside the FMA peak's growth."""
    times = {(c.layer, c.pass_name): seconds(c, "fastconv", data_format) for c in single}
    peaks = [_most(case.fma_peak for case in cases) for cases in (single, several)]

    def speedup(case: Case) -> float:
        before = times.get((case.layer, case.pass_name), math.nan)
        return before / seconds(case, "fastconv", data_format)

    lines = _summary(
        several,
        f"{SPEEDUPS}: {title}, {data_format}",
        speedup,
    )
    growth = peaks[1] / peaks[0]
    bound = [c for c in several if limit(c)[0] == "FMA" and math.isfinite(speedup(c))]
    keeping = sum(speedup(c) >= _SCALING * growth for c in bound)
    return [
        *lines,
        f"The FMA peak grows by a factor of {number(growth)}; of the layers that it bounds, "
        f"{keeping} of {len(bound)} gain at least {_SCALING} of that.",
        "",
    ]


def _single(cases: Sequence[Case], title: str) -> list[str]:
    """The time with the kernel packed in the call and beforehand, the worst first."""
    by_layer: dict[str, dict[str, Case]] = {}
    for case in cases:
        by_layer.setdefault(case.layer.name, {})[case.pass_name] = case
    rows = []
    for name, passes in by_layer.items():
        if not passes.keys() >= {"forward", "packed"}:
            continue
        called, packed = passes["forward"], passes["packed"]
        times = [seconds(case, "fastconv", CHANNELS_LAST) for case in (called, packed)]
        row = [name, called.layer.shape, *map(milliseconds, times)]
        row += [f"**{number(times[0] / times[1])}**"]
        row += [number(ratio(case, CHANNELS_LAST)) for case in (called, packed)]
        rows.append((times[0] / times[1], row))
    head = ["layer", "shape", "called ms", "packed ms", "**called / packed**"]
    head += ["ratio called", "ratio packed"]
    ordered = [row for _, row in sorted(rows, key=lambda pair: -pair[0])]
    return [f"## {title}", "", *table(head, ordered)] if ordered else []


def _programs(cases: Sequence[Case], title: str) -> list[str]:
    """The table of what is done with several layers, or with the smallest of them."""
    if not cases:
        return []
    peers = [("torch", CHANNELS_LAST), ("torch", CHANNELS_FIRST)]
    head = ["program", "input", "goal", "fastconv ms", "images/s", "**ratio**"]
    notes: dict[str, int] = {}
    rows = []
    for case in cases:
        own = find(case, "fastconv", CHANNELS_LAST)
        time = own.seconds if own else math.nan
        most = SECONDS.get(case.layer.name)
        asked = f"{most * 1e6:.0f} us" if most and case.threads == 1 else f"{goal(case):.2f}"
        failed = own is not None and own.note
        row = [case.layer.name, case.layer.shape, asked]
        row.append(_mark(notes, f"fastconv: {own.note}") if own and failed else milliseconds(time))
        row += [number(case.layer.n / time, 0), _marked_ratio(case, CHANNELS_LAST)]
        rows.append(row + [_peer_cell(case, *peer, notes) for peer in peers])
    lines = [f"## {title}", "", *table([*head, *(f"{_column(*p)} ms" for p in peers)], rows)]
    return [*lines, *(f"{n}. {text}" for text, n in notes.items()), *[""] * bool(notes)]


def _marked_ratio(case: Case, data_format: str) -> str:
    """The ratio, and whether the goal is reached."""
    mark = _REACHED[reached(case, data_format)]
    return f"**{number(ratio(case, data_format))}** {mark}".rstrip()


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
    head = ["layer", "shape", "class", "goal"]
    own = _own_head(cases)
    for data_format in formats:
        head += [f"{_LAYOUT[data_format]} {text}" for text in own]
    head += [f"{_column(*peer)} ms" for peer in with_times]
    notes: dict[str, int] = {}
    rows = []
    for case in cases:
        row = [case.layer.name, case.layer.shape, case.layer.category, f"{goal(case):.2f}"]
        for data_format in formats:
            row += _own_cells(case, data_format, notes, own)
        rows.append(row + [_peer_cell(case, *peer, notes) for peer in with_times])
    lines = [f"## {title}", "", *table(head, rows)]
    lines += [f"{n}. {text}" for text, n in notes.items()] + [""] * bool(notes)
    absent = {_absence(cases, *peer) for peer in peers if peer not in with_times}
    return lines + ([f"Not in this table: {'; '.join(sorted(absent))}.", ""] if absent else [])


def _own_head(cases: Sequence[Case]) -> list[str]:
    unit = "GB/s" if cases[0].layer.is_pool else "GFLOP/s"
    reuse = any(timing.reuse for case in cases for timing in case.timings)
    return ["ms", *(["out= ms"] if reuse else []), unit, "% of limit", "**ratio**"]


def _own_cells(
    case: Case, data_format: str, notes: dict[str, int], head: Sequence[str]
) -> list[str]:
    """fastconv's time, its time with out=, its rate, its share of the limit, and the ratio."""
    timing = find(case, "fastconv", data_format)
    if timing is None or timing.note:
        text = _mark(notes, f"fastconv: {timing.note}") if timing else "-"
        return [text, *["-"] * (len(head) - 1)]
    time = timing.seconds
    cells = [milliseconds(time)]
    if "out= ms" in head:
        cells.append(milliseconds(seconds(case, "fastconv", data_format, reuse=True)))
    amount = case.bytes_moved if case.layer.is_pool else case.layer.flops
    name, bound = limit(case)
    share = number(bound / time * 100, 0)
    if name == "FMA" and multiplies_less(case):
        name = "FMA*"
    return [
        *cells,
        number(amount / time / 1e9, 1),
        share if share == "-" else f"{share} {name}",
        _marked_ratio(case, data_format),
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
