"""The measurement: every engine in a process of its own, taking turns, the best of many runs.

On a shared machine the same kernel can run at half its speed for a second and more.  So each case
(a layer, a pass, a dtype, a number of threads) is measured in rounds; in a round every engine has
a turn of some milliseconds, the order rotating from round to round, and the machine's own limits
have a turn too.  An engine's time is the least over all turns: what the code can do.

The rounds end when they bring nothing more: no engine that matters has improved its least time for
a while.  A peer that is behind the best one matters less, and one that is far behind not at all.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Timing, best_peer, stands_against
from benchmarks.peers import PEERS, Task
from benchmarks.shapes import Layer

# Set for old OpenBLAS builds on some hosts, and ruinous to NumPy's own; or limits on threads,
# which every task sets for itself.
_UNSET = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
    "MKL_NUM_THREADS", "FASTCONV_NUM_THREADS",
)  # fmt: skip

# An engine's idle threads spin for a while after its last call, on a CPU that the next engine's
# second thread needs: 27 ms were seen of ONNX Runtime, at most 5 of the others.
_SPIN = {"onnxruntime": 0.03}
_SPIN_OTHERS = 0.008
_PAUSE_ONE_THREAD = 0.001

_ANSWER_SECONDS = 300.0


@dataclass(frozen=True)
class Effort:
    """How long to measure a case.

    At most `rounds` turns of `turn` seconds for each engine that matters; fewer, but at least
    `least`, if `patience` rounds in a row have improved no time by more than 1 % or if the case
    has taken `budget` seconds.
    """

    rounds: int = 15
    least: int = 4
    turn: float = 0.010
    budget: float = 2.0
    patience: int = 3


# Steps of training and predictions follow each other, so that a turn of a program holds several:
# the one after another engine's turn, with all of the caches cold, took 21 ms, the others 15.
_PROGRAM_TURN = 0.2

# A time that is less by this factor is an improvement.
_BETTER = 0.99

# A peer that takes longer than this factor times the best peer's time gets a turn in the first two
# rounds and in each third one, lest a busy moment have been the reason; with the other, only one.
_BEHIND, _FAR_BEHIND = 1.4, 4.0


class WorkerLost(Exception):
    """The worker ended, or gave no answer."""


class WorkerProcess:
    """A worker and the pipe to it; started anew by `Bench` if it is lost."""

    def __init__(
        self, name: str, isa: str | None = None, env: Mapping[str, str] = os.environ
    ) -> None:
        self.name = name
        env = {key: value for key, value in env.items() if key not in _UNSET}
        if isa is not None:
            env |= PEERS["fastconv" if name == "machine" else name].isa_limit or {}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
        )  # fmt: skip
        self._unread = b""
        self.version = self._read()["version"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """One request, and its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerLost(f"{self.name} ended") from error
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        end = time.monotonic() + _ANSWER_SECONDS
        while b"\n" not in self._unread:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise WorkerLost(f"{self.name} gave no answer in {_ANSWER_SECONDS:.0f} s")
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                raise WorkerLost(f"{self.name} ended with status {self._process.wait()}")
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.communicate()


def matters(case: Case, timing: Timing, formats: Sequence[str], turn: int) -> bool:
    """Whether a turn of an engine could change a ratio in one of the layouts."""
    if turn == 0 or timing.engine == "fastconv":
        return True
    bests = [best_peer(case, f) for f in formats if stands_against(timing, case, f)]
    behind = min((timing.seconds / best.seconds for best in bests if best), default=math.inf)
    return behind <= (_FAR_BEHIND if turn == 1 or turn % 3 == 0 else _BEHIND)


