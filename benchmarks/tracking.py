"""What the `test_bench_*.py` files share: fastconv's checked call for a layer, on one thread.

They track fastconv's own speed from one commit to the next:

    pytest benchmarks --benchmark-autosave
    pytest benchmarks --benchmark-compare --benchmark-compare-fail=min:10%

Look at the least times: the machine's other tenants change the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.peer_fastconv import Engine
from benchmarks.peers import CHANNELS_LAST, Task
from benchmarks.problems import Problem, check, make_problem
from benchmarks.shapes import LAYERS, Layer

Benchmark = Callable[[Callable[[], Any]], Any]


@functools.lru_cache(maxsize=1)
def _problem(layer: Layer) -> Problem:
    return make_problem(layer, "float32")


def layers(*ops: str) -> pytest.MarkDecorator:
    """Parametrize a test by every pass of every layer of these operations."""
    cases = [(layer, name) for layer in LAYERS if layer.op in ops for name in layer.passes]
    ids = [f"{layer.name}-{name}" for layer, name in cases]
    return pytest.mark.parametrize(("layer", "pass_name"), cases, ids=ids)


def track(benchmark: Any, layer: Layer, pass_name: str) -> None:
    """Check a few values of the answer, then time the call."""
    task = Task(layer, pass_name, "float32", CHANNELS_LAST, threads=1)
    problem = _problem(layer)
    call = Engine().prepare(task, problem)
    check(problem, task.dtype, call.unpack(call.run()))
    benchmark.extra_info |= {"shape": layer.shape, "flops": layer.flops}
    benchmark(call.run)
