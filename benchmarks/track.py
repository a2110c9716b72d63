"""Two revisions of fastconv side by side: `python -m benchmarks.track REV1 [REV2]`.

    python -m benchmarks.track HEAD~1                      # that one and the working tree
    python -m benchmarks.track v1.0 main --classes 3x3 1x1 --passes forward dx
    python -m benchmarks.track HEAD --layers lenet5_conv1 --no-times

Each revision is built once, in a worktree of its own under build/track/.  Then

instructions  are counted by callgrind (valgrind) for one call of each layer from Python, a batch of
              one, on one thread: the same on every run but for some hundreds, whatever else the
              machine does.  valgrind knows no AVX-512, so the kernels are those of AVX2; one source
              serves both.
time          is the least of many short runs that the two take in turns, each in a process of its
              own, with the layer's own batch.  A busy machine slows both alike.

A count that grows by more than 1 %, or a time by more than 10 %, is marked ✗, and the exit status
is then 1.  Counts say nothing of caches or of ports, and times nothing of one per cent: read both.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import shapes
from benchmarks.cases import geometric_mean
from benchmarks.locking import exclusive
from benchmarks.measure import WorkerProcess
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST, Task
from benchmarks.report import milliseconds, number, table

ROOT = Path(__file__).resolve().parents[1]
_BUILDS = ROOT / "build" / "track"

# What the driver calls between the calls that are counted, and nothing else does: callgrind writes
# down there what it has counted since.  The C library's, since an installed fastconv has no names.
MARK = "getppid"

_MORE_INSTRUCTIONS, _MORE_TIME = 1.01, 1.10
_TURN, _ROUNDS, _PATIENCE = 0.010, 40, 6


@dataclass
class Row:
    """A layer and a pass: instructions and seconds of a call in the two revisions."""

    task: Task
    counts: tuple[float, float] = (math.nan, math.nan)
    seconds: tuple[float, float] = (math.nan, math.nan)

    @property
    def growth(self) -> tuple[float, float]:
        """The later revision's instructions and time over the earlier one's."""
        return self.counts[1] / self.counts[0], self.seconds[1] / self.seconds[0]

    @property
    def is_worse(self) -> bool:
        counts, seconds = self.growth
        return counts > _MORE_INSTRUCTIONS or seconds > _MORE_TIME


def commit(revision: str) -> str:
    """The short name of the commit that a revision means; ValueError if it means none."""
    words = ["git", "rev-parse", "--verify", "--short=12", f"{revision}^{{commit}}"]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise ValueError(f"{revision!r} names no commit")
    return found.stdout.strip()


def built(name: str | None) -> Path:
    """A folder from which a commit's fastconv can be imported; None is the working tree."""
    tree = ROOT
    if name is not None:
        tree = _BUILDS / name
        if not tree.exists():
            subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
            add = ["git", "worktree", "add", "--quiet", "--detach", str(tree), name]
            subprocess.run(add, cwd=ROOT, check=True)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, cwd=tree, check=True, stdout=sys.stderr)
    # A folder with fastconv alone, so that the revision's own benchmarks are not found in it.
    site = _BUILDS / f"site-{name or 'here'}"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    (site / "fastconv").symlink_to(tree / "fastconv")
    return site


def environment(site: Path, **variables: str) -> dict[str, str]:
    """The variables of a process that imports fastconv from there."""
    return {**os.environ, "PYTHONPATH": str(site), **variables}


