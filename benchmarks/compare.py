"""fastconv against PyTorch, ONNX Runtime, OpenVINO, ncnn and NumPy: `python -m benchmarks.compare`.

One command measures every engine that is installed (`pip install '.[bench]'`; openvino and ncnn
join where they are) on the named layers of `shapes.py`, and writes a page, RESULTS.md, and a
roofline picture beside it:

    python -m benchmarks.compare                         # float32, 1 thread and all of them
    python -m benchmarks.compare --quick                 # a layer of each class, a few minutes
    python -m benchmarks.compare --classes 3x3 1x1 --passes dx dkernel --threads 1
    python -m benchmarks.compare --nets vgg16 --batch 1 --engines fastconv torch
    python -m benchmarks.compare --dtypes float32 float64 --output /tmp/all.md
    python -m benchmarks.compare --beyond --engines fastconv torch --threads 1   # other networks

Each case is written down as it is done, to a file beside the page, RESULTS.jsonl, of which the page
is made.  So a run can be cut at any time, and be made of parts:

    python -m benchmarks.compare --resume                # what the file does not hold yet
    python -m benchmarks.compare --update --classes 3x3  # these again, the others as they are
    python -m benchmarks.compare --repeat                # again, each engine keeps its better time
    python -m benchmarks.compare --update --isa avx2     # these beside the others
    python -m benchmarks.compare --update --batch 1 --passes forward packed   # and single images
    python -m benchmarks.compare --seconds 600           # stop when this time is over; status 3
    python -m benchmarks.compare --pages a.jsonl b.jsonl # measure nothing: a page of these files
    python -m benchmarks.compare --lock /tmp/measuring   # hold this lock while the clock runs

How it measures
---------------
Every engine runs in a process of its own (`worker.py`).  For each case, that is a layer, a pass, a
dtype and a number of threads, each engine first computes once and has a few values of the answer
checked against float64 sums; a wrong answer is reported and never timed.  Then the engines take
turns of some milliseconds, the order rotating, and the least time of a call counts (`measure.py`),
until no time improves any more.  An engine that is slow because the machine was busy for a moment
gets more turns; a peer that is behind the best one gets fewer, and one that is far behind only one.
Where other guests slow the machine for minutes, `--repeat` measures again: each engine keeps its
better time, and the machine its higher limits.

How to read it
--------------
Two tables come first: geometric means of the ratios with the least of each class, and what more
threads gain; single images, where larger batches were measured too, have a table of their own, of
what a kernel packed in the call costs them.  Then a table for each pass, a row for each layer,
fastconv's figures in both layouts on the left and the times of the peers on the right, the best in
bold.

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
whole        Of a program (`--classes program`): a training step (forward, backward, Adam) on a
             batch, a prediction of one image, a call of the smallest arrays.
ms           Into outputs allocated by the call, as users call; every peer does the same.
goal         The ratio that fastconv is to reach on this class of layer (`goals.py`); ✓ it does,
             ✓ limit it is within 90 % of the machine's limit, ✗ neither.
out= ms      With --out: fastconv's time into an array given beforehand, so that the difference is
             memory management.
GFLOP/s      Flops of the direct sum (2 a tap, those over padding counted), whatever the algorithm.
GB/s         For pooling: the bytes that must move, each array of the pass once.
% of limit   The time that the machine's limit allows / fastconv's time.  The limit is the slower
             of two: those flops at the FMA peak, or a copy that moves as many bytes as the layer
             must (`machine.py`), both measured in turn with the engines.  FMA* marks layers that
             Winograd's algorithm fits, which multiplies less: there the peak is no limit, and
             100 % can be exceeded.
[1]          There is no figure; the list under the table says why.

Peers are held to the same number of threads.  `--isa avx2` holds fastconv, PyTorch and OpenVINO to
AVX2; engines that cannot be held to it are left out.  The exit status is 1 if fastconv failed or
gave a wrong answer anywhere, 2 if the machine could not be measured, 3 if time ran out.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run by its file name: the checkout goes last, so that it hides no installed fastconv.
    sys.path[0:1] = []
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks import machine, peers, shapes, shapes_beyond
from benchmarks.cases import Case, apart, best_peer, ratio
from benchmarks.locking import exclusive
from benchmarks.measure import Bench, Effort, WorkerLost
from benchmarks.peers import CHANNELS_FIRST, CHANNELS_LAST
from benchmarks.report import number, page
from benchmarks.store import Run, Store, limits_key, read

_RESULTS = Path(__file__).with_name("RESULTS.md")
_BEYOND = Path(__file__).with_name("BEYOND.md")
_QUICK = Effort(rounds=4, least=2, turn=0.008, budget=0.5, patience=1)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(
        prog="benchmarks.compare", description="Measure fastconv and its peers; write a page."
    )
    add = parser.add_argument
    add("--threads", type=_positive, nargs="+", default=sorted({1, cpus or 1}), metavar="N")
    add("--engines", nargs="+", choices=peers.PEERS, help="default: those installed")
    add("--layers", nargs="+", metavar="NAME", help="names of shapes.py, or shapes_beyond.py")
    add("--nets", nargs="+", metavar="NET", help="resnet50 vgg16 lenet5 ...")
    add("--classes", nargs="+", choices=shapes.CATEGORIES)
    add("--beyond", action="store_true", help="layers that nothing is tuned on, to a page apart")
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
    add("--out", action="store_true", help="also time fastconv into an array given beforehand")
    add("--output", type=Path, metavar="FILE.md", help="with FILE.jsonl beside")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--resume", action="store_true", help="keep and skip what FILE.jsonl holds")
    parts.add_argument("--update", action="store_true", help="keep what is not measured again")
    parts.add_argument(
        "--repeat", action="store_true", help="keep the better of FILE.jsonl and this run"
    )
    parts.add_argument("--pages", type=Path, nargs="+", metavar="FILE.jsonl", help="only the page")
    add("--seconds", type=float, default=math.inf, metavar="S", help="stop after this time")
    add("--lock", type=Path, metavar="FILE", help="a file to lock while measuring")
    add("--no-picture", action="store_true", help="no roofline (needs matplotlib)")
    add("--list", action="store_true", help="name the layers and stop")
    options = parser.parse_args(words)
    options.output = options.output or (_BEYOND if options.beyond else _RESULTS)
    try:
        options.chosen = layers(options)
    except ValueError as error:
        parser.error(str(error))
    for file in options.pages or []:
        if not file.is_file():
            parser.error(f"argument --pages: there is no file {file}")
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
    table = shapes_beyond.LAYERS if options.beyond else shapes.LAYERS
    chosen = shapes.select(options.layers, options.nets, options.classes, table)
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
    return dataclasses.replace(base, rounds=rounds, least=min(rounds, base.least), turn=turn)


def problems(options: argparse.Namespace) -> Iterator[tuple[shapes.Layer, str, str, int]]:
    """Every case to measure, a layer's together, so that its arrays are made once."""
    for layer in options.chosen:
        for dtype in options.dtypes:
            for pass_name in layer.passes:
                if pass_name in options.passes and (layer.op, dtype) != ("program", "float64"):
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


