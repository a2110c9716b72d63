"""OpenVINO as an engine: a graph of one operator, weights packed when it is compiled.

Fed channels_last, the graph holds a transpose on each side, which its compiler folds into the
layouts of the operator.  The result is written straight into a fresh NumPy array that is bound
as the output: the quickest way there to a result that outlives the next call.  float32 is asked
for by name, since on a CPU with AMX it would compute in bfloat16.  Held to AVX2 its dense layers
take AVX-512 all the same, and have no part: 195 GFLOP/s on a Zen 5, where AVX2's peak is 131.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from benchmarks.peer_onnxruntime import output_padding
from benchmarks.peers import CHANNELS_LAST, Call, Task, Unsupported
from benchmarks.problems import Array, Problem, aligned, channels_first

logging.getLogger("openvino").setLevel(logging.ERROR)


class Engine:
    """One compiled graph per task."""

    version = openvino.__version__.split("-")[0]

    def __init__(self) -> None:
        self._core = openvino.Core()

    def prepare(self, task: Task, problem: Problem) -> Call:
        layer = task.layer
        backward = task.pass_name == "dx" and layer.op == "conv2d"
        if task.reuse:
            raise Unsupported("measured with fresh outputs only")
        if task.dtype != "float32":
            raise Unsupported("float64 graphs are computed in float32")
        if task.pass_name not in ("forward", "packed") and not backward:
            raise Unsupported("no such gradient")
        last, dense = task.data_format == CHANNELS_LAST, layer.op == "dense"
        if dense and "ONEDNN_MAX_CPU_ISA" in os.environ:
            raise Unsupported("dense layers cannot be held to avx2")
        source = problem.dy if backward else problem.x
        fed = source.reshape(layer.n, -1) if dense else source
        if not dense and not last:
            fed = channels_first(source)
        run = self._compile(_graph(task, problem, fed.shape), task.threads, fed)

        def unpack(y: Array) -> dict[str, Array]:
            y = y.reshape(layer.y_shape) if dense else y if last else y.transpose(0, 2, 3, 1)
            return {"dx" if backward else "y": y}

        return Call(run, unpack)

    def _compile(self, model: Any, threads: int, fed: Array) -> Any:
        settings = {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        compiled = self._core.compile_model(model, "CPU", settings)
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(fed, shared_memory=True))
        shape = tuple(compiled.output(0).shape)

        def run() -> Array:
            y = np.empty(shape, fed.dtype)
            request.set_output_tensor(openvino.Tensor(y, shared_memory=True))
            request.infer()
            return y

        return run


def _graph(task: Task, problem: Problem, shape: tuple[int, ...]) -> Any:
    parameter = ops.parameter(list(shape), np.float32)
    transposed = task.data_format == CHANNELS_LAST and task.layer.op != "dense"
    node = ops.transpose(parameter, [0, 3, 1, 2]) if transposed else parameter
    node = _operator(task, problem, node)
    node = ops.transpose(node, [0, 2, 3, 1]) if transposed else node
    return openvino.Model([ops.result(node)], [parameter])


def _operator(task: Task, problem: Problem, x: Any) -> Any:
    layer = task.layer
    strides, pads, dilation = list(layer.strides), list(layer.padding), list(layer.dilation)
    if layer.op == "dense":
        product = ops.matmul(x, ops.constant(problem.kernel[0, 0]), False, False)
        return ops.add(product, ops.constant(problem.bias[None]))
    if layer.is_global:
        return (ops.reduce_max if layer.is_max else ops.reduce_mean)(x, [2, 3], keep_dims=True)
    if layer.op == "max_pool2d":
        return ops.max_pool(x, strides, dilation, pads, pads, list(layer.kernel)).output(0)
    if layer.op == "avg_pool2d":
        return ops.avg_pool(x, strides, pads, pads, list(layer.kernel), exclude_pad=True)
    weights = aligned(problem.kernel.transpose(3, 2, 0, 1))
    if layer.groups > 1:
        weights = weights.reshape(layer.groups, -1, *weights.shape[1:])
    words = (ops.constant(weights), strides, pads, pads, dilation)
    if task.pass_name == "dx":
        transpose = (
            ops.group_convolution_backprop_data if layer.groups > 1
            else ops.convolution_backprop_data
        )  # fmt: skip
        return transpose(
            x, words[0], strides, pads_begin=pads, pads_end=pads, dilations=dilation,
            output_padding=output_padding(task),
        )  # fmt: skip
    convolve = ops.group_convolution if layer.groups > 1 else ops.convolution
    return ops.add(convolve(x, *words), ops.constant(problem.bias[None, :, None, None]))
