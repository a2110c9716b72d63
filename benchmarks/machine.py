"""The limits of the machine, measured in the same run: FMA peak and copy bandwidth.

The FMA peak is a loop of independent fused multiply-adds in registers, in the widest vectors of
fastconv's kernel table, run by a C function of the compiled module.  The copy bandwidth is that of
`numpy.copyto`, which is the C library's memcpy; it counts the bytes read and the bytes written.
A copy as large as the bytes that a layer moves is the limit of that layer, since both then live
in the same level of the caches: a copy through main memory would be too low a bar for small ones.
"""

from __future__ import annotations

import functools
import math
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.problems import Array

# Beyond this a copy no longer slows with size, and small enough for a machine of 2 GiB.
LARGEST_COPY = 256 << 20

# A copy takes 10 us here; of one much smaller, NumPy's call (0.3 us) would be a visible part.
_SMALLEST_COPY = 256 << 10


def fma_peak(seconds: float, dtype: str, threads: int) -> float:
    """Peak of fused multiply-adds in FLOP/s; NaN where fastconv is not installed."""
    try:
        from fastconv import _fastconv_core as _core
    except ImportError:
        return math.nan
    kind: Literal["float32", "float64"] = "float64" if dtype == "float64" else "float32"
    return float(_core.fma_peak(seconds, kind, threads))


def copy_bandwidth(nbytes: int, seconds: float, threads: int) -> float:
    """Bytes read and written a second by copies that move `nbytes`, split among threads.

    With several threads each copies its own arrays, and a copy so small that handing over the
    interpreter's lock outweighs it is measured on one thread too: the better figure is given.
    """
    size = min(max(nbytes, _SMALLEST_COPY), LARGEST_COPY) // 2
    one = _one_thread_copy(size, seconds)
    return one if threads == 1 else max(one, _shared_copy(size // threads, seconds, threads))


@functools.lru_cache(maxsize=2)
def _arrays(size: int, pairs: int) -> list[tuple[Array, Array]]:
    """Pairs of arrays to copy between, kept from one turn to the next: making them takes longer."""
    return [(np.ones(size, np.uint8), np.ones(size, np.uint8)) for _ in range(pairs)]


def _one_thread_copy(size: int, seconds: float) -> float:
    ((source, target),) = _arrays(size, 1)
    best, end = math.inf, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        np.copyto(target, source)
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return 2 * size / best


def _shared_copy(size: int, seconds: float, threads: int) -> float:
    """Sum of the rates of threads that copy at the same time, each its own arrays."""
    rates = [0.0] * threads
    pairs = _arrays(size, threads)
    barrier = threading.Barrier(threads)

    def work(index: int) -> None:
        source, target = pairs[index]
        copies = 0
        barrier.wait()
        start = now = time.perf_counter()
        while now < start + seconds:
            np.copyto(target, source)
            copies += 1
            now = time.perf_counter()
        rates[index] = copies * 2 * size / (now - start)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def description() -> str:
    """The processor, the CPUs that this process may use, the system and the Python."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{_processor()}, {cpus} CPUs; {platform.system()} {platform.machine()}; Python {python}"


def _processor() -> str:
    """The processor's name; Linux has it in a file, and not on every architecture."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
    except OSError:
        return platform.processor() or "unknown processor"
    names = {key.strip(): value.strip() for key, value in fields.items()}
    name = names.get("model name", platform.processor() or "unknown processor")
    if "cpu family" in names:
        name += f" (family {names['cpu family']}, model {names['model']})"
    return name
