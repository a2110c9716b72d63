"""The optional packages, and the sentence for one that is not installed."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, purpose: str) -> Any:
    """Import and return `module`, an optional dependency.

    Parameters
    ----------
    module
        Dotted name, such as ``"matplotlib.figure"``.
    purpose
        What cannot be done without it, as the subject of the error's sentence.

    Raises
    ------
    ImportError
        It is not installed; the message says which command installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise  # installed, but something that it needs itself is not: its own message says more
        named = {"sklearn": "scikit-learn"}.get(package, package)
        raise ImportError(
            f"{purpose} needs {named}, which is not installed: pip install 'fastconv[demo]'"
        ) from error
