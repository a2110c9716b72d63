"""Threads and processes: fork at any moment, many Python threads at once, how many, and the GIL."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
import operations
from closeness import assert_same_bits, same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    """Leave each test with the number of threads the process had."""
    before = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(before)


def run_script(script: str, **environment: str) -> str:
    """Run a script in a new process and return what it prints; a hang is a failure."""
    process = subprocess.run(
        [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


# ----------------------------------------------------------------------------------- how many


def test_set_and_get() -> None:
    """What is set is what is got."""
    for n in (1, 2, 5):
        fastconv.set_num_threads(n)
        assert fastconv.get_num_threads() == n


def test_context_is_undone() -> None:
    """Contexts nest, and end by exceptions too."""
    fastconv.set_num_threads(4)
    with fastconv.threads(2):
        assert fastconv.get_num_threads() == 2
        with fastconv.threads(1):
            assert fastconv.get_num_threads() == 1
        assert fastconv.get_num_threads() == 2
    with pytest.raises(KeyError), fastconv.threads(3):
        raise KeyError
    assert fastconv.get_num_threads() == 4


def test_context_is_of_the_calling_thread() -> None:
    """A limit that one thread sets for itself does not reach another."""
    fastconv.set_num_threads(4)
    seen: list[int] = []
    with fastconv.threads(1):
        other = threading.Thread(target=lambda: seen.append(fastconv.get_num_threads()))
        other.start()
        other.join()
    assert seen == [4]


def test_set_is_of_the_process() -> None:
    """A number that one thread sets reaches all."""
    other = threading.Thread(target=lambda: fastconv.set_num_threads(3))
    other.start()
    other.join()
    assert fastconv.get_num_threads() == 3


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FASTCONV_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"FASTCONV_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
    ],
)
def test_environment(environment: dict[str, str], expected: int) -> None:
    """FASTCONV_NUM_THREADS comes before OMP_NUM_THREADS."""
    for name in {"FASTCONV_NUM_THREADS", "OMP_NUM_THREADS"} - environment.keys():
        environment = {**environment, name: ""}
    script = "import fastconv; print(fastconv.get_num_threads())"
    assert int(run_script(script, **environment)) == expected


def test_default_is_the_affinity_mask() -> None:
    """A process that may use one CPU uses one thread; no process uses more than it may."""
    script = """
        import os
        os.environ.pop("FASTCONV_NUM_THREADS", None)
        os.environ.pop("OMP_NUM_THREADS", None)
        allowed = os.sched_getaffinity(0)
        if {one}:
            os.sched_setaffinity(0, list(allowed)[:1])
        import fastconv
        print(fastconv.get_num_threads())
    """
    assert int(run_script(script.format(one=True))) == 1
    assert 1 <= int(run_script(script.format(one=False))) <= len(os.sched_getaffinity(0))


# --------------------------------------------------------------------------------------- forks

WORK = """
    import os, signal, sys, threading
    import numpy as np
    import fastconv
    from fastconv import functional

    fastconv.set_num_threads(3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 28, 28, 64)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 64, 64)).astype(np.float32)
    dy = rng.standard_normal((4, 26, 26, 64)).astype(np.float32)

    def work():
        y = functional.conv2d(x, kernel)
        grads = functional.conv2d_backward(dy, x, kernel)
        pooled = functional.max_pool2d(x)
        return [a.tobytes() for a in (y, *grads, pooled)]

    def in_child(function):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # a child that hangs dies of this
            os._exit(0 if function() else 1)
        return os.waitpid(pid, 0)[1]
