"""Calls of fastconv whose requests for memory are refused in turn; refuse_memory.c is preloaded.

Each must raise MemoryError or give the right result, leave no memory behind, and be right when it
is made again. Prints how many calls there were, and how many requests were refused.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv.functional as F

Array = npt.NDArray[Any]
Call = Callable[[], Any]

# Who asks: the compiled module for scratch and packed kernels, NumPy for arrays.
LIBRARIES = (b"_fastconv_core", b"_multiarray_umath")
REPEATS = 30
SLACK_BYTES = 30 * 16  # half of the least block a repeat


class Memory(ctypes.Structure):
    """What mallinfo2 tells: hblkhd and uordblks are the bytes in use, of large and small blocks."""

    _fields_ = [
        *((f"other_{i}", ctypes.c_size_t) for i in range(4)),
        ("hblkhd", ctypes.c_size_t),
        *((f"other_{i}", ctypes.c_size_t) for i in range(5, 7)),
        ("uordblks", ctypes.c_size_t),
        *((f"other_{i}", ctypes.c_size_t) for i in range(8, 10)),
    ]


process = ctypes.CDLL(None)
process.mallinfo2.restype = Memory
process.refuse_memory_arm.argtypes = [ctypes.c_long, ctypes.c_char_p]
process.refuse_memory_disarm.restype = ctypes.c_long


def in_use() -> int:
    """Return the bytes that are allocated now, large blocks of their own included."""
    gc.collect()
    memory = process.mallinfo2()
    return int(memory.uordblks + memory.hblkhd)


def calls() -> Iterator[tuple[str, Call]]:
    """Yield a call of every function, some in both layouts, large and small."""
    generator = np.random.default_rng(1)

    def normal(*shape: int) -> Array:
        return generator.standard_normal(shape, np.float32)

    x, kernel, bias = normal(2, 40, 40, 16), normal(3, 3, 16, 24), normal(24)
    dy, same_dy = normal(2, 38, 38, 24), normal(2, 40, 40, 24)
    rows, matrix = normal(3, 50), normal(50, 20)
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    yield "conv2d", lambda: F.conv2d(x, kernel, bias)
    yield "conv2d, strides", lambda: F.conv2d(x[:, ::2], kernel.transpose(1, 0, 2, 3), bias)
    yield "conv2d, planes", lambda: F.conv2d(planes, kernel, data_format="channels_first")
    yield "pack_kernel", lambda: F.conv2d(x, F.pack_kernel(kernel, (40, 40)))
    yield "conv2d_backward", lambda: F.conv2d_backward(dy, x, kernel)
    reflected = {"padding": "same", "padding_mode": "reflect"}
    yield "reflected", lambda: F.conv2d_backward(same_dy, x, kernel, **reflected)
    yield "transpose", lambda: F.conv2d_transpose(dy, kernel, strides=2)
    yield "dense", lambda: F.dense(rows, matrix)
    for name in ("max", "min", "avg"):
        pool, back = getattr(F, f"{name}_pool2d"), getattr(F, f"{name}_pool2d_backward")
        source = x.shape if name == "avg" else x
        yield name, lambda pool=pool: pool(x, 3, strides=2)
        yield f"{name} gradient", lambda back=back, source=source: back(x[:, :20, :20], source, 2)
    yield "indices", lambda: F.max_pool2d(x, 2, return_indices=True)
    yield "global", lambda: F.global_avg_pool2d(x)
    yield "softmax", lambda: F.softmax(bias)
    yield "exp", lambda: F.exp(x)
    yield "gate", lambda: F.activation_backward(x, planes.reshape(x.shape), "relu")


def bits(result: Any) -> list[bytes]:
    """Return what can be compared of a result."""
    parts = result if isinstance(result, tuple) else (result,)
    return [p.tobytes() if isinstance(p, np.ndarray) else repr(p).encode() for p in parts]


def refuse(call: Call, request: int, library: bytes, right: list[bytes]) -> bool:
    """Make a call with one request refused; whether that request came.

    In a new thread, which has no scratch left from an earlier call.
    """
    asked, wrong = 0, ""

    def run() -> None:
        nonlocal asked, wrong
        got = None
        process.refuse_memory_arm(request, library)
        try:
            got = call()
        except MemoryError:
            pass
        finally:
            asked = process.refuse_memory_disarm()
        if got is None and asked < request:
            wrong = "a MemoryError of its own making"
        if got is not None and bits(got) != right:
            wrong = "another result"

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not wrong, wrong
    return asked >= request


def lost_by(call: Call, request: int, library: bytes, right: list[bytes]) -> int:
    """Return by how much the bytes in use grow while a request is refused many times."""
    before = in_use()
    for _ in range(REPEATS):
        refuse(call, request, library, right)
    return in_use() - before


def refuse_all(name: str, call: Call) -> int:
    """Refuse each request of a call, many times; how many there are."""
    right, requests = bits(call()), 0
    for library in LIBRARIES:
        request = 1
        while refuse(call, request, library, right):
            # A leak comes back each time; what the allocator or an ending thread keeps does not.
            lost = SLACK_BYTES + 1
            for _ in range(10):
                lost = min(lost, lost_by(call, request, library, right))
                if lost <= SLACK_BYTES:
                    break
            assert lost <= SLACK_BYTES, f"{name}: request {request}: {lost} bytes were lost"
            assert bits(call()) == right, f"{name}: wrong after request {request}"
            requests, request = requests + 1, request + 1
    return requests


def main() -> None:
    """Try every call; fail where none of its requests could be refused at all."""
    tried = {name: refuse_all(name, call) for name, call in calls()}
    assert sum(tried.values()) > len(tried), tried
    sys.stdout.write(f"{len(tried)} {sum(tried.values())}\n")


if __name__ == "__main__":
    main()
