"""fastconv as an engine: its functional face, as a user calls it."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastconv
from benchmarks import program_fastconv
from benchmarks.peers import CHANNELS_FIRST, Call, Task, Unsupported
from benchmarks.problems import Array, Problem, channels_first
from fastconv import _fastconv_core as _core
from fastconv import functional as F


def geometry(task: Task) -> dict[str, Any]:
    """The keyword arguments that say the layer's geometry."""
    layer = task.layer
    if layer.op == "dense":
        return {}
    if layer.is_global:
        return {"data_format": task.data_format}
    words: dict[str, Any] = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation,
        "data_format": task.data_format,
    }
    return words | ({"pool_size": layer.kernel} if layer.is_pool else {"groups": layer.groups})


class Engine:
    """conv2d, dense and pooling of `fastconv.functional`."""

    version = f"{fastconv.__version__} ({_core.build_info()['isa']})"

    def prepare(self, task: Task, problem: Problem) -> Call:
        fastconv.set_num_threads(task.threads)
        if task.reuse and task.pass_name not in ("forward", "packed"):
            raise Unsupported("backward has no out=")
        if task.layer.op == "program":
            return program_fastconv.prepare(task, problem)
        if task.layer.is_pool:
            return self._pool(task, problem)
        return self._dense(task, problem) if task.layer.op == "dense" else self._conv(task, problem)

    def _conv(self, task: Task, problem: Problem) -> Call:
        words = geometry(task) | {"algorithm": task.algorithm}
        x, dy = (fed(a, task) for a in (problem.x, problem.dy))
        kernel, bias = problem.kernel, problem.bias
        if task.pass_name == "dx":
            return Call(
                lambda: F.conv2d_backward(dy, x, kernel, needs=("x",), **words),
                lambda r: {"dx": given(r.dx, task)},
            )
        if task.pass_name == "dkernel":
            return Call(
                lambda: F.conv2d_backward(dy, x, kernel, needs=("kernel", "bias"), **words),
                lambda r: {"dkernel": r.dkernel, "dbias": r.dbias},
            )
        weights: Any = kernel
        if task.pass_name == "packed":
            weights = F.pack_kernel(kernel, input_size=(task.layer.h, task.layer.w), **words)
        if task.reuse:
            words["out"] = np.empty_like(dy)
        return Call(lambda: F.conv2d(x, weights, bias, **words), lambda y: {"y": given(y, task)})

    def _dense(self, task: Task, problem: Problem) -> Call:
        layer = task.layer
        x, dy = problem.x.reshape(layer.n, -1), problem.dy.reshape(layer.n, -1)
        kernel, bias = problem.kernel[0, 0], problem.bias
        if task.pass_name == "dx":
            return Call(
                lambda: F.dense_backward(dy, x, kernel, needs=("x",)),
                lambda r: {"dx": r.dx.reshape(layer.x_shape)},
            )
        if task.pass_name == "dkernel":
            return Call(
                lambda: F.dense_backward(dy, x, kernel, needs=("kernel", "bias")),
                lambda r: {"dkernel": r.dkernel[None, None], "dbias": r.dbias},
            )
        words: dict[str, Any] = {"out": np.empty_like(dy)} if task.reuse else {}
        return Call(
            lambda: F.dense(x, kernel, bias, **words),
            lambda y: {"y": y.reshape(layer.y_shape)},
        )

    def _pool(self, task: Task, problem: Problem) -> Call:
        layer, words = task.layer, geometry(task)
        if layer.is_global:
            if task.reuse:
                raise Unsupported("global pooling has no out=")
            words["keepdims"] = True
        x, dy = (fed(a, task) for a in (problem.x, problem.dy))
        forward = getattr(F, layer.op)
        if task.pass_name == "forward":
            if task.reuse:
                words["out"] = np.empty_like(dy)
            return Call(lambda: forward(x, **words), lambda y: {"y": given(y, task)})
        backward = getattr(F, f"{layer.op}_backward")
        if task.pass_name == "dx_indices":
            words["indices"] = forward(x, return_indices=True, **words)[1]
        source: Any = x if layer.is_max else x.shape
        return Call(lambda: backward(dy, source, **words), lambda dx: {"dx": given(dx, task)})


def fed(array: Array, task: Task) -> Array:
    """The channels_last array in the layout of the task, contiguous."""
    return channels_first(array) if task.data_format == CHANNELS_FIRST else array


def given(array: Array, task: Task) -> Array:
    """The inverse of `fed`, as a view."""
    return array.transpose(0, 2, 3, 1) if task.data_format == CHANNELS_FIRST else array