def count(site: Path, tasks: Sequence[Task]) -> list[int]:
    """The instructions of a second call of each task."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "out")
        valgrind = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--dump-before={MARK}",
        ]  # fmt: skip
        driver = [sys.executable, str(Path(__file__).with_name("track_calls.py"))]
        words = [*valgrind, *driver, *map(encoded, tasks)]
        limits = {"FASTCONV_ISA": "avx2", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            words, env=environment(site, **limits), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"callgrind failed: {done.stderr[-500:]}")
        dumps = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        totals = [_total(path.read_text()) for path in dumps]
    # The last ones are the driver's two calls a task; before them it was preparing.
    if len(totals) < 2 * len(tasks):
        raise RuntimeError(f"callgrind saw {len(totals)} calls, not {2 * len(tasks)}")
    return totals[-2 * len(tasks) :][1::2]


def _total(text: str) -> int:
    found = re.search(r"^totals: (\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def encoded(task: Task) -> str:
    """A task as `track_calls.py` takes it."""
    return f"{task.layer.name},{task.layer.n},{task.pass_name},{task.dtype},{task.data_format}"


def race(workers: Sequence[WorkerProcess], task: Task) -> tuple[float, float]:
    """The least times of a call in the two, in turns, until none improves any more."""
    keys = []
    for worker in workers:
        answer = worker.ask("prepare", task=dataclasses.asdict(task))
        if "key" not in answer:
            raise RuntimeError(f"{task.layer.name} {task.pass_name}: {answer}")
        keys.append(answer["key"])
    best, idle, turn = [math.inf, math.inf], 0, 0
    while turn < _ROUNDS and idle < _PATIENCE:
        idle += 1
        for index in (0, 1) if turn % 2 else (1, 0):
            now = workers[index].ask("run", key=keys[index], seconds=_TURN)["seconds"]
            idle = 0 if now < 0.99 * best[index] else idle
            best[index] = min(best[index], now)
        turn += 1
    for worker in workers:
        worker.ask("release")
    return best[0], best[1]


def page(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The table of both revisions, and the means."""
    head = ["layer", "pass"]
    head += [f"{name} {what}" for what in ("instructions", "ms") for name in names]
    head += ["instructions x", "time x"]
    lines = []
    for row in rows:
        counts = [f"{value:,.0f}" if math.isfinite(value) else "-" for value in row.counts]
        counted, timed = row.growth
        lines.append([
            row.task.layer.name, row.task.pass_name, *counts, *map(milliseconds, row.seconds),
            number(counted, 3) + " ✗" * (counted > _MORE_INSTRUCTIONS),
            number(timed) + " ✗" * (timed > _MORE_TIME),
        ])  # fmt: skip
    counted, timed = (geometric_mean(row.growth[i] for row in rows) for i in (0, 1))
    lines.append(["**all**", *[""] * 5, number(counted, 3), number(timed)])
    return "\n".join(table(head, lines))


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.track", description="Compare the speed of two revisions."
    )
    add = parser.add_argument
    add("revisions", nargs="+", metavar="REV", help="one or two; the second: the working tree")
    add("--layers", nargs="+", metavar="NAME", help="names of shapes.py; default: the quick ones")
    add("--classes", nargs="+", choices=shapes.CATEGORIES)
    add("--passes", nargs="+", choices=shapes.PASSES, default=shapes.PASSES)
    add("--format", choices=[CHANNELS_LAST, CHANNELS_FIRST], default=CHANNELS_LAST)
    add("--dtype", choices=["float32", "float64"], default="float32")
    add("--no-counts", action="store_true", help="no instructions (needs valgrind)")
    add("--no-times", action="store_true")
    add("--lock", type=Path, metavar="FILE", help="a file to lock while timing")
    options = parser.parse_args(words)
    if len(options.revisions) > 2:
        parser.error(f"at most two revisions, received {len(options.revisions)}")
    try:
        options.commits = [commit(revision) for revision in options.revisions]
    except ValueError as error:
        parser.error(str(error))
    return options


def tasks_of(options: argparse.Namespace) -> list[Task]:
    """What is compared: a batch of one in the counts, the layer's own in the times."""
    names = options.layers or (None if options.classes else list(shapes.QUICK))
    return [
        Task(layer, pass_name, options.dtype, options.format, threads=1)
        for layer in shapes.select(names, None, options.classes)
        for pass_name in layer.passes
        if pass_name in options.passes and layer.op != "program"
    ]


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = arguments(words)
    sites = [built(name) for name in [*options.commits, None][:2]]
    rows = [Row(task) for task in tasks_of(options)]
    if not options.no_counts:
        single = [dataclasses.replace(row.task, layer=row.task.layer.with_batch(1)) for row in rows]
        for row, one, other in zip(rows, *(count(site, single) for site in sites), strict=True):
            row.counts = one, other
    if not options.no_times:
        workers = [WorkerProcess("fastconv", env=environment(site)) for site in sites]
        try:
            for row in rows:
                with exclusive(options.lock):
                    row.seconds = race(workers, row.task)
        finally:
            for worker in workers:
                worker.close()
    print(page(rows, [*options.revisions, "working tree"][:2]))
    return int(any(row.is_worse for row in rows))


if __name__ == "__main__":
    sys.exit(main())
