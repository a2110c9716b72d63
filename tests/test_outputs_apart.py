"""Outputs that lie apart: what another thread writes between them is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
from closeness import assert_same_bits
from fastconv import functional

Array = npt.NDArray[Any]


def writing_calls() -> dict[str, Callable[..., Array]]:
    """Calls that take `out`, in both layouts, by every way that outputs leave the kernels."""
    rng = np.random.default_rng(0)
    x, kernel = rng.random((2, 16, 40, 40), np.float32), rng.random((3, 3, 16, 32), np.float32)
    calls: dict[str, Callable[..., Array]] = {}
    for layout, images in (("channels_first", x), ("channels_last", x.transpose(0, 2, 3, 1))):
        same: Any = {"padding": "same", "data_format": layout}
        pooled: Any = {"data_format": layout}
        for algorithm in ("direct", "winograd"):
            calls[f"{algorithm} {layout}"] = partial(
                functional.conv2d, images, kernel, algorithm=algorithm, **same
            )
        calls |= {
            f"1x1 {layout}": partial(functional.conv2d, images, kernel[:1, :1], **same),
            f"depthwise {layout}": partial(
                functional.conv2d, images, kernel[:, :, :1, :16], groups=16, **same
            ),
            f"transpose {layout}": partial(
                functional.conv2d_transpose,
                images,
                kernel.transpose(0, 1, 3, 2)[:, :, :8],
                strides=2,
                **same,
            ),
            f"max {layout}": partial(functional.max_pool2d, images, **pooled),
            f"avg {layout}": partial(functional.avg_pool2d, images, **pooled),
        }
    return calls


CALLS = writing_calls()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_lies_between_outputs_is_left_alone(call: Callable[..., Array]) -> None:
    """What another thread writes between the numbers of `out`, meanwhile, is not lost."""
    expected = call()
    both = np.zeros((*expected.shape, 2), np.float32).reshape(*expected.shape[:-1], -1)
    out, between = both[..., ::2], both[..., 1::2]
    done, lost = threading.Event(), []

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            between[...] = number
            if (between != number).any():
                lost.append(number)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    with fastconv.threads(1):
        for _ in range(200):
            call(out=out)
    done.set()
    writer.join()
    assert not lost
    assert_same_bits(out, expected, "y")
