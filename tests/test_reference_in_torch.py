"""The reference against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

import reference
import strategies
from strategies import Conv2DProblem, PoolProblem, TransposeProblem

Array = npt.NDArray[Any]

TORCH_PADDING_MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "edge": "replicate",
    "wrap": "circular",
}


def load_torch() -> Any:
    """Return PyTorch on one thread: on two, float64 depthwise gradients take 200 times as long."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def to_torch(a: Array, data_format: str = "channels_first") -> Any:
    """Return a float64 NCHW tensor that takes gradients."""
    torch = load_torch()
    a = a if data_format == "channels_first" else np.moveaxis(a, -1, 1)
    return torch.tensor(np.ascontiguousarray(a, np.float64), requires_grad=True)


def from_torch(t: Any, data_format: str) -> Array:
    """Return a tensor's numbers in the data format given."""
    a: Array = t.detach().numpy()
    return a if data_format == "channels_first" else np.moveaxis(a, 1, -1)


def torch_kernel(kernel: Array) -> Any:
    """Return (kh, kw, c_in // groups, c_out) as PyTorch's (c_out, c_in // groups, kh, kw)."""
    return to_torch(np.transpose(kernel, (3, 2, 0, 1)))


@given(problem=strategies.conv2d_problems())
def test_conv2d_agrees_with_torch(problem: Conv2DProblem) -> None:
    """Forward and all gradients, every padding mode, through PyTorch's autograd."""
    torch = load_torch()
    a, fmt = problem.draw_arrays(), problem.data_format
    rows, cols = problem.axes()
    x, kernel, bias = to_torch(a["x"], fmt), torch_kernel(a["kernel"]), to_torch(a["bias"])
    mode = TORCH_PADDING_MODES[problem.padding_mode]
    value = problem.padding_value if mode == "constant" else None
    padded = torch.nn.functional.pad(
        x, (cols.before, cols.after, rows.before, rows.after), mode=mode, value=value
    )
    y = torch.nn.functional.conv2d(
        padded,
        kernel,
        bias,
        reference.as_pair(problem.strides),
        0,
        reference.as_pair(problem.dilation_rate),
        problem.groups,
    )
    y.backward(to_torch(a["dy"], fmt).detach())
    ours = reference.conv2d(a["x"], a["kernel"], a["bias"], **problem.geometry)
    grads = reference.conv2d_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    np.testing.assert_allclose(ours, from_torch(y, fmt), atol=1e-10)
    np.testing.assert_allclose(grads.dx, from_torch(x.grad, fmt), atol=1e-10)
    dkernel = kernel.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(grads.dkernel, dkernel, atol=1e-10)
    np.testing.assert_allclose(grads.dbias, bias.grad.numpy(), atol=1e-10)


@given(problem=strategies.transpose_problems())
def test_conv2d_transpose_agrees_with_torch(problem: TransposeProblem) -> None:
    """PyTorch's own geometry: the same padding on both sides, output_padding or none."""
    torch = load_torch()
    fields = {**problem.__dict__, "padding": (1, 1), "kh": 3, "kw": 4}
    problem = TransposeProblem(**fields)
    a, fmt = problem.draw_arrays(), problem.data_format
    x, kernel, bias = to_torch(a["x"], fmt), torch_kernel(a["kernel"]), to_torch(a["bias"])
    y = torch.nn.functional.conv_transpose2d(
        x,
        kernel,
        bias,
        reference.as_pair(problem.strides),
        1,
        (0, 0) if problem.output_padding is None else problem.output_padding,
        problem.groups,
        reference.as_pair(problem.dilation_rate),
    )
    y.backward(to_torch(a["dy"], fmt).detach())
    ours = reference.conv2d_transpose(a["x"], a["kernel"], a["bias"], **problem.geometry)
    grads = reference.conv2d_transpose_backward(a["dy"], a["x"], a["kernel"], **problem.geometry)
    np.testing.assert_allclose(ours, from_torch(y, fmt), atol=1e-10)
    np.testing.assert_allclose(grads.dx, from_torch(x.grad, fmt), atol=1e-10)
    dkernel = kernel.grad.numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(grads.dkernel, dkernel, atol=1e-10)
    np.testing.assert_allclose(grads.dbias, bias.grad.numpy(), atol=1e-10)


