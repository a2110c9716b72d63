"""Two figures of speed that are promises of trust, measured in turns with what they are held to.

    python tests/slowdown.py denormals         a call on denormals beside one on ordinary numbers
    python tests/slowdown.py oversubscription  fastconv beside another library, both on all CPUs

A figure beyond its bound is a failure. Each pair runs in turns, so that a busy minute hits both.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv
import trust_record
from bits import shifted
from fastconv import _fastconv_core as _core
from fastconv import functional

Array = npt.NDArray[Any]
Call = Callable[[], Any]


def require(figure: float, bound: float, what: str) -> None:
    """Fail where a figure is beyond its bound."""
    if figure > bound:
        raise SystemExit(f"{what}: {figure:.2f}x, where {bound}x is promised")


# --------------------------------------------------------------------------------------- denormals

MOST = 1.2
TURNS = 15
FEWEST, ROUNDS = 3, 20  # of turns: more for a pair that a busy machine has made look slow

LAYERS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ("conv2d", (4, 28, 28, 64), (3, 3, 64, 64), {"padding": 1}),
    "3x3 direct": ("conv2d", (2, 28, 28, 32), (3, 3, 32, 32), {"algorithm": "direct"}),
    "1x1": ("conv2d", (4, 28, 28, 128), (1, 1, 128, 128), {}),
    "7x7 stem": ("conv2d", (2, 112, 112, 3), (7, 7, 3, 64), {"strides": 2, "padding": 3}),
    "depthwise": ("conv2d", (4, 56, 56, 64), (3, 3, 1, 64), {"padding": 1, "groups": 64}),
    "LeNet-5": ("conv2d", (32, 28, 28, 1), (5, 5, 1, 6), {"padding": 2}),
    "transposed": ("conv2d_transpose", (4, 14, 14, 64), (4, 4, 48, 64), {"strides": 2}),
    "dense": ("dense", (128, 400), (400, 120), {}),
}

# Of x, the kernel and dy: what the numbers of each are multiplied by, as a power of the smallest
# normal number. Products of square roots of it are denormal, though nothing that is read is.
KINDS = {
    "inputs": (1.05, 0, 0),
    "weights": (0, 1.05, 0),
    "gradients": (0, 0, 1.05),
    "products": (0.525, 0.525, 0.525),
}


def passes(name: str, arrays: list[Array], words: dict[str, Any]) -> dict[str, Call]:
    """Return forward and both gradients as calls."""
    x, kernel, dy = arrays
    forward, backward = (getattr(functional, f"{name}{tail}") for tail in ("", "_backward"))
    return {
        "forward": lambda: forward(x, kernel, **words),
        "dx": lambda: backward(dy, x, kernel, needs=("x",), **words),
        "dkernel": lambda: backward(dy, x, kernel, needs=("kernel",), **words),
    }


def ratio(slow: Call, fast: Call) -> float:
    """Return the best time of one call over that of another, the two in turns, in the median round.

    It is time of the CPU: that of the clock can have the same one interrupted at every turn, where
    another process takes the CPU in step. Each round is judged by itself, lest one lucky turn count
    for good.
    """
    found: list[float] = []
    while len(found) < FEWEST or (len(found) < ROUNDS and statistics.median(found) > MOST):
        best = [float("inf")] * 2
        for _ in range(TURNS):
            for i, call in enumerate((slow, fast)):
                start = time.process_time()
                call()
                best[i] = min(best[i], time.process_time() - start)
        found.append(best[0] / best[1])
    return statistics.median(found)


def denormal_calls(dtype: str) -> Iterator[tuple[str, Call, Call]]:
    """Give every pass of every layer, with numbers of each kind beside ordinary ones.

    All arrays begin with a cache line: equal numbers 16 bytes after one took 1.25 to 1.5 times as
    long as those on one, on a depthwise kernel gradient, whether denormal or not.
    """
    rng = np.random.default_rng(0)
    least = float(np.finfo(dtype).smallest_normal)
    for layer, (name, x_shape, kernel_shape, words) in LAYERS.items():
        x, kernel = (rng.standard_normal(s).astype(dtype) for s in (x_shape, kernel_shape))
        y = getattr(functional, name)(x, kernel, **words)
        drawn = (x, kernel, rng.standard_normal(y.shape).astype(dtype))
        plain = [shifted(a, 0) for a in drawn]
        fast = passes(name, plain, words)
        for kind, powers in KINDS.items():
            # Numbers all of one size, so that none of them is normal by chance.
            arrays = [
                shifted((np.sign(a) * least**power).astype(dtype), 0) if power else a
                for a, power in zip(plain, powers, strict=True)
            ]
            for step, slow in passes(name, arrays, words).items():
                yield f"{layer}, {step}, {dtype}, denormal {kind}", slow, fast[step]


def denormals() -> str:
    """Measure every pass with denormals in each place, on each instruction set.

    On one thread: of two, the time holds how long one waited for the other. That denormals are
    flushed on every thread, results show.
    """
    worst, calls = (0.0, ""), 0
    for isa in _core.available_isas():
        with _core.forced_isa(isa), fastconv.threads(1):
            for dtype in ("float32", "float64"):
                for what, slow, fast in denormal_calls(dtype):
                    found = ratio(slow, fast)
                    print(f"{found:6.2f}  {what}, {isa}", flush=True)
                    require(found, MOST, f"{what}, {isa}")
                    worst, calls = max(worst, (found, f"{what}, {isa}")), calls + 1
    return f"{calls} calls, the slowest {worst[0]:.2f}x its time on ordinary numbers ({worst[1]})"


# -------------------------------------------------------------------------------- oversubscription

# Beside a rival on all CPUs, independent threads lose their share of them. A call that is divided
# among threads must also wait at its end for the one whose CPU the rival has just been given: a
# time slice of the system's (3 ms) a call, which no program can take back. (Threads that never spin
# when they wait lose the same.) So a call of many slices must cost no more than its share.
MOST_OF_LONG_CALLS = 1.15
IMAGES = {"short": 8, "long": min(64 * _core.get_num_threads(), 512)}
WINDOW_SECONDS = 0.5
WINDOWS = 7


class Rival:
    """A load of another library, on as many threads as there are CPUs, while it is asked for."""

    def __init__(self, busy: Call) -> None:
        self.busy = busy
        self.wanted, self.idle, self.over = (threading.Event() for _ in range(3))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        """Work while wanted."""
        while not self.over.is_set():
            if not self.wanted.is_set():
                self.idle.set()
                self.wanted.wait()
                self.idle.clear()
            self.busy()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work in the block; when it is left, neither the rival nor its pool works."""
        self.wanted.set()
        time.sleep(0.05)
        yield
        self.wanted.clear()
        self.idle.wait()
        time.sleep(0.1)  # its threads spin for some time before they sleep

    def end(self) -> None:
        """End the thread."""
        self.over.set()
        self.wanted.set()
        self.thread.join()


