"""Weights and words in safetensors files: written whole or not at all, read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from fastconv import _extras
from fastconv._checks import Array

ARCHITECTURE = "fastconv.architecture"
"""The name of the model's architecture among a file's metadata."""


def write(
    path: str | os.PathLike[str],
    weights: Mapping[str, Array],
    words: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays and, as metadata, named words.

    The file appears under its name only when it is complete.
    """
    safetensors = _extras.require("safetensors.numpy", "writing weights")
    target = Path(path)
    data: bytes = safetensors.save(dict(weights), dict(words) if words else None)
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str], wanted: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file that holds exactly the names, shapes and dtypes of `wanted`.

    Raises
    ------
    ValueError
        The file is no safetensors file, or names, a shape or a dtype differ.
    FileNotFoundError
        There is no such file.
    """
    source = Path(path)
    found = _tensors(source, source.read_bytes())
    missing, foreign = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or foreign:
        raise ValueError(
            f"{source} does not hold the weights of this model: it lacks {missing or 'none'} "
            f"and has {foreign or 'none'} that the model has not"
        )
    for name, weight in wanted.items():
        given = found[name]
        if given.shape != weight.shape or given.dtype != weight.dtype:
            raise ValueError(
                f"{source} holds {name} as {given.dtype} of shape {given.shape}, where the model "
                f"has {weight.dtype} of shape {weight.shape}"
            )
    return {name: found[name] for name in wanted}


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the named words of a file.

    Raises
    ------
    ValueError
        The file is no safetensors file.
    FileNotFoundError
        There is no such file.
    """
    source = Path(path)
    data = source.read_bytes()
    _tensors(
        source, data
    )  # which also checks the header: its length, its JSON, that words are words
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    return found


def _tensors(source: Path, data: bytes) -> dict[str, Array]:
    """Return the arrays in a file's bytes."""
    safetensors = _extras.require("safetensors.numpy", "reading weights")
    try:
        found: dict[str, Array] = safetensors.load(data)
    except Exception as error:  # its own error class, or KeyError for a dtype that NumPy lacks
        raise ValueError(f"{source} is not a safetensors file that can be read: {error}") from error
    return found
