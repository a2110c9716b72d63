"""The IDX format: a header of big-endian sizes, then bytes; as it is or compressed by gzip.

The four bytes at the beginning are 0, 0, 8 for unsigned bytes, and the number of axes; then comes
each axis's size in four bytes, then the data (LeCun, Cortes and Burges, "The MNIST database").
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 20
_EXPANSION = 1032
"""Deflate makes no byte into more than 1032 (zlib's technical notes)."""


def read(path: Path, sizes: tuple[int | None, ...]) -> npt.NDArray[np.uint8]:
    """Return the array of a file that must have these sizes, None being any number from 1.

    Every length is compared with what the file can hold before memory is taken for it.

    Raises
    ------
    ValueError
        The file is truncated, too long, corrupt or not what it should be; the message names it,
        with what was expected and what was found.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        length = os.fstat(file.fileno()).st_size
        if not compressed:
            return _read(file, path, sizes, length)
        try:
            with gzip.GzipFile(fileobj=file) as opened:
                return _read(opened, path, sizes, length * _EXPANSION)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is truncated or corrupt: {error}") from error


def _read(
    file: IO[bytes] | gzip.GzipFile, path: Path, sizes: tuple[int | None, ...], most: int
) -> npt.NDArray[np.uint8]:
    """Read header and data; `most` is the greatest length that the whole can have."""
    header = file.read(4 + 4 * len(sizes))
    shape = _shape(header, path, sizes)
    length = math.prod(shape)
    if len(header) + length > most:
        raise ValueError(
            f"{path} is truncated: its header tells of {length:,} bytes of shape {shape}, where "
            f"the file can hold {max(most - len(header), 0):,}"
        )
    data = bytearray()
    while len(data) <= length and (block := file.read(min(_BLOCK, length + 1 - len(data)))):
        data += block
    if len(data) != length:
        found = f"only {len(data):,}" if len(data) < length else "more"
        raise ValueError(
            f"{path} must hold {length:,} bytes of data, since its header tells of shape {shape}; "
            f"found {found}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(header: bytes, path: Path, sizes: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return the sizes in the header, if they are those expected."""
    magic = bytes((0, 0, 8, len(sizes)))
    expected = f"an IDX file of bytes with sizes {_words(sizes)}"
    if len(header) < 4 + 4 * len(sizes):
        raise ValueError(
            f"{path} must be {expected}, found only {len(header)} bytes where the header takes "
            f"{4 + 4 * len(sizes)}"
        )
    if header[:4] != magic:
        raise ValueError(
            f"{path} must be {expected}, which begins with {magic.hex()}, found {header[:4].hex()}"
        )
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    if any(
        found != size if size is not None else found == 0
        for found, size in zip(shape, sizes, strict=True)
    ):
        raise ValueError(f"{path} must be {expected}, found {_words(shape)}")
    return shape


def _words(sizes: tuple[int | None, ...]) -> str:
    return " x ".join("n" if size is None else f"{size}" for size in sizes)