def divided(images: int) -> float:
    """Return how many calls a second are made, each divided among all threads."""
    x, kernel = np.ones((images, 56, 56, 64), np.float32), np.ones((3, 3, 64, 64), np.float32)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < WINDOW_SECONDS:
        functional.conv2d(x, kernel, padding=1)
        calls += 1
    return calls / (time.perf_counter() - start)


def independent() -> float:
    """Return how many calls a second as many callers make, none of whom waits for another."""
    callers = _core.get_num_threads()
    x, kernel = np.ones((1, 56, 56, 64), np.float32), np.ones((3, 3, 64, 64), np.float32)
    calls, over = [0] * callers, threading.Event()

    def work(i: int) -> None:
        with fastconv.threads(1):
            while not over.is_set():
                functional.conv2d(x, kernel, padding=1)
                calls[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(WINDOW_SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    return sum(calls) / (time.perf_counter() - start)


def slowdown(rate: Callable[[], float], rival: Rival) -> float:
    """Return by how much a rival slows what is measured."""
    alone = rate()
    with rival.working():
        beside = rate()
    return alone / beside


def costs_beside(rival: Rival) -> dict[str, float]:
    """Return what divided calls lose of what independent callers lose, by how long they are."""
    lost: dict[str, list[float]] = {length: [] for length in IMAGES}
    for _ in range(WINDOWS):
        share = slowdown(independent, rival)
        for length, images in IMAGES.items():
            lost[length].append(slowdown(lambda n=images: divided(n), rival) / share)
    return {length: statistics.median(values) for length, values in lost.items()}


def oversubscription() -> str:
    """Measure calls on all CPUs while another library is busy on all of them.

    What they lose is held to what independent callers lose: the share of the CPUs alone.
    """
    found = []
    for name, busy in rivals().items():
        rival = Rival(busy)
        for _ in range(3):  # where a busy machine has made the first look worse
            costs = costs_beside(rival)
            print(f"beside {name}: {costs}", flush=True)
            if costs["long"] <= MOST_OF_LONG_CALLS:
                break
        rival.end()
        require(costs["long"], MOST_OF_LONG_CALLS, f"long calls beside {name}")
        found.append(f"{costs['long']:.2f}x beside {name} ({costs['short']:.2f}x in short calls)")
    return f"{', '.join(found)}, of what the lost CPUs take"


def rivals() -> dict[str, Call]:
    """Return loads of other libraries, each on a pool of as many threads as there are CPUs."""
    a = np.ones((1500, 1500), np.float32)
    found: dict[str, Call] = {"BLAS": lambda: a @ a}
    try:
        import torch
    except ImportError:
        return found
    image, weight = torch.ones(8, 64, 56, 56), torch.ones(64, 64, 3, 3)
    found["PyTorch"] = lambda: torch.nn.functional.conv2d(image, weight, padding=1)
    return found


MEASURES = {"denormals": denormals, "oversubscription": oversubscription}


def main(names: list[str]) -> None:
    """Measure what is named, or everything, and record it."""
    for name in names or MEASURES:
        peak = _core.fma_peak(0.1, "float32", 1) / 1e9
        print(f"{name}: fastconv {fastconv.__version__}, FMA peak {peak:.1f} GFLOP/s a thread")
        start = time.perf_counter()
        figure = MEASURES[name]()
        print(figure)
        seconds = time.perf_counter() - start
        trust_record.record(name, f"python tests/slowdown.py {name}", figure, seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
