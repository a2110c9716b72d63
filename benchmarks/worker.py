"""The process that one engine runs in, driven by JSON lines on its standard input and output.

Each request is one line, and so is its answer:

    {"do": "prepare", "task": {...}}      {"key": 3} | {"unsupported": "why"} | {"error": "what"}
    {"do": "run", "key": 3, "seconds": s} {"seconds": best time of a call, "calls": how many}
    {"do": "release"}                     {}
    {"do": "peak" | "copy", ...}          {"rate": FLOP/s or bytes/s}     (the engine "machine")

`prepare` computes once and checks a few values against float64 before anything is timed.
What a framework prints goes to standard error, so that it cannot break the protocol.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # At the end of the path, so that an installed fastconv comes before this checkout.
    sys.path[0:1] = []
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks import machine, peers, problems
from benchmarks.shapes import Layer

# Calls shorter than this are timed several at a time: the clock itself costs 50 ns.
_SAMPLE_SECONDS = 200e-6


def best_time(run: Callable[[], Any], seconds: float) -> tuple[float, int]:
    """The least time of a call, and the number of calls, in about `seconds` of trying."""
    clock = time.perf_counter
    begin = clock()
    run()
    best = clock() - begin
    repeat = max(1, math.ceil(_SAMPLE_SECONDS / max(best, 1e-7)))
    calls, end = 1, begin + seconds
    while clock() < end:
        start = clock()
        for _ in itertools.repeat(None, repeat):
            run()
        best = min(best, (clock() - start) / repeat)
        calls += repeat
    return best, calls


class Worker:
    """Answers the requests for one engine."""

    def __init__(self, name: str) -> None:
        self.engine = peers.load(name)
        self.calls: list[peers.Call] = []
        self.problem: problems.Problem | None = None
        self.dtype = ""

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request["do"]
        if do == "prepare":
            return self.prepare(request["task"])
        if do == "run":
            try:
                seconds, calls = best_time(self.calls[request["key"]].run, request["seconds"])
            except Exception as error:
                return _failure(error)
            return {"seconds": seconds, "calls": calls}
        if do == "release":
            self.calls.clear()
            gc.collect()
            return {}
        raise ValueError(f"unknown request {do!r}")

    def prepare(self, fields: dict[str, Any]) -> dict[str, Any]:
        task = peers.Task(**{**fields, "layer": Layer.from_json(fields["layer"])})
        if self.problem is None or (self.problem.layer, self.dtype) != (task.layer, task.dtype):
            self.problem = problems.make_problem(task.layer, task.dtype)
            self.dtype = task.dtype
        try:
            if task.denormal:  # some engines take them for zeros: no one answer is right
                call = self.engine.prepare(task, problems.made_denormal(self.problem))
                call.run()
            else:
                call = self.engine.prepare(task, self.problem)
                problems.check(self.problem, task.dtype, call.unpack(call.run()))
        except peers.Unsupported as reason:
            return {"unsupported": str(reason)}
        except problems.WrongAnswer as difference:
            return {"error": f"wrong answer: {difference}"}
        except Exception as error:  # an engine's failure is a finding, not the end of the run
            return _failure(error)
        self.calls.append(call)
        return {"key": len(self.calls) - 1}


def _failure(error: Exception) -> dict[str, Any]:
    return {"error": f"{type(error).__name__}: {error}".split("\n")[0][:200]}


class Machine:
    """Answers the requests for the machine's own limits."""

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        words = {key: value for key, value in request.items() if key != "do"}
        if request["do"] == "peak":
            return {"rate": machine.fma_peak(**words)}
        return {"rate": machine.copy_bandwidth(**words)}


def main(name: str) -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gc.disable()
    worker = Machine() if name == "machine" else Worker(name)
    gc.freeze()  # a framework has a million objects, which no `release` need look through
    version = "" if isinstance(worker, Machine) else worker.engine.version
    print(json.dumps({"version": version}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
