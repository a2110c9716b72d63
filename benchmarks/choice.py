"""The choice of `algorithm="auto"` against its alternatives: `python -m benchmarks.choice`.

    python -m benchmarks.choice                            # every convolution, one thread
    python -m benchmarks.choice --classes 3x3 5x5 --passes forward dx
    python -m benchmarks.choice --layers vgg16_conv3_2 --threads 2 --formats channels_first
    python -m benchmarks.choice --fit                      # and fit choose.c's constants to it

For every layer and pass each algorithm that fits (asking for another is a ValueError) is checked
and timed in turns with "auto", in one process, the best of many short runs.  "takes" is the
algorithm whose bits auto's result has.  A row where auto needs more than 1.10 times the time of
the best algorithm is marked ✗, and makes the exit status 1.

Two runs of the same code differ by a few per cent, and by more on a busy machine.  So what auto
takes and auto itself count as one, whichever was the faster, and a row that is off is measured
again before it is believed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__" and not __package__:
    # Run by its file name: the checkout goes last, so that it hides no installed fastconv.
    sys.path[0:1] = []
    sys.path.append(str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import machine, problems, shapes
from benchmarks.cases import geometric_mean
from benchmarks.choice_fit import NAMES, fit
from benchmarks.locking import exclusive
from benchmarks.peer_fastconv import Engine
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST, Call, Task
from benchmarks.report import milliseconds, number, table
from benchmarks.worker import best_time

AUTO = "auto"
ALGORITHMS = ("direct", "winograd")
PASSES = ("forward", "packed", "dx", "dkernel")

# How much longer than the best algorithm auto may take.
OFF = 1.10

_PAGE = Path(__file__).with_name("CHOICES.md")
_TURN, _ROUNDS, _PATIENCE = 0.010, 20, 3


@dataclass
class Choice:
    """A layer, a pass, and the least time of each algorithm that fits it."""

    layer: shapes.Layer
    pass_name: str
    seconds: dict[str, float] = field(default_factory=dict)
    takes: list[str] = field(default_factory=list)
    fma_peak: float = 0.0

    @property
    def loss(self) -> float:
        """auto's time over the best algorithm's; the algorithm that it takes has its time too."""
        own = min(self.seconds[name] for name in (AUTO, *self.takes))
        return own / min(self.seconds.values())

    @property
    def is_off(self) -> bool:
        return self.loss > OFF


def prepare(task: Task, problem: problems.Problem) -> tuple[dict[str, Call], list[str]]:
    """A checked call for each algorithm that fits, and those that have the bits of auto's."""
    engine, calls, results = Engine(), {}, {}
    for algorithm in (AUTO, *ALGORITHMS):
        try:
            call = engine.prepare(dataclasses.replace(task, algorithm=algorithm), problem)
            result = call.unpack(call.run())
        except ValueError:
            if algorithm == AUTO:
                raise
            continue  # it does not fit this problem
        problems.check(problem, task.dtype, result)
        calls[algorithm], results[algorithm] = call, result
    same = [name for name in calls if name != AUTO and _same(results[name], results[AUTO])]
    return calls, same


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(value, other[name]) for name, value in one.items())


def measure(task: Task, problem: problems.Problem, lock: Path | None = None) -> Choice:
    """Time each algorithm that fits, in turns; a second time where auto seems to be off."""
    calls, takes = prepare(task, problem)
    choice = Choice(task.layer, task.pass_name, dict.fromkeys(calls, math.inf), takes)
    for _ in range(2):
        if not choice.seconds[AUTO] < math.inf or choice.is_off:
            with exclusive(lock):
                _turns(calls, choice)
                peak = machine.fma_peak(0.01, task.dtype, task.threads)
            choice.fma_peak = max(choice.fma_peak, peak)
    return choice


def _turns(calls: Mapping[str, Call], choice: Choice) -> None:
    """Let the algorithms take turns until no time improves any more."""
    idle, turn, names = 0, 0, list(calls)
    while turn < _ROUNDS and idle < _PATIENCE:
        improved = False
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds, _ = best_time(calls[name].run, _TURN)
            improved |= seconds < 0.99 * choice.seconds[name]
            choice.seconds[name] = min(choice.seconds[name], seconds)
        idle, turn = 0 if improved else idle + 1, turn + 1