def torch_sized(problem: PoolProblem) -> tuple[PoolProblem, tuple[int, int]]:
    """Return the problem with symmetric padding of at most half a window, PyTorch's limit."""
    limits = [k // 2 for k in reference.as_pair(problem.pool_size)]
    padding = (min(limits[0], 1), min(limits[1], 2))
    fields = {**problem.__dict__, "padding": padding, "h": problem.h + 9, "w": problem.w + 9}
    return PoolProblem(**fields), padding


@given(problem=strategies.pool_problems())
def test_max_pool_agrees_with_torch(problem: PoolProblem) -> None:
    """Values, indices (ties included) and gradients, with dilation and ceil mode."""
    torch = load_torch()
    problem, padding = torch_sized(problem)
    rng, fmt = np.random.default_rng(problem.seed), problem.data_format
    x = strategies.whole_numbers(rng, problem.x_shape, "float64")
    dy = strategies.whole_numbers(rng, problem.y_shape, "float64")
    theirs = to_torch(x, fmt)
    y, indices = torch.nn.functional.max_pool2d(
        theirs,
        problem.pool_size,
        problem.strides,
        padding,
        problem.dilation_rate,
        problem.ceil_mode,
        return_indices=True,
    )
    y.backward(to_torch(dy, fmt).detach())
    ours, places = reference.max_pool2d_with_indices(x, **problem.geometry)
    np.testing.assert_array_equal(ours, from_torch(y, fmt))
    np.testing.assert_array_equal(places, from_torch(indices, fmt))
    dx = reference.max_pool2d_backward(dy, x, **problem.geometry)
    np.testing.assert_array_equal(dx, from_torch(theirs.grad, fmt))


@pytest.mark.parametrize("count_include_pad", [False, True])
@given(problem=strategies.pool_problems())
def test_avg_pool_agrees_with_torch(count_include_pad: bool, problem: PoolProblem) -> None:
    """Values and gradients in both ways of counting and both ways of rounding the size."""
    torch = load_torch()
    problem, padding = torch_sized(PoolProblem(**{**problem.__dict__, "dilation_rate": 1}))
    x, dy = problem.draw_arrays()
    fmt = problem.data_format
    theirs = to_torch(x, fmt)
    y = torch.nn.functional.avg_pool2d(
        theirs, problem.pool_size, problem.strides, padding, problem.ceil_mode, count_include_pad
    )
    y.backward(to_torch(dy, fmt).detach())
    words = {**problem.geometry, "count_include_pad": count_include_pad}
    ours = reference.avg_pool2d(x, **words)
    np.testing.assert_allclose(ours, from_torch(y, fmt), atol=1e-12)
    dx = reference.avg_pool2d_backward(dy, x.shape, **words)
    np.testing.assert_allclose(dx, from_torch(theirs.grad, fmt), atol=1e-12)


@given(problem=strategies.pool_problems())
def test_dilated_average_is_a_quotient_of_convolutions(problem: PoolProblem) -> None:
    """The sum of x over the taps over the sum of ones over the taps, by depthwise conv2d."""
    problem = PoolProblem(**{**problem.__dict__, "ceil_mode": False})
    x, _ = problem.draw_arrays()
    kh, kw = reference.as_pair(problem.pool_size)
    words = {**problem.geometry, "strides": problem.strides or (kh, kw), "groups": problem.c}
    del words["pool_size"], words["ceil_mode"]
    ones = np.ones((kh, kw, 1, problem.c))
    sums = reference.conv2d(x, ones, **words)
    counts = reference.conv2d(np.ones(x.shape), ones, **words)
    quotient = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    np.testing.assert_allclose(reference.avg_pool2d(x, **problem.geometry), quotient, atol=1e-12)
