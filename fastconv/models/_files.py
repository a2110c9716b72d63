"""Weights and words in safetensors files: written whole or not at all, read strictly."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastconv import _checks, _extras
from fastconv._checks import Array
from fastconv.models import _safetensors

ARCHITECTURE = "fastconv.architecture"
"""The name of the model's architecture among a file's metadata."""


def write(
    path: str | os.PathLike[str],
    weights: Mapping[str, Array],
    words: Mapping[str, str] | None = None,
) -> None:
    """Write named arrays and, as metadata, named words.

    The file appears under its name only when it is complete. Where there is one, it is the one that
    a link leads to which is replaced, and its permissions stay.

    Raises
    ------
    ValueError
        The name is that of something else than a file.
    """
    safetensors = _extras.require("safetensors.numpy", "writing weights")
    target = Path(os.path.realpath(_checks.path("the file", path)))
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is there and is no file, so it cannot be replaced by one")
    # safetensors writes an array's memory as it lies: a transposed one would come back jumbled.
    rows = {name: np.asarray(weight, order="C") for name, weight in weights.items()}
    data: bytes = safetensors.save(rows, dict(words) if words else None)
    temporary = target.with_name(f".{os.urandom(16).hex()}")  # short: a name may have 255 bytes
    try:
        with temporary.open("xb") as file:
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str], wanted: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of a file that holds exactly the names, shapes and dtypes of `wanted`.

    The header is compared with them before memory is taken for any array.

    Raises
    ------
    ValueError
        The file is no safetensors file, or names, a shape or a dtype differ.
    FileNotFoundError
        There is no such file.
    """
    source = _checks.path("the file", path)
    with source.open("rb") as file:
        header = _header(source, file)
        found = header.tensors
        missing, foreign = (
            sorted(wanted.keys() - found.keys()),
            sorted(found.keys() - wanted.keys()),
        )
        if missing or foreign:
            raise ValueError(
                f"{source} does not hold the weights of this model: it lacks {missing or 'none'} "
                f"and has {foreign or 'none'} that the model has not"
            )
        for name, weight in wanted.items():
            given = found[name]
            if given.shape != weight.shape or given.dtype != weight.dtype.name:
                raise ValueError(
                    f"{source} holds {name} as {given.dtype} of shape {given.shape}, where the "
                    f"model has {weight.dtype} of shape {weight.shape}"
                )
        return {name: _array(source, file, header, name) for name in wanted}


def metadata(path: str | os.PathLike[str]) -> tuple[dict[str, str], int]:
    """Return the named words of a file, and how many elements its arrays have together.

    Raises
    ------
    ValueError
        The file is no safetensors file.
    FileNotFoundError
        There is no such file.
    """
    source = _checks.path("the file", path)
    with source.open("rb") as file:
        header = _header(source, file)
    return header.words, sum(math.prod(tensor.shape) for tensor in header.tensors.values())


def _header(source: Path, file: BinaryIO) -> _safetensors.Header:
    """Return the header of an open file."""
    try:
        return _safetensors.read_header(file, os.fstat(file.fileno()).st_size)
    except ValueError as error:  # that of JSON and that of UTF-8 among them
        raise ValueError(f"{source} is not a safetensors file that can be read: {error}") from error


def _array(source: Path, file: BinaryIO, header: _safetensors.Header, name: str) -> Array:
    """Return one array of float32 or float64."""
    tensor = header.tensors[name]
    little = np.dtype(tensor.dtype).newbyteorder("<")
    values: Array = np.empty(tensor.shape, little)
    file.seek(header.start + tensor.begin)
    if file.readinto(values.reshape(-1).view(np.uint8)) < values.nbytes:  # type: ignore[attr-defined]
        raise ValueError(f"{source} has become shorter while {name} was read")
    return values.astype(tensor.dtype, copy=False)
