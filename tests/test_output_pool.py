"""The pool of outputs: what is kept, how much, for whom, and that no live array is touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from fastconv import _fastconv_core, functional

Array = npt.NDArray[Any]

MIB = 2**20

pytestmark = pytest.mark.usefixtures("empty_pool")


def result(value: float, mebibytes: float) -> Array:
    """Return a result of that many bytes that holds value everywhere."""
    side = int(mebibytes * MIB) // (4 * 64 * 64)
    dy = np.full((1, 64), value * 64 * side, np.float32)
    return functional.global_avg_pool2d_backward(dy, (1, 64, side, 64))


def address(a: Array) -> int:
    """Return where the data of an array lies."""
    return int(a.__array_interface__["data"][0])


def test_memory_comes_back() -> None:
    """The next result of about that size lies where the one before did."""
    a = result(1, 4)
    where = address(a)
    assert _fastconv_core.output_pool_held() == 0
    del a
    assert _fastconv_core.output_pool_held() >= 4 * MIB
    b = result(2, 3.5)
    assert address(b) == where
    assert (b == 2).all()
    assert _fastconv_core.output_pool_held() == 0


def test_no_live_array_is_touched() -> None:
    """Memory is handed out once, also where views alone hold it."""
    first = [result(i, 1)[0, i] for i in range(4)]
    second = [result(10 + i, 1) for i in range(4)]
    assert all((a == i).all() for i, a in enumerate(first))
    assert all((a == 10 + i).all() for i, a in enumerate(second))


def test_results_own_their_data() -> None:
    """They can be resized, larger and smaller, and keep what they hold."""
    a = result(3, 1)
    assert a.flags.owndata
    assert a.flags.c_contiguous
    assert a.flags.writeable
    size = a.size
    a.resize(3 * size, refcheck=False)
    assert (a[:size] == 3).all()
    assert (a[size:] == 0).all()
    a.resize(10, refcheck=False)
    assert a.tolist() == [3.0] * 10


def test_small_and_given_outputs_are_not_kept() -> None:
    """Nor is anything of an array that the user has made."""
    x = np.ones((1, 256, 256, 16), np.float32)
    functional.max_pool2d(x[:, :16], 2)
    functional.max_pool2d(x, 2, out=np.empty((1, 128, 128, 16), np.float32))
    assert _fastconv_core.output_pool_held() == 0


def test_much_larger_memory_is_not_spent() -> None:
    """A small result leaves the memory of a large one where it is."""
    del_later = [result(1, 8)]
    where = address(del_later.pop())
    small = result(2, 1)
    large = result(3, 8)
    assert address(large) == where
    assert (small == 2).all()


def test_limit_drops_the_oldest() -> None:
    """What is kept never exceeds the limit."""
    fastconv.set_output_pool(10 * MIB)
    arrays = [result(i, 4) for i in range(4)]
    places = [address(a) for a in arrays]
    while arrays:
        arrays.pop(0)
        assert _fastconv_core.output_pool_held() <= 10 * MIB
    assert _fastconv_core.output_pool_held() >= 8 * MIB
    again = [result(7, 4), result(8, 4)]
    assert {address(a) for a in again} == set(places[2:])


def test_setting_the_limit_frees() -> None:
    """0 frees all and ends the keeping; arrays made before are freed when they die."""
    kept, alive = result(1, 2), result(2, 2)
    del kept
    assert _fastconv_core.output_pool_held() > 0
    fastconv.set_output_pool(0)
    assert fastconv.get_output_pool() == 0
    assert _fastconv_core.output_pool_held() == 0
    assert (alive == 2).all()
    del alive
    result(3, 2)
    assert _fastconv_core.output_pool_held() == 0


@pytest.mark.parametrize(("size", "kind"), [(-1, ValueError), (True, TypeError), (1.5, TypeError)])
def test_bad_limits(size: Any, kind: type[Exception]) -> None:
    """The message tells the argument, what is allowed and what was received."""
    with pytest.raises(kind, match=rf"size must be an int of at least 0.*received size={size}"):
        fastconv.set_output_pool(size)


@pytest.mark.parametrize(("given", "expected"), [("0", 0), ("1048576", MIB), ("", 256 * MIB)])
def test_environment(given: str, expected: int) -> None:
    """FASTCONV_OUTPUT_POOL sets the limit of a process."""
    script = "import fastconv; print(fastconv.get_output_pool())"
    environment = {**os.environ, "FASTCONV_OUTPUT_POOL": given}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == expected


@pytest.mark.parametrize("given", ["many", "-1", "1.5"])
def test_bad_environment(given: str) -> None:
    """Anything else makes the import fail, with a sentence that says so."""
    environment = {**os.environ, "FASTCONV_OUTPUT_POOL": given}
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import fastconv"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "FASTCONV_OUTPUT_POOL must be an int of at least 0" in done.stderr.splitlines()[-1]


def test_many_threads() -> None:
    """Threads that make and drop results, and hand them to each other, see what they wrote."""
    wrong: list[float] = []
    passed: list[Array] = []

    def work(value: int) -> None:
        for i in range(50):
            a = result(value, 0.25 * (1 + i % 4))
            passed.append(a)
            if not (a == value).all():
                wrong.append(value)
            if len(passed) > 8:
                passed.pop(0)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_fork() -> None:
    """A child takes and gives back memory of its own; the parent's stays as it is."""
    script = """
import os
import numpy as np
from fastconv import functional

def result(value):
    dy = np.full((1, 64), value * 64 * 64, np.float32)
    return functional.global_avg_pool2d_backward(dy, (1, 64, 64, 64))

held = result(1)
del held
alive = result(2)
pid = os.fork()
if pid == 0:
    right = (alive == 2).all()
    alive[...] = 5
    del alive
    os._exit(0 if right and (result(3) == 3).all() else 1)
right = os.waitpid(pid, 0)[1] == 0
assert right and (alive == 2).all() and (result(4) == 4).all()
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True, timeout=60)


def test_no_memory() -> None:
    """What cannot be had is a MemoryError."""
    with pytest.raises(MemoryError):
        functional.global_avg_pool2d_backward(np.ones((1, 1), np.float32), (1, 2**22, 2**22, 1))