class Bench:
    """The worker processes of a run.

    `out` asks for fastconv's time into an array given beforehand, too.
    """

    def __init__(
        self, engines: Sequence[str], effort: Effort, isa: str | None = None, *, out: bool = False
    ) -> None:
        self.engines = list(engines)
        self.effort = effort
        self.isa = isa
        self.out = out
        self.workers: dict[str, WorkerProcess] = {}
        for name in [*engines, "machine"]:
            self._start(name)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_exc: object) -> None:
        for worker in self.workers.values():
            worker.close()

    @property
    def versions(self) -> dict[str, str]:
        return {name: self.workers[name].version for name in self.engines}

    def limits(self, dtype: str, threads: int, nbytes: int, seconds: float) -> tuple[float, float]:
        """FMA peak and copy bandwidth, now."""
        worker = self.workers["machine"]
        peak = worker.ask("peak", seconds=seconds, dtype=dtype, threads=threads)["rate"]
        copy = worker.ask("copy", seconds=seconds, nbytes=nbytes, threads=threads)["rate"]
        return peak, copy

    def measure(
        self,
        layer: Layer,
        pass_name: str,
        dtype: str,
        threads: int,
        formats: Sequence[str],
        alone: AbstractContextManager[object] | None = None,
    ) -> Case:
        """Time every engine on one problem, in every layout that it can be fed.

        Peers are measured in both layouts whatever `formats` says, since fastconv is compared
        with the better one.  `alone` is entered for the time of the measurement itself.
        """
        case = Case(layer, pass_name, dtype, threads, [], isa=self.isa or "")
        keys: list[tuple[Timing, int]] = []
        tasks = list(self._tasks(case, formats))
        case.timings += [timing for _, timing in tasks]
        # Engines work side by side here: half of a case's time is their compiling and checking.
        with ThreadPoolExecutor(max_workers=len(self.engines)) as pool:
            for found in pool.map(lambda name: self._prepared(name, tasks), self.engines):
                keys += found
        if keys:
            with alone or nullcontext():
                self._rounds(case, keys, formats)
        for name in self.engines:
            self._ask(name, "release")
        return case

    def _tasks(self, case: Case, formats: Sequence[str]) -> Iterator[tuple[Task, Timing]]:
        for engine in self.engines:
            ours = engine == "fastconv"
            layouts = [f for f in PEERS[engine].formats if not ours or f in formats]
            if case.layer.op == "dense":  # a matrix has no layout to choose
                layouts = layouts[:1]
            if case.layer.op == "program":
                layouts = layouts[:1] if ours else layouts * PEERS[engine].programs
            for data_format in layouts:
                both = ours and self.out and case.pass_name == "forward"
                for reuse in (False, True) if both else (False,):
                    task = Task(
                        case.layer, case.pass_name, case.dtype, data_format, case.threads, reuse
                    )
                    yield task, Timing(engine, data_format, reuse)

    def _prepared(
        self, engine: str, tasks: Sequence[tuple[Task, Timing]]
    ) -> list[tuple[Timing, int]]:
        """Prepare an engine's tasks; those that can be run, with the worker's keys for them."""
        keys = []
        for task, timing in tasks:
            if timing.engine != engine:
                continue
            answer = self._ask(engine, "prepare", task=dataclasses.asdict(task))
            timing.note = answer.get("unsupported") or answer.get("error") or ""
            timing.failed = "error" in answer
            if "key" in answer:
                keys.append((timing, answer["key"]))
        return keys

    def _rounds(self, case: Case, keys: list[tuple[Timing, int]], formats: Sequence[str]) -> None:
        begin, effort = time.monotonic(), self.effort
        idle = 0  # rounds since a time improved
        peaks, copies = [], []
        for turn in range(effort.rounds):
            late = time.monotonic() - begin > effort.budget
            if turn >= effort.least and (late or idle >= effort.patience):
                break
            improved = False
            for timing, key in keys[turn % len(keys) :] + keys[: turn % len(keys)]:
                if not timing.failed and matters(case, timing, formats, turn):
                    improved |= self._turn(case, timing, key)
            idle = 0 if improved else idle + 1
            peak, copy = self.limits(case.dtype, case.threads, case.bytes_moved, effort.turn / 3)
            peaks.append(peak)
            copies.append(copy)
        case.fma_peak, case.copy_bandwidth = max(peaks), max(copies)

    def _turn(self, case: Case, timing: Timing, key: int) -> bool:
        """Let an engine run for a turn; returns whether its least time improved."""
        program = case.layer.op == "program"
        seconds = max(self.effort.turn, _PROGRAM_TURN) if program else self.effort.turn
        answer = self._ask(timing.engine, "run", key=key, seconds=seconds)
        spin = _SPIN.get(timing.engine, _SPIN_OTHERS)
        time.sleep(spin if case.threads > 1 else _PAUSE_ONE_THREAD)
        if "error" in answer:
            timing.note, timing.failed = answer["error"], True
            return False
        before, now = timing.seconds, answer["seconds"]
        timing.seconds = now if math.isnan(before) else min(before, now)
        return not now > before * _BETTER

    def _ask(self, name: str, do: str, **words: Any) -> dict[str, Any]:
        """Ask a worker; one that is lost becomes an error of this task, and is started again."""
        try:
            return self.workers[name].ask(do, **words)
        except WorkerLost as lost:
            self.workers[name].close()
            self._start(name)
            return {"error": str(lost)}

    def _start(self, name: str) -> None:
        self.workers[name] = WorkerProcess(name, self.isa)
