"""ONNX Runtime as an engine: a model of one operator, weights packed when the session is made.

It is fed NCHW.  `session.run` returns fresh arrays from its own arena.  The input gradient is a
ConvTranspose, which has the same sum; there is no other gradient for inference models.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnxruntime
from onnx import helper, numpy_helper

from benchmarks.peers import Call, Task, Unsupported
from benchmarks.problems import Array, Problem, aligned, channels_first

_TYPES = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE}
_OPS = {
    "conv2d": "Conv", "dense": "Gemm", "max_pool2d": "MaxPool", "avg_pool2d": "AveragePool",
    "global_max_pool2d": "GlobalMaxPool", "global_avg_pool2d": "GlobalAveragePool",
}  # fmt: skip


class Engine:
    """One session per task."""

    version = onnxruntime.__version__

    def prepare(self, task: Task, problem: Problem) -> Call:
        layer = task.layer
        backward = task.pass_name == "dx" and layer.op == "conv2d"
        if task.reuse:
            raise Unsupported("measured with fresh outputs only")
        if task.pass_name not in ("forward", "packed") and not backward:
            raise Unsupported("no such gradient")
        source = problem.dy if backward else problem.x
        dense = layer.op == "dense"
        fed = source.reshape(layer.n, -1) if dense else channels_first(source)
        session = _session(_model(task, problem, fed), task.threads)
        feeds = {"x": fed}

        def unpack(outputs: list[Array]) -> dict[str, Array]:
            y = outputs[0]
            y = y.reshape(layer.y_shape) if dense else y.transpose(0, 2, 3, 1)
            return {"dx" if backward else "y": y}

        return Call(lambda: session.run(None, feeds), unpack)


def _attributes(task: Task) -> dict[str, Any]:
    layer = task.layer
    if layer.is_global or layer.op == "dense":
        return {}
    words: dict[str, Any] = {
        "kernel_shape": layer.kernel, "strides": layer.strides, "pads": [*layer.padding] * 2,
    }  # fmt: skip
    if layer.is_pool:
        return words
    words |= {"dilations": layer.dilation, "group": layer.groups}
    if task.pass_name == "dx":
        words["output_padding"] = output_padding(task)
    return words


def output_padding(task: Task) -> list[int]:
    """Rows and columns at the end of x that no output of the strided layer reads."""
    layer = task.layer
    return [
        (size + 2 * p - ((k - 1) * d + 1)) % s
        for size, k, s, p, d in zip(
            (layer.h, layer.w), layer.kernel, layer.strides, layer.padding, layer.dilation,
            strict=True,
        )
    ]  # fmt: skip


def _model(task: Task, problem: Problem, fed: Array) -> bytes:
    layer, kind = task.layer, _TYPES[task.dtype]
    op = "ConvTranspose" if task.pass_name == "dx" else _OPS[layer.op]
    weights = {}
    if layer.op == "dense":
        weights = {"kernel": problem.kernel[0, 0], "bias": problem.bias}
    elif not layer.is_pool:
        weights = {"kernel": problem.kernel.transpose(3, 2, 0, 1), "bias": problem.bias}
    if task.pass_name == "dx":
        del weights["bias"]
    node = helper.make_node(op, ["x", *weights], ["y"], **_attributes(task))
    graph = helper.make_graph(
        [node], "layer",
        [helper.make_tensor_value_info("x", kind, fed.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(aligned(a), name) for name, a in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    except Exception as error:  # its exception types are private
        if "NOT_IMPLEMENTED" not in str(error):
            raise
        raise Unsupported("operator not implemented for this type") from error
