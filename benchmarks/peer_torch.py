"""PyTorch as an engine, in both memory formats, through its operators and without autograd.

The backward passes call the operator that autograd would call, so that PyTorch is not charged for
recording a graph.  Its max pooling always has the indices of the forward pass to go by.
"packed" is the convolution with a reordered weight that its compiler's freezing emits; there is
none for float64, whose convolution is then the one with a bare weight.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import program_torch
from benchmarks.peers import CHANNELS_LAST, Call, Task, Unsupported
from benchmarks.problems import Array, Problem, aligned, channels_first

_aten = torch.ops.aten
_MKLDNN = bool(torch._C._has_mkldnn)


class Engine:
    """Operators of `torch.ops.aten` on tensors of the task's memory format."""

    version = torch.__version__

    def __init__(self) -> None:
        self._inference = torch.inference_mode()
        self._inference.__enter__()

    def prepare(self, task: Task, problem: Problem) -> Call:
        torch.set_num_threads(task.threads)
        if task.reuse:
            raise Unsupported("no out= for this operator")
        if task.layer.op == "program":
            return program_torch.prepare(task, problem)
        if task.layer.is_global:
            return _global_pool(task, problem)
        if task.layer.is_pool:
            return _pool(task, problem)
        return _dense(task, problem) if task.layer.op == "dense" else _conv(task, problem)


def _tensor(array: Array, data_format: str) -> torch.Tensor:
    """A logical NCHW tensor of a channels_last array, in the memory format of the task."""
    if data_format == CHANNELS_LAST:
        return torch.from_numpy(array).permute(0, 3, 1, 2)
    return torch.from_numpy(channels_first(array))


def _memory_format(task: Task) -> torch.memory_format:
    last = task.data_format == CHANNELS_LAST
    return torch.channels_last if last else torch.contiguous_format


def _array(tensor: torch.Tensor) -> Array:
    """Channels last, as a view; a result in another layout than its input's counts too."""
    array: Array = tensor.permute(0, 2, 3, 1).numpy()
    return array


def _conv(task: Task, problem: Problem) -> Call:
    layer = task.layer
    x, dy = (_tensor(a, task.data_format) for a in (problem.x, problem.dy))
    weight = torch.from_numpy(aligned(problem.kernel.transpose(3, 2, 0, 1)))
    weight = weight.contiguous(memory_format=_memory_format(task))
    bias = torch.from_numpy(problem.bias)
    words = (list(layer.strides), list(layer.padding), list(layer.dilation))
    if task.pass_name == "packed" and task.dtype == "float32" and _MKLDNN:
        return _packed_conv(task, x, weight, bias)
    if task.pass_name in ("forward", "packed"):
        return Call(
            lambda: F.conv2d(x, weight, bias, *words, layer.groups),
            lambda y: {"y": _array(y)},
        )
    mask = [task.pass_name == "dx", *[task.pass_name == "dkernel"] * 2]

    def backward() -> Any:
        return _aten.convolution_backward(
            dy, x, weight, [layer.c_out], *words, False, [0, 0], layer.groups, mask
        )

    if task.pass_name == "dx":
        return Call(backward, lambda r: {"dx": _array(r[0])})
    return Call(
        backward, lambda r: {"dkernel": r[1].permute(2, 3, 1, 0).numpy(), "dbias": r[2].numpy()}
    )


def _packed_conv(task: Task, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> Call:
    layer = task.layer
    words = (list(layer.padding), list(layer.strides), list(layer.dilation), layer.groups)
    packed = _aten.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *words, list(x.shape))
    convolve = torch.ops.mkldnn._convolution_pointwise
    return Call(
        lambda: convolve(x, packed, bias, *words, "none", [], ""),
        lambda y: {"y": _array(y)},
    )


def _dense(task: Task, problem: Problem) -> Call:
    layer = task.layer
    x, dy = (torch.from_numpy(a.reshape(layer.n, -1)) for a in (problem.x, problem.dy))
    weight = torch.from_numpy(aligned(problem.kernel[0, 0].T))
    bias = torch.from_numpy(problem.bias)
    if task.pass_name == "dx":
        return Call(lambda: dy.mm(weight), lambda r: {"dx": r.numpy().reshape(layer.x_shape)})
    if task.pass_name == "dkernel":
        return Call(
            lambda: (dy.t().mm(x), dy.sum(0)),
            lambda r: {"dkernel": r[0].t()[None, None].numpy(), "dbias": r[1].numpy()},
        )
    return Call(
        lambda: F.linear(x, weight, bias), lambda y: {"y": y.numpy().reshape(layer.y_shape)}
    )


def _pool(task: Task, problem: Problem) -> Call:
    layer = task.layer
    x, dy = (_tensor(a, task.data_format) for a in (problem.x, problem.dy))
    words = (list(layer.kernel), list(layer.strides), list(layer.padding))
    if layer.is_max:
        indices = F.max_pool2d(x, *words, return_indices=True)[1]
        backward = _aten.max_pool2d_with_indices_backward
        calls = (
            lambda: F.max_pool2d(x, *words),
            lambda: backward(dy, x, *words, [1, 1], False, indices),
        )
    else:
        calls = (
            lambda: F.avg_pool2d(x, *words, count_include_pad=False),
            lambda: _aten.avg_pool2d_backward(dy, x, *words, False, False, None),
        )
    name = "y" if task.pass_name == "forward" else "dx"
    return Call(calls[name == "dx"], lambda r: {name: _array(r)})


def _global_pool(task: Task, problem: Problem) -> Call:
    layer = task.layer
    x, dy = (_tensor(a, task.data_format) for a in (problem.x, problem.dy))
    if layer.is_max:
        indices = F.adaptive_max_pool2d(x, 1, return_indices=True)[1]
        calls = (
            lambda: torch.amax(x, (2, 3), keepdim=True),
            lambda: _aten.adaptive_max_pool2d_backward(dy, x, indices),
        )
    else:
        memory_format, scale = _memory_format(task), 1.0 / (layer.h * layer.w)
        calls = (
            lambda: x.mean((2, 3), keepdim=True),
            lambda: (dy * scale).expand(x.shape).contiguous(memory_format=memory_format),
        )
    name = "y" if task.pass_name == "forward" else "dx"
    return Call(calls[name == "dx"], lambda r: {name: _array(r)})
