"""What every engine offers: one small interface, and the list of the engines.

An engine turns a task (a layer, a pass, a layout, a number of threads) into a call without
arguments that computes it once, into freshly allocated outputs as a user's call would.  Each
engine has a file `peer_<name>.py` with a class `Engine`, imported only in the worker process
that drives it, so that no two frameworks share a process, its allocator or its threads.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from benchmarks.problems import Array, Problem
from benchmarks.shapes import Layer

CHANNELS_LAST, CHANNELS_FIRST = "channels_last", "channels_first"


class Unsupported(Exception):
    """The engine has no such operation; the message says what it lacks."""


@dataclass(frozen=True)
class Task:
    """What to compute: a pass of a layer, and how the engine is fed.

    `reuse` asks for the result in an array given beforehand (`out=`), the only other way that
    fastconv has; every other task allocates its outputs in the call.  `algorithm` is fastconv's.
    `denormal` asks for an x and a dy of which every number is below the smallest normal one.
    """

    layer: Layer
    pass_name: str
    dtype: str
    data_format: str
    threads: int
    reuse: bool = False
    algorithm: str = "auto"
    denormal: bool = False


class Call(NamedTuple):
    """`run` computes once; `unpack` makes channels_last arrays, by name, of what it returned."""

    run: Callable[[], Any]
    unpack: Callable[[Any], dict[str, Array]]


class Engine(Protocol):
    """The interface of the class of the same name in each `peer_<name>.py`."""

    version: str

    def prepare(self, task: Task, problem: Problem) -> Call:
        """The call that does `task`; Unsupported if there is none."""


class Peer(NamedTuple):
    """An engine as the report knows it.

    `prepacks`: the weights are laid out before the clock starts, whatever the pass.
    `isa_limit`: the variables that hold it to AVX2, None where it cannot be held.
    `programs`: it takes part in the training steps and small calls.
    """

    title: str
    module: str
    formats: tuple[str, ...]
    prepacks: bool
    isa_limit: dict[str, str] | None
    programs: bool = False


_BOTH = (CHANNELS_LAST, CHANNELS_FIRST)

PEERS = {
    "fastconv": Peer("fastconv", "fastconv", _BOTH, False, {"FASTCONV_ISA": "avx2"}, True),
    "torch": Peer(
        "PyTorch", "torch", _BOTH, False,
        {
            "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        },
        True,
    ),
    "onnxruntime": Peer("ONNX Runtime", "onnxruntime", (CHANNELS_FIRST,), True, None),
    "openvino": Peer("OpenVINO", "openvino", _BOTH, True, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "ncnn": Peer("ncnn", "ncnn", (CHANNELS_FIRST,), True, None),
    "numpy": Peer("NumPy", "numpy", (CHANNELS_LAST,), False, None),
}  # fmt: skip


def installed() -> list[str]:
    """The engines whose package can be imported, fastconv first."""
    return [name for name, peer in PEERS.items() if importlib.util.find_spec(peer.module)]


def load(name: str) -> Engine:
    """Import the engine's package and start it."""
    engine: Engine = importlib.import_module(f"benchmarks.peer_{name}").Engine()
    return engine
