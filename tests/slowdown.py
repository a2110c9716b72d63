"""Two figures of speed that are promises of trust, measured in turns with what they are held to.

    python tests/slowdown.py denormals         a call on denormals beside one on ordinary numbers
    python tests/slowdown.py oversubscription  fastconv beside another library, both on all CPUs

Each pair runs in turns, many times, and the best times count, so that a busy minute hits both.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv
import trust_record
from fastconv import _fastconv_core as _core
from fastconv import functional

Array = npt.NDArray[Any]
Call = Callable[[], Any]

LAYERS = {  # x, kernel, and the words of a call
    "3x3": ((4, 28, 28, 64), (3, 3, 64, 64), {"padding": 1}),
    "1x1": ((4, 28, 28, 128), (1, 1, 128, 128), {}),
    "7x7 stem": ((2, 112, 112, 3), (7, 7, 3, 64), {"strides": 2, "padding": 3}),
    "depthwise": ((4, 56, 56, 64), (3, 3, 1, 64), {"padding": 1, "groups": 64}),
    "LeNet-5": ((32, 28, 28, 1), (5, 5, 1, 6), {"padding": 2}),
}
TURNS = 40


def in_turns(one: Call, other: Call) -> tuple[float, float]:
    """Return the best times of two calls that take turns, in seconds."""
    best = [float("inf")] * 2
    for _ in range(TURNS):
        for i, call in enumerate((one, other)):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best[0], best[1]


# --------------------------------------------------------------------------------------- denormals


def passes(x: Array, kernel: Array, dy: Array, words: dict[str, Any]) -> dict[str, Call]:
    """Return forward and both gradients as calls."""
    backward = functional.conv2d_backward
    return {
        "forward": lambda: functional.conv2d(x, kernel, **words),
        "dx": lambda: backward(dy, x, kernel, needs=("x",), **words),
        "dkernel": lambda: backward(dy, x, kernel, needs=("kernel",), **words),
    }


def denormals() -> str:
    """Measure every pass of every layer with each array denormal, beside ordinary numbers."""
    rng, worst = np.random.default_rng(0), (0.0, "")
    for name, (x_shape, kernel_shape, words) in LAYERS.items():
        x, kernel = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, kernel_shape))
        dy = rng.standard_normal(functional.conv2d(x, kernel, **words).shape).astype(np.float32)
        tiny = [np.sign(a) * np.float32(1e-40) for a in (x, kernel, dy)]
        plain = passes(x, kernel, dy, words)
        for what, arrays in {
            "inputs": (tiny[0], kernel, dy),
            "weights": (x, tiny[1], dy),
            "gradients": (x, kernel, tiny[2]),
        }.items():
            for step, call in passes(*arrays, words).items():
                slow, fast = in_turns(call, plain[step])
                label = f"{name}, {step}, denormal {what}"
                print(f"{slow / fast:6.2f}  {label}")
                worst = max(worst, (slow / fast, label))
    return f"slowest call {worst[0]:.2f}x its time on ordinary numbers ({worst[1]})"


# -------------------------------------------------------------------------------- oversubscription


def oversubscription() -> str:
    """Measure a convolution on all CPUs while another library's pool is busy on all CPUs.

    Two loads on the same CPUs get half of them each. What a pool of spinning or waiting threads
    costs beyond that is the figure: time beside the other load / (2 x time alone).
    """
    cpus = _core.get_num_threads()
    x, kernel = np.ones((8, 56, 56, 64), np.float32), np.ones((3, 3, 64, 64), np.float32)
    found = []
    for name, busy in rivals().items():
        done = threading.Event()

        def load(busy: Call = busy, done: threading.Event = done) -> None:
            while not done.is_set():
                busy()

        alone = average(lambda: functional.conv2d(x, kernel, padding=1))
        rival = threading.Thread(target=load)
        rival.start()
        beside = average(lambda: functional.conv2d(x, kernel, padding=1))
        done.set()
        rival.join()
        cost = beside / (2 * alone)
        print(f"{cost:6.2f}  beside {name}: {1e3 * alone:.2f} ms alone, {1e3 * beside:.2f} beside")
        found.append(f"{cost:.2f}x beside {name}")
    return f"{', '.join(found)}, of the time that half of {cpus} CPUs would take"


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


def average(call: Call, seconds: float = 3.0) -> float:
    """Return the mean time of a call over some seconds: what shared CPUs give in the long run."""
    call()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        times += 1
    return (time.perf_counter() - start) / times


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
