"""fastconv against PyTorch, ONNX Runtime, OpenVINO, ncnn and NumPy: `python -m benchmarks.compare`.

One command measures every engine that is installed (`pip install '.[bench]'`; openvino and ncnn
join where they are) on the named layers of `shapes.py`, and writes a page, RESULTS.md, and a
roofline picture beside it:

    python -m benchmarks.compare                         # float32, 1 thread and all of them
    python -m benchmarks.compare --quick                 # a layer of each class, a few minutes
    python -m benchmarks.compare --classes 3x3 1x1 --passes dx dkernel --threads 1
    python -m benchmarks.compare --nets vgg16 --batch 1 --engines fastconv torch
    python -m benchmarks.compare --dtypes float32 float64 --output /tmp/all.md

How it measures
---------------
Every engine runs in a process of its own (`worker.py`).  For each case, that is a layer, a pass, a
dtype and a number of threads, each engine first computes once and has a few values of the answer
checked against float64 sums; a wrong answer is reported and never timed.  Then the engines take
turns of some milliseconds, the order rotating, and the least time of a call counts (`measure.py`).
An engine that is slow because the machine was busy for a moment gets more turns; one that is slow
in all of them is slow.

How to read it
--------------
Two tables come first: geometric means of the ratios with the least of each class, and what more
threads gain.  Then a table for each pass, a row for each layer, fastconv's figures in both layouts
on the left and the times of the peers on the right, the best in bold.

ratio        The best peer's time / fastconv's: 2.0 means that fastconv takes half of the time.
             In a channels_last table the peers stand in whichever layout is best for them; in a
             channels_first one, those that are fed it (or have no layout).
forward      `conv2d(x, kernel, bias)` with a bare kernel: packed or transformed within the call.
             PyTorch does the same.  Peers marked † have packed their weights beforehand even here.
packed       The same with the kernel packed beforehand by `pack_kernel`; PyTorch's weight is
             reordered as its compiler would do it, or bare in float64, which has no such thing.
dx           The input gradient alone.  Of max pooling: from x, the winners found again, against
             PyTorch, which has stored indices.  Of the † engines: a transposed convolution.
dx_indices   The input gradient of max pooling from the indices that the forward pass returned.
dkernel      The kernel and bias gradients together.
ms           Into outputs allocated by the call, as users call; every peer does the same.
out= ms      fastconv's time into an array given with `out=`: the difference is memory management.
GFLOP/s      Flops of the direct sum (2 a tap, those over padding counted), whatever the algorithm.
GB/s         For pooling: the bytes that must move, each array of the pass once.
% of limit   The time that the machine's limit allows / fastconv's time.  The limit is the slower
             of two: those flops at the FMA peak, or a copy that moves as many bytes as the layer
             must (`machine.py`), both measured in turn with the engines.  Winograd can exceed
             100 % of the FMA peak, since it multiplies less.
[1]          There is no figure; the list under the table says why.

Peers are held to the same number of threads.  `--isa avx2` holds fastconv, PyTorch and OpenVINO to
AVX2; engines that cannot be held to it are left out.  The exit status is 1 if fastconv failed or
gave a wrong answer anywhere.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run by its file name: the checkout goes last, so that it hides no installed fastconv.
    sys.path[0:1] = []
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks import machine, peers, shapes
from benchmarks.cases import Case, best_peer, ratio
from benchmarks.measure import Bench, Effort, WorkerLost
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.report import Run, number, page

_RESULTS = Path(__file__).with_name("RESULTS.md")
_QUICK = Effort(rounds=3, least=2, turn=0.008, budget=0.5)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(
        prog="benchmarks.compare", description="Measure fastconv and its peers; write a page."
    )
    add = parser.add_argument
    add("--threads", type=_positive, nargs="+", default=sorted({1, cpus or 1}), metavar="N")
    add("--engines", nargs="+", choices=peers.PEERS, help="default: those installed")
    add("--layers", nargs="+", metavar="NAME", help="names of shapes.py")
    add("--nets", nargs="+", metavar="NET", help="resnet50 vgg16 lenet5 ...")
    add("--classes", nargs="+", choices=shapes.CATEGORIES)
    add("--passes", nargs="+", choices=shapes.PASSES, default=shapes.PASSES)
    add(
        "--formats", nargs="+", choices=[CHANNELS_LAST, CHANNELS_FIRST],
        default=[CHANNELS_LAST, CHANNELS_FIRST],
    )  # fmt: skip
    add("--dtypes", nargs="+", choices=["float32", "float64"], default=["float32"])
    add("--batch", type=_positive, metavar="N", help="instead of each layer's own batch")
    add("--isa", choices=["avx2"], help="hold the engines to this instruction set")
    add("--quick", action="store_true", help="a layer of each class and few rounds")
    add("--rounds", type=_positive, default=None, help=f"at most (default {Effort().rounds})")
    add("--turn", type=float, default=None, metavar="MS", help="milliseconds of a turn")
    add("--output", type=Path, default=_RESULTS, metavar="FILE.md")
    add("--raw", type=Path, metavar="FILE.jsonl", help="also write every timing, a line a case")
    add("--no-picture", action="store_true", help="no roofline (needs matplotlib)")
    add("--list", action="store_true", help="name the layers and stop")
    options = parser.parse_args(words)
    try:
        options.chosen = layers(options)
    except ValueError as error:
        parser.error(str(error))
    absent = sorted(set(options.engines or []) - set(peers.installed()))
    if absent:
        parser.error(f"not installed: {', '.join(absent)}")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def layers(options: argparse.Namespace) -> list[shapes.Layer]:
    """The layers that the options select, with the batch asked for."""
    chosen = shapes.select(options.layers, options.nets, options.classes)
    if options.quick and not options.layers:
        chosen = [layer for layer in chosen if layer.name in shapes.QUICK]
    if not chosen:
        raise ValueError("no layer matches all of --layers, --nets, --classes and --quick")
    return [layer.with_batch(options.batch) if options.batch else layer for layer in chosen]


def engines(options: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """The engines to start, fastconv first, and why the others that were wanted are not."""
    missing = {}
    for name, peer in peers.PEERS.items():
        if name not in peers.installed():
            missing[name] = "not installed"
        elif options.isa and peer.isa_limit is None:
            missing[name] = f"cannot be held to {options.isa}"
    wanted = options.engines or peers.PEERS
    chosen = [name for name in peers.PEERS if name in wanted and name not in missing]
    return chosen, {name: why for name, why in missing.items() if name in wanted}


def effort(options: argparse.Namespace) -> Effort:
    """The effort of the options."""
    base = _QUICK if options.quick else Effort()
    rounds = options.rounds or base.rounds
    turn = options.turn / 1e3 if options.turn else base.turn
    return Effort(rounds, min(rounds, base.least), turn, base.budget)


def problems(options: argparse.Namespace) -> Iterator[tuple[shapes.Layer, str, str, int]]:
    """Every case to measure, a layer's together, so that its arrays are made once."""
    for layer in options.chosen:
        for dtype in options.dtypes:
            for pass_name in layer.passes:
                if pass_name in options.passes:
                    for threads in options.threads:
                        yield layer, pass_name, dtype, threads


