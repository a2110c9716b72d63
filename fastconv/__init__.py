"""Convolutional networks for NumPy: convolution and pooling in C for the CPU at hand.

``fastconv.functional`` has the functions, ``fastconv.layers`` and ``fastconv.models`` a network in
Keras's words, ``fastconv.datasets`` images to train it on.
"""
try:
    from fastconv._core import (
        __version__,
        get_flush_denormals,
        get_num_threads,
        set_flush_denormals,
        set_num_threads,
        threads,
    )
except ModuleNotFoundError as error:
    if error.name != "fastconv._core":
        raise
    raise ImportError(
        "fastconv is imported from a source tree that is not compiled; run `pip install .` there "
        "and import it from another folder, or install it for development with `pip install -e .`"
    ) from error
from fastconv._config import register_threadpoolctl, show_config
from fastconv.models import Sequential

__all__ = [
    "Sequential",
    "__version__",
    "get_flush_denormals",
    "get_num_threads",
    "set_flush_denormals",
    "set_num_threads",
    "show_config",
    "threads",
]

register_threadpoolctl()