"""


def test_fork_before_first_use() -> None:
    """A child uses what its parent has only imported, and the parent goes on."""
    script = """
        results = []
        status = in_child(lambda: bool(work()))
        assert status == 0, status
        assert work()
    """
    run_script(textwrap.dedent(WORK) + textwrap.dedent(script))


def test_fork_after_use() -> None:
    """Children and grandchildren compute the bits of the parent, which goes on too."""
    script = """
        expected = work()
        for _ in range(5):
            status = in_child(lambda: work() == expected)
            assert status == 0, status
            assert work() == expected
        status = in_child(lambda: in_child(lambda: work() == expected) == 0 and work() == expected)
        assert status == 0, status
    """
    run_script(textwrap.dedent(WORK) + textwrap.dedent(script))


# Before LLVM 18 a sanitizer's allocator leaves its locks as they are at a fork (llvm-project, pull
# request 75290): now and then a child waits for one that is held by a thread it does not have.
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer's own locks hang after forks")
def test_fork_during_use() -> None:
    """A fork while another thread is inside a kernel: the child and the thread both go on."""
    script = """
        expected = work()
        done, wrong = threading.Event(), []
        def busy():
            while not done.is_set():
                if work() != expected:
                    wrong.append(1)
        threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            status = in_child(lambda: work() == expected)
            assert status == 0, status
        done.set()
        for thread in threads:
            thread.join()
        assert not wrong
    """
    run_script(textwrap.dedent(WORK) + textwrap.dedent(script))


def test_exit_while_threads_sleep() -> None:
    """A process that has used its threads ends at its last line."""
    script = """
        work()
        print("done")
    """
    assert run_script(textwrap.dedent(WORK) + textwrap.dedent(script)) == "done"


def test_exit_while_others_compute() -> None:
    """A process ends at its last line, though daemon threads are inside kernels.

    Each comes back to an interpreter that is gone, and is ended from within the call.
    """
    script = """
        def busy():
            while True:
                work()
        for _ in range(4):
            threading.Thread(target=busy, daemon=True).start()
        work()
        print("done")
    """
    assert run_script(textwrap.dedent(WORK) + textwrap.dedent(script)) == "done"


# ------------------------------------------------------------------------------ threads at once


@pytest.mark.parametrize("n", [1, 2, 3])
def test_many_python_threads_at_once(n: int) -> None:
    """Each of eight threads goes through every function, and gets what it gets alone."""
    fastconv.set_num_threads(n)
    jobs = [operations.make_operations(seed=seed) for seed in range(8)]
    expected = [{name: op.results() for name, op in job.items()} for job in jobs]
    wrong: list[str] = []
    start = threading.Barrier(8)

    def work(i: int) -> None:
        start.wait()
        with _core.forced_worker_share(1):  # small as they are, they are divided
            for name, operation in [*jobs[i].items()] * 5:
                results = operation.results().items()
                right = expected[i][name]
                wrong.extend(f"{name} {k}" for k, v in results if not same_bits(v, right[k]))

    run_threads(8, work)
    assert wrong == []


def run_threads(n: int, work: Callable[[int], None]) -> None:
    """Run work(0) ... work(n - 1) in threads of their own, and wait for them."""
    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_large_problems_at_once() -> None:
    """Calls large enough to want the pool, all at the same time, each with its own images."""
    fastconv.set_num_threads(3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 2, 28, 28, 64)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 64, 64)).astype(np.float32)
    dy = rng.standard_normal((4, 2, 26, 26, 64)).astype(np.float32)

    def everything(i: int) -> list[Array]:
        grads = functional.conv2d_backward(dy[i], x[i], kernel)
        return [functional.conv2d(x[i], kernel), *grads, functional.avg_pool2d(x[i])]

    expected = [everything(i) for i in range(4)]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(10) if not all(map(same_bits, everything(i), expected[i])))

    run_threads(4, work)
    assert wrong == []


def test_number_of_threads_changes_during_work() -> None:
    """set_num_threads while calls are under way disturbs none of them."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 28, 28, 64)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 64, 64)).astype(np.float32)
    expected = functional.conv2d(x, kernel)
    done = threading.Event()
    wrong: list[int] = []

    def work(i: int) -> None:
        if i == 0:
            for n in [1, 2, 3, 4, 7] * 20:
                fastconv.set_num_threads(n)
                time.sleep(0.002)
            done.set()
        while not done.is_set():
            if not same_bits(functional.conv2d(x, kernel), expected):
                wrong.append(i)

    run_threads(3, work)
    assert wrong == []


def test_threads_that_come_and_go() -> None:
    """Short-lived Python threads leave nothing behind that a later call trips over."""
    operation = operations.make_operations()["conv2d"]
    expected = operation.results()["y"]
    for _ in range(50):
        results: list[Array] = []
        run_threads(2, lambda _, into=results: into.append(operation.call()))  # type: ignore[misc]
        for y in results:
            assert_same_bits(y, expected)


# ----------------------------------------------------------------------------------------- GIL


def long_calls() -> dict[str, Callable[[], Any]]:
    """Return calls that take tens of milliseconds or more on one thread."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 112, 112, 64))
    kernel = rng.standard_normal((3, 3, 64, 64))
    dy = functional.conv2d(x, kernel)
    rows, weights = x.reshape(-1, 1792), rng.standard_normal((1792, 512))
    pooled = functional.max_pool2d(x)
    return {
        "conv2d": lambda: functional.conv2d(x, kernel),
        "conv2d_backward": lambda: functional.conv2d_backward(dy, x, kernel),
        "conv2d_transpose": lambda: functional.conv2d_transpose(x, kernel),
        "dense": lambda: functional.dense(rows, weights),
        "max_pool2d": lambda: functional.max_pool2d(x, 7, strides=1),
        "max_pool2d_backward": lambda: functional.max_pool2d_backward(pooled, x),
        "avg_pool2d": lambda: functional.avg_pool2d(x, 7, strides=1),
        "global_avg_pool2d": lambda: functional.global_avg_pool2d(x),
        "tanh": lambda: functional.tanh(x),
        "softmax": lambda: functional.softmax(x),
    }


def longest_pause(call: Callable[[], Any]) -> tuple[float, float]:
    """Run a call in a thread; return how long it took and how long this one had to wait at most."""
    span: list[float] = []

    def work() -> None:
        with fastconv.threads(1):
            span.append(time.perf_counter())
            call()
            span.append(time.perf_counter())

    worker = threading.Thread(target=work)
    ticks = [time.perf_counter()]
    worker.start()
    while worker.is_alive():
        time.sleep(0.0002)
        ticks.append(time.perf_counter())
    worker.join()
    inside = [t for t in ticks if span[0] <= t <= span[1]]
    moments = [span[0], *inside, span[1]]
    return span[1] - span[0], float(np.max(np.diff(moments)))


@pytest.mark.parametrize("name", ["conv2d", "conv2d_backward", "conv2d_transpose", "dense"])
def test_gil_is_released_by_sums(name: str) -> None:
    """Another Python thread goes on while a convolution runs."""
    check_gil(name)


@pytest.mark.parametrize(
    "name", ["max_pool2d", "max_pool2d_backward", "avg_pool2d", "global_avg_pool2d"]
)
def test_gil_is_released_by_pooling(name: str) -> None:
    """Another Python thread goes on while a pooling runs."""
    check_gil(name)


@pytest.mark.parametrize("name", ["tanh", "softmax"])
def test_gil_is_released_by_elementwise(name: str) -> None:
    """Another Python thread goes on while a function is evaluated."""
    check_gil(name)


def check_gil(name: str) -> None:
    """One try in ten without a pause of half the call is proof: with the GIL held there is none."""
    call = long_calls()[name]
    tries = []
    for _ in range(10):
        took, pause = longest_pause(call)
        tries.append((took, pause))
        if pause < took / 2:
            return
    pytest.fail(f"{name}: (time of the call, longest pause of another thread) = {tries}")
