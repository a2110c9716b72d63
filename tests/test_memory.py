"""Memory does not grow with the number of calls; test_large_arrays.py has what takes much of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trust_record import count

LONG = os.environ.get("FASTCONV_TEST_PROFILE") == "long"

# Right and wrong calls of every function in both dtypes, packed kernels, all numbers of threads,
# short-lived Python threads, models and files; then the growth over so many calls is printed.
MANY = """
    import gc, resource, sys, tempfile, threading
    import numpy as np
    import fastconv, operations
    from fastconv import functional
    from networks import blobs, compiled, small

    every = [op for t in ("float32", "float64") for op in operations.make_operations(t).values()]
    kernel = np.ones((3, 3, 5, 19), np.float32)
    large = np.ones((4, 40, 40, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)
    path = tempfile.mkdtemp() + "/model.safetensors"

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def mixed():
        for operation in every:
            operation.call()
            for wrong in ({{"strides": -1}}, {{"x": None}}, {{"out": large[0]}}):
                try:
                    operation.call(**wrong)
                except (TypeError, ValueError):
                    pass
        packed = functional.pack_kernel(kernel, input_size=(6, 7), padding=1)
        functional.conv2d(every[0].arrays["x"], packed, padding=1)
        return 4 * len(every) + 2

    def seldom(i):
        fastconv.set_num_threads(1 + i % 5)
        functional.conv2d(*large)
        thread = threading.Thread(target=mixed)
        thread.start()
        thread.join()
        model = compiled(small())
        model.fit(*blobs(32), verbose=0)
        model.save(path)
        fastconv.models.load_model(path).predict(blobs(4)[0], verbose=0)
        return mixed()

    kept = []
    for i in range(20):
        seldom(i)
    gc.collect()
    before, calls, i = resident(), 0, 0
    while calls < {calls}:
        calls += mixed() + (seldom(i) if i % 20 == 0 else 0)
        i += 1
    gc.collect()
    print(calls, resident() - before)
"""


def searched(folder: str) -> str:
    """Return PYTHONPATH with a folder before it; an empty entry would mean the current folder."""
    return os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))


@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer keeps what is freed")
def test_many_calls() -> None:
    """100,000 calls later (long: 3 million), the process is larger by less than 1 MB."""
    wanted = 3_000_000 if LONG else 100_000
    here = str(Path(__file__).parent)
    process = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(MANY.format(calls=wanted))],
        env={**os.environ, "PYTHONPATH": searched(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    calls, growth = map(int, process.stdout.split())
    assert calls >= wanted
    assert growth < 1 << 20, f"{growth:,} bytes more after {calls:,} calls"
    count("memory", "calls", calls)


# Kernels whose taps lie 2^25 columns or rows apart, plain, grouped and depthwise, in every pass:
# the answers, then the growth of the process at its largest.
FAR = """
    import resource
    import numpy as np
    from fastconv import functional

    def largest():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    x, dy = np.ones((2, 8, 8, 16), np.float32), np.ones((2, 8, 8, 32), np.float32)
    before = largest()
    for groups in (1, 4, 16):
        for dilation in ((1, 2**25), (2**25, 1), (3, 2**20)):
            kernel = np.zeros((3, 3, 16 // groups, 32), np.float32)
            kernel[1, 1] = 1
            words = dict(padding="same", dilation_rate=dilation, groups=groups)
            packed = functional.pack_kernel(kernel, input_size=(8, 8), **words)
            for form in (kernel, packed):
                assert (functional.conv2d(x, form, **words) == 16 // groups).all()
            dx, dkernel, _ = functional.conv2d_backward(dy, x, kernel, **words)
            assert (dx == 32 // groups).all()
            assert (dkernel[1, 1] == 2 * 8 * 8).all()
            assert not dkernel[0, 0].any() and not dkernel[2, 2].any()
    print((largest() - before) * 1024)
"""


def test_taps_far_apart() -> None:
    """What lies between the taps of a dilated kernel is not packed."""
    process = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(FAR)],
        env={**os.environ, "PYTHONPATH": searched(str(Path(__file__).parent))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < 16 << 20
