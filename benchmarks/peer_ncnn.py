"""ncnn as an engine: a net of one layer, weights packed when the net is loaded.

It is fed NCHW.  A batch goes in as one Mat with a batch axis, and the results come out as fresh
Mats.  The half-precision and bfloat16 storage that it would choose is switched off.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from benchmarks.peers import Call, Task, Unsupported
from benchmarks.problems import Array, Problem, channels_first


class Engine:
    """One net per task."""

    version = ncnn.__version__

    def prepare(self, task: Task, problem: Problem) -> Call:
        layer = task.layer
        if task.reuse:
            raise Unsupported("measured with fresh outputs only")
        if task.dtype != "float32":
            raise Unsupported("no float64")
        if task.pass_name not in ("forward", "packed"):
            raise Unsupported("no gradients")
        net = _load(task, problem)
        if layer.op == "dense":
            fed = problem.x.reshape(layer.n, -1)
            mat = ncnn.Mat(fed)
        else:
            fed = channels_first(problem.x)
            mat = ncnn.Mat(fed, 0)

        def run(_owner: Array = fed) -> Any:  # the Mat does not own its data
            extractor = net.create_extractor()
            extractor.input("x", mat)
            status, y = extractor.extract("y")
            if status != 0:
                raise RuntimeError(f"ncnn returned status {status}")
            return y

        def unpack(y: Any) -> dict[str, Array]:
            if layer.op == "dense":
                return {"y": np.array(y).reshape(layer.y_shape)}
            images = np.stack([np.array(y.batch(i)) for i in range(y.n)])
            images = images.reshape(layer.n, layer.c_out, *layer.output_size)
            return {"y": images.transpose(0, 2, 3, 1)}

        return Call(run, unpack)


def _load(task: Task, problem: Problem) -> Any:
    kind, words, weights = _description(task, problem)
    net = ncnn.Net()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = task.threads
    values = " ".join(f"{key}={value}" for key, value in words.items())
    param = f"7767517\n2 2\nInput x 0 1 x\n{kind} layer 1 1 x y {values}\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layer.bin")
        path.write_bytes(weights)
        if net.load_param_mem(param) != 0 or net.load_model(str(path)) != 0:
            raise Unsupported(f"the layer does not load: {kind} {values}")
    return net


def _description(task: Task, problem: Problem) -> tuple[str, dict[int, int], bytes]:
    """The layer's type, its numbered parameters and its weights, in ncnn's file format."""
    layer = task.layer
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel, layer.strides, layer.padding
    if layer.is_pool:
        words = {0: 0 if layer.is_max else 1}
        if layer.is_global:
            return "Pooling", words | {4: 1}, b""
        return "Pooling", words | {1: kw, 11: kh, 2: sw, 12: sh, 3: pw, 13: ph, 5: 1}, b""
    bias, size = problem.bias.tobytes(), problem.kernel.size
    flag = struct.pack("<I", 0)
    if layer.op == "dense":
        matrix = problem.kernel[0, 0].T.tobytes()
        return "InnerProduct", {0: layer.c_out, 1: 1, 2: size}, flag + matrix + bias
    words = {
        0: layer.c_out, 1: kw, 11: kh, 2: layer.dilation[1], 12: layer.dilation[0], 3: sw, 13: sh,
        4: pw, 14: ph, 5: 1, 6: size,
    }  # fmt: skip
    kernel = problem.kernel.transpose(3, 2, 0, 1).tobytes()
    if layer.groups > 1:
        return "ConvolutionDepthWise", words | {7: layer.groups}, flag + kernel + bias
    return "Convolution", words, flag + kernel + bias
