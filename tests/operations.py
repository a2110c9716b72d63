"""Every function of the functional face as a call on small arrays, for tests that go through all.

An ``Operation`` keeps what is passed by name: the arrays apart from the other words, so that a test
can put another array in the place of one, or another word in the place of another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import functional

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Operation:
    """One call: the function's name, its array arguments and its other arguments."""

    name: str
    arrays: dict[str, Array]
    words: dict[str, Any] = field(default_factory=dict)
    takes_out: bool = False

    def call(self, **changed: Any) -> Any:
        """Call the function with some of its arguments changed, or added."""
        return getattr(functional, self.name)(**{**self.arrays, **self.words, **changed})

    def results(self, **changed: Any) -> dict[str, Array]:
        """Call the function and return the arrays it returns, by name."""
        result = self.call(**changed)
        if hasattr(result, "_asdict"):
            return dict(result._asdict())
        if isinstance(result, tuple):
            return {"y": result[0], "indices": result[1]}
        return {"dx" if "backward" in self.name else "y": result}


def convolutions(rng: np.random.Generator, dtype: str) -> list[Operation]:
    """Return the calls that have a kernel; each odd size keeps a vector tail in play."""

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    kernel = normal(3, 3, 5, 19)
    up = {"strides": 2, "padding": "same"}
    fused = {"x": normal(2, 6, 7, 5), "kernel": kernel, "bias": normal(19)}
    fused["residual"] = normal(2, 6, 7, 19)
    grads = {"dy": normal(2, 6, 7, 19), "x": fused["x"], "kernel": kernel}
    stamped = {"x": normal(2, 3, 4, 19), "kernel": kernel, "bias": normal(5)}
    stamped_grads = {"dy": normal(2, 6, 8, 5), "x": stamped["x"], "kernel": kernel}
    rows = {"x": normal(6, 35), "kernel": normal(35, 17), "bias": normal(17)}
    row_grads = {"dy": normal(6, 17), "x": rows["x"], "kernel": rows["kernel"]}
    return [
        Operation("conv2d", fused, {"padding": 1, "activation": "relu"}, takes_out=True),
        Operation("conv2d_backward", grads, {"padding": 1}),
        Operation("conv2d_transpose", stamped, up, takes_out=True),
        Operation("conv2d_transpose_backward", stamped_grads, up),
        Operation("dense", rows, {"activation": "relu"}, takes_out=True),
        Operation("dense_backward", row_grads),
    ]


def poolings(rng: np.random.Generator, dtype: str) -> list[Operation]:
    """Return the calls of every pooling."""

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    x, dy = normal(2, 6, 7, 19), normal(2, 3, 4, 19)
    words = {"pool_size": 3, "strides": 2, "padding": 1}
    grown: dict[str, Any] = {**words, "input_shape": x.shape}
    plain: dict[str, Any] = {"input_shape": x.shape}
    listed = {**words, "return_indices": True}
    return [
        Operation("max_pool2d", {"x": x}, listed, takes_out=True),
        Operation("min_pool2d", {"x": x}, listed, takes_out=True),
        Operation("avg_pool2d", {"x": x}, words, takes_out=True),
        Operation("max_pool2d_backward", {"dy": dy, "x": x}, words),
        Operation("min_pool2d_backward", {"dy": dy, "x": x}, words),
        Operation("avg_pool2d_backward", {"dy": dy}, grown),
        Operation("global_max_pool2d", {"x": x}, {"return_indices": True}),
        Operation("global_avg_pool2d", {"x": x}),
        Operation("global_max_pool2d_backward", {"dy": normal(2, 19), "x": x}),
        Operation("global_avg_pool2d_backward", {"dy": normal(2, 19)}, plain),
    ]


def elementwise(rng: np.random.Generator, dtype: str) -> list[Operation]:
    """Return the calls of the elementwise functions."""
    x = rng.uniform(0.1, 3, (5, 37)).astype(dtype)
    names = ("exp", "log", "tanh", "sigmoid", "softmax")
    gate = Operation("activation_backward", {"dy": x - 1, "y": 5 * x - 5}, {"activation": "relu6"})
    return [*(Operation(name, {"x": x}) for name in names), gate]


def make_operations(dtype: str = "float32", seed: int = 0) -> dict[str, Operation]:
    """Return one small call of each function, by name."""
    rng = np.random.default_rng(seed)
    every = convolutions(rng, dtype) + poolings(rng, dtype) + elementwise(rng, dtype)
    return {operation.name: operation for operation in every}


NAMES = tuple(make_operations())
TAKE_OUT = tuple(name for name, operation in make_operations().items() if operation.takes_out)
