"""NumPy as an engine: dense layers only, as matrix products of its BLAS."""

from __future__ import annotations

import numpy as np
import threadpoolctl

from benchmarks.peers import Call, Task, Unsupported
from benchmarks.problems import Problem


class Engine:
    """`x @ kernel + bias` and its gradients."""

    version = np.__version__

    def prepare(self, task: Task, problem: Problem) -> Call:
        layer = task.layer
        if layer.op != "dense":
            raise Unsupported("dense layers only")
        if task.reuse:
            raise Unsupported("measured with fresh outputs only")
        threadpoolctl.threadpool_limits(task.threads)
        x, dy = problem.x.reshape(layer.n, -1), problem.dy.reshape(layer.n, -1)
        kernel, bias = problem.kernel[0, 0], problem.bias
        if task.pass_name == "dx":
            return Call(lambda: dy @ kernel.T, lambda dx: {"dx": dx.reshape(layer.x_shape)})
        if task.pass_name == "dkernel":
            return Call(
                lambda: (x.T @ dy, dy.sum(0)),
                lambda r: {"dkernel": r[0][None, None], "dbias": r[1]},
            )
        return Call(lambda: x @ kernel + bias, lambda y: {"y": y.reshape(layer.y_shape)})