def lines(title: str, choices: Sequence[Choice]) -> list[str]:
    """The table of one pass."""
    head = ["layer", "shape", "class", "takes", "auto ms"]
    head += [f"{name} ms" for name in ALGORITHMS] + ["% of FMA peak", "auto / best"]
    rows = []
    for choice in choices:
        best = min(choice.seconds.values())
        row = [choice.layer.name, choice.layer.shape, choice.layer.category]
        row += [" = ".join(choice.takes) or "?", milliseconds(choice.seconds[AUTO])]
        for name in ALGORITHMS:
            text = milliseconds(choice.seconds.get(name, math.nan))
            row.append(f"**{text}**" if choice.seconds.get(name) == best else text)
        share = choice.layer.flops / choice.seconds[AUTO] / choice.fma_peak
        row += [number(share * 100, 0), f"{number(choice.loss)}{' ✗' * choice.is_off}"]
        rows.append(row)
    off = sum(choice.is_off for choice in choices)
    mean = number(geometric_mean(choice.loss for choice in choices))
    said = f"{off} of {len(choices)} rows are more than 10 % off; geometric mean {mean}."
    return [f"## {title}", "", *table(head, rows), said, ""]


def print_fit(choices: Sequence[Choice]) -> None:
    """Say which constants of choose.c would fit the times, float32 on one thread."""
    source = (Path(__file__).parents[1] / "csrc" / "choose.c").read_text(encoding="utf-8")
    now = [float(re.findall(rf"\b{name} = ([\d.]+)", source)[0]) for name in NAMES]
    times = [(choice.layer, choice.pass_name, choice.seconds) for choice in choices]
    found = fit(times, tuple(now))
    for name, old in zip(NAMES, now, strict=True):
        print(f"{name} = {found[name]:.2f} (now {old:g})", file=sys.stderr)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.choice", description="Hold algorithm='auto' to its alternatives."
    )
    add = parser.add_argument
    add("--layers", nargs="+", metavar="NAME", help="names of shapes.py")
    add("--classes", nargs="+", choices=shapes.CATEGORIES)
    add("--passes", nargs="+", choices=PASSES, default=PASSES)
    add("--formats", nargs="+", choices=[CHANNELS_LAST, CHANNELS_FIRST], default=[CHANNELS_LAST])
    add("--dtypes", nargs="+", choices=["float32", "float64"], default=["float32"])
    add("--threads", type=int, nargs="+", default=[1], metavar="N")
    add("--batch", type=int, metavar="N", help="instead of each layer's own batch")
    add("--output", type=Path, default=_PAGE, metavar="FILE.md")
    add("--lock", type=Path, metavar="FILE", help="a file to lock while measuring")
    add("--fit", action="store_true", help="print constants for csrc/choose.c that fit the times")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = arguments(words)
    chosen = [
        layer.with_batch(options.batch or layer.n)
        for layer in shapes.select(options.layers, None, options.classes)
        if layer.op == "conv2d"
    ]
    tables: dict[str, list[Choice]] = {}
    for layer, dtype in itertools.product(chosen, options.dtypes):
        problem = problems.make_problem(layer, dtype)
        for threads, data_format, pass_name in itertools.product(
            options.threads, options.formats, options.passes
        ):
            choice = measure(
                Task(layer, pass_name, dtype, data_format, threads), problem, options.lock
            )
            title = f"{pass_name}: {dtype}, {data_format}, threads: {threads}"
            tables.setdefault(title, []).append(choice)
            print(f"{layer.name:28}{title:48}{choice.loss:6.2f}", file=sys.stderr, flush=True)
    command = ["python", "-m", "benchmarks.choice", *(sys.argv[1:] if words is None else words)]
    page = [
        "# The choice of algorithm against its alternatives", "",
        "What the columns mean stands at the top of `benchmarks/choice.py`.", "",
        f"- Machine: {machine.description()}",
        f"- Command: `{shlex.join(command)}`",
        f"- Date: {datetime.date.today().isoformat()}, fastconv {Engine.version}", "",
    ]  # fmt: skip
    for title, choices in tables.items():
        page += lines(title, choices)
    options.output.write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    if options.fit:
        print_fit([choice for choices in tables.values() for choice in choices])
    return int(any(choice.is_off for choices in tables.values() for choice in choices))


if __name__ == "__main__":
    sys.exit(main())