def measure(options: argparse.Namespace, bench: Bench, run: Run) -> bool:
    """Measure the cases asked for, each written down at once; returns whether all are done."""
    store = Store(options.output.with_suffix(".jsonl"))
    keep = options.resume or options.update or options.repeat
    before = {case.key: case for case in earlier(options)[1]} if keep else {}
    with exclusive(options.lock):
        for dtype in options.dtypes:
            for threads in options.threads:
                limits = bench.limits(dtype, threads, machine.LARGEST_COPY, 0.3)
                run.limits[limits_key(dtype, threads)] = limits
    store.begin(run, keep=keep)
    end = time.monotonic() + options.seconds
    for problem in problems(options):
        key = Case(*problem, timings=[], isa=options.isa or "").key
        if options.resume and key in before:
            continue
        if time.monotonic() > end:
            return False
        case = bench.measure(*problem, options.formats, exclusive(options.lock))
        if options.repeat and key in before:
            case = case.or_better(before[key])
        store.add(case)
        print(progress(case, options.formats), file=sys.stderr, flush=True)
    return True


def earlier(options: argparse.Namespace) -> tuple[list[Run], list[Case]]:
    """What the files beside the page, or those named instead, hold."""
    own = options.output.with_suffix(".jsonl")
    return read(options.pages or ([own] if own.exists() else []))


def write(options: argparse.Namespace) -> Sequence[Case]:
    """Make the page and its picture of all that the files hold, and return the cases."""
    runs, cases = earlier(options)
    picture = options.output.with_suffix(".png")
    drawable = [case for case in apart(cases)[0] if case.layer.op != "program"]
    drawn = bool(drawable) and not options.no_picture
    if drawn:
        from benchmarks.roofline import draw

        limits = {key: pair for run in runs if not run.isa for key, pair in run.limits.items()}
        draw(picture, drawable, CHANNELS_LAST, limits)
    options.output.write_text(page(runs, cases, picture.name * drawn), encoding="utf-8")
    return cases


def begun(options: argparse.Namespace, words: Sequence[str], missing: dict[str, str]) -> Run:
    """The facts of a run that begins now."""
    return Run(
        machine=machine.description(),
        command=shlex.join(["python", "-m", "benchmarks.compare", *words]),
        date=datetime.date.today().isoformat(),
        load=os.getloadavg()[0],
        versions={},
        missing=missing,
        formats=options.formats,
        isa=options.isa or "",
    )


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = arguments(words)
    if options.list:
        for layer in options.chosen:
            print(f"{layer.name:28}{layer.net:18}{layer.category:10}{layer.shape}")
        return 0
    complete = True
    if not options.pages:
        names, missing = engines(options)
        run = begun(options, sys.argv[1:] if words is None else words, missing)
        try:
            with Bench(names, effort(options), options.isa, out=options.out) as bench:
                run.versions = bench.versions
                complete = measure(options, bench, run)
        except WorkerLost as lost:
            print(f"benchmarks.compare: {lost}", file=sys.stderr)
            return 2
    wrong = failures(write(options))
    for line in wrong:
        print(f"fastconv failed: {line}", file=sys.stderr)
    return 1 if wrong else 0 if complete else 3


if __name__ == "__main__":
    sys.exit(main())
