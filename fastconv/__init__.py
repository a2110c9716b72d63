"""Convolutional networks for NumPy: convolution and pooling in C for the CPU at hand.

``fastconv.functional`` has the functions, ``fastconv.layers`` and ``fastconv.models`` a network in
Keras's words, ``fastconv.datasets`` images to train it on. Each is imported when first used.
"""

from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

try:
    from fastconv._fastconv_core import (
        __version__,
        get_flush_denormals,
        get_num_threads,
        get_output_pool,
        set_flush_denormals,
        set_num_threads,
        set_output_pool,
        threads,
    )
except ModuleNotFoundError as error:
    if error.name != "fastconv._fastconv_core":
        raise
    raise ImportError(
        "fastconv is imported from a source tree that is not compiled; run `pip install .` there "
        "and import it from another folder, or install it for development with `pip install -e .`"
    ) from error
from fastconv._config import register_threadpoolctl, show_config

_SUBMODULES = (
    "activations",
    "callbacks",
    "datasets",
    "functional",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "plots",
)

__all__ = [
    "__version__",
    "get_flush_denormals",
    "get_num_threads",
    "get_output_pool",
    "set_flush_denormals",
    "set_num_threads",
    "set_output_pool",
    "show_config",
    "threads",
]

register_threadpoolctl()


def __getattr__(name: str) -> _ModuleType:
    """Import a submodule when it is first asked for: the core alone is there in milliseconds."""
    if name in _SUBMODULES:
        return _import_module(f"fastconv.{name}")
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBMODULES])
