"""What denormal numbers cost: `python -m benchmarks.denormals`.

A CPU computes with numbers below the smallest normal one a hundred times slower, and gradients that
vanish, or features behind a rectifier, are full of them.  fastconv's kernels take them for zeros
(`set_flush_denormals`).  The table gives, for fastconv and PyTorch as they are, the time of a call
whose x and dy are all denormal, over the time of the same call with ordinary numbers: the two in
turns, in one process, the best of many short runs.  The exit status is 1 where fastconv's is more
than 1.2.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, peers
from benchmarks.locking import exclusive
from benchmarks.measure import WorkerProcess
from benchmarks.peers import CHANNELS_LAST, Task
from benchmarks.report import number, table
from benchmarks.shapes import BY_NAME

MOST = 1.2

LAYERS = (
    "resnet50_conv4_3x3", "googlenet_3b_5x5", "mobilenet_pw7", "lenet5_conv1", "xception_middle_dw",
    "resnext50_conv4_g32", "lenet5_pool1", "inception3_6b_avg", "resnet50_global_avg",
    "lenet5_dense1",
)  # fmt: skip
_ENGINES = ("fastconv", "torch")
_TURN, _ROUNDS = 0.010, 8


def slowdown(worker: WorkerProcess, task: Task) -> float:
    """The time with denormal numbers over the time without; NaN where there is no such call."""
    keys = []
    for denormal in (False, True):
        asked = dataclasses.asdict(dataclasses.replace(task, denormal=denormal))
        answer = worker.ask("prepare", task=asked)
        if "unsupported" in answer:
            return math.nan
        if "key" not in answer:
            raise RuntimeError(f"{task.layer.name} {task.pass_name}: {answer}")
        keys.append(answer["key"])
    best = [math.inf, math.inf]
    for turn in range(_ROUNDS):
        for index in (turn % 2, 1 - turn % 2):
            now = worker.ask("run", key=keys[index], seconds=_TURN)["seconds"]
            best[index] = min(best[index], now)
    worker.ask("release")
    return best[1] / best[0]


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.denormals", description="Time calls on denormal numbers."
    )
    parser.add_argument("--layers", nargs="+", choices=BY_NAME, default=LAYERS, metavar="NAME")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="a file to lock while measuring")
    options = parser.parse_args(words)
    names = [name for name in _ENGINES if name in peers.installed()]
    workers = {name: WorkerProcess(name) for name in names}
    rows, worst = [], 0.0
    try:
        for layer in (BY_NAME[name] for name in options.layers):
            for pass_name in layer.passes:
                task = Task(layer, pass_name, options.dtype, CHANNELS_LAST, options.threads)
                with exclusive(options.lock):
                    found = [slowdown(worker, task) for worker in workers.values()]
                worst = max(worst, found[0])
                mark = " ✗" * (found[0] > MOST)
                cells = [number(found[0]) + mark, *map(number, found[1:])]
                rows.append([layer.name, pass_name, *cells])
    finally:
        for worker in workers.values():
            worker.close()
    command = ["python", "-m", "benchmarks.denormals", *(sys.argv[1:] if words is None else words)]
    print(f"- Machine: {machine.description()}\n- Command: `{shlex.join(command)}`\n")
    titles = [f"{peers.PEERS[name].title} x" for name in names]
    print("\n".join(table(["layer", "pass", *titles], rows)), end="")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