def progress(case: Case, formats: Sequence[str]) -> str:
    """A line on the terminal for a case that is done."""
    text = f"{case.layer.name:28}{case.pass_name:11}{case.dtype} {case.threads} thr"
    for data_format in formats:
        best = best_peer(case, data_format)
        text += f"  {data_format} {number(ratio(case, data_format)):>5}"
        text += f" ({best.engine if best else 'no peer':11})"
    return text


def failures(cases: Sequence[Case]) -> list[str]:
    """What went wrong in fastconv, a line each."""
    return [
        f"{case.layer.name} {case.pass_name} {case.dtype} {timing.data_format}: {timing.note}"
        for case in cases
        for timing in case.timings
        if timing.engine == "fastconv" and timing.failed
    ]


def measure(options: argparse.Namespace, run: Run, bench: Bench) -> list[Case]:
    """Measure all cases, saying each on standard error; fills in the limits of `run`."""
    for dtype in options.dtypes:
        for threads in options.threads:
            run.limits[dtype, threads] = bench.limits(dtype, threads, machine.LARGEST_COPY, 0.3)
    cases = []
    for problem in problems(options):
        case = bench.measure(*problem, options.formats)
        cases.append(case)
        print(progress(case, options.formats), file=sys.stderr, flush=True)
        if options.raw:
            with options.raw.open("a", encoding="utf-8") as file:
                file.write(json.dumps(case.to_json()) + "\n")
    return cases


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = arguments(words)
    if options.list:
        for layer in options.chosen:
            print(f"{layer.name:28}{layer.net:18}{layer.category:10}{layer.shape}")
        return 0
    names, missing = engines(options)
    given = sys.argv[1:] if words is None else words
    run = Run(
        machine=machine.description(),
        command=shlex.join(["python", "-m", "benchmarks.compare", *given]),
        date=datetime.date.today().isoformat(),
        load=os.getloadavg()[0],
        versions={},
        missing=missing,
        formats=options.formats,
    )
    try:
        with Bench(names, effort(options), options.isa) as bench:
            run.versions = bench.versions
            cases = measure(options, run, bench)
    except WorkerLost as lost:
        print(f"benchmarks.compare: {lost}", file=sys.stderr)
        return 2
    if not options.no_picture:
        from benchmarks.roofline import draw

        picture = options.output.with_suffix(".png")
        draw(picture, cases, options.formats[0], run.limits)
        run.picture = picture.name
    options.output.write_text(page(run, cases), encoding="utf-8")
    wrong = failures(cases)
    for line in wrong:
        print(f"fastconv failed: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
