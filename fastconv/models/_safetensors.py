"""The header of a safetensors file, read without trust: every length is checked before it is used.

Eight bytes hold the header's length, little-endian; the header is JSON that gives each tensor's
dtype, shape and place among the data behind it, and words under ``__metadata__``. The data must be
covered by the tensors without a gap or an overlap (huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
from typing import IO, Any, NamedTuple

LONGEST = 100_000_000
"""The longest header that the format allows."""

_BITS = {
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
}
DTYPES = {"F32": "float32", "F64": "float64"}
"""The dtypes that weights have, by their word in the file."""


class Tensor(NamedTuple):
    """One entry: its dtype as fastconv or else the file calls it, and where its bytes are."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """All entries in the order of their bytes, the named words, and where the data begin."""

    tensors: dict[str, Tensor]
    words: dict[str, str]
    start: int


def read_header(file: IO[bytes], size: int) -> Header:
    """Return the header of a file of so many bytes.

    Raises
    ------
    ValueError
        It is none; the message says what was expected, and which tensor it is about.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, LONGEST):
        raise ValueError(f"a header of {length:,} bytes does not fit its {size:,}")
    text = file.read(length)
    if len(text) < length or not text.startswith(b"{"):
        raise ValueError("its header is not a JSON object")
    try:
        entries = json.loads(text.decode(), object_pairs_hook=_without_doubles)
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    words = _words(entries.pop("__metadata__", None))
    found = {name: _tensor(name, entry) for name, entry in entries.items()}
    tensors = dict(sorted(found.items(), key=lambda item: item[1][2:]))
    reached = 0
    for name, tensor in tensors.items():
        if tensor.begin != reached:
            raise ValueError(f"{name} must begin at byte {reached} of the data, not {tensor.begin}")
        reached = tensor.end
    if reached != size - 8 - length:
        raise ValueError(f"its tensors take {reached:,} bytes of the {size - 8 - length:,} it has")
    return Header(tensors, words, 8 + length)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, in which no name may come twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _words(found: Any) -> dict[str, str]:
    """Return the metadata."""
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(word, str) for word in found.values()):
        raise ValueError("its __metadata__ must be words by name")
    return found


def _tensor(name: str, entry: Any) -> Tensor:
    """Return one entry, whose numbers agree."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            numbers = [*shape, begin, end]
        case _:
            raise ValueError(f"{name} must have dtype, shape and data_offsets")
    if dtype not in _BITS:
        raise ValueError(f"{name} has dtype {dtype!r}, which is none of {', '.join(_BITS)}")
    if len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError(f"{name} must have sizes and offsets that are integers from 0")
    taken = math.prod(shape) * _BITS[dtype] // 8
    if end - begin != taken:
        raise ValueError(
            f"{name} takes {taken:,} bytes as {dtype} of shape {tuple(shape)}, where its "
            f"data_offsets {begin} and {end} are {end - begin:,} apart"
        )
    return Tensor(DTYPES.get(dtype, dtype), tuple(shape), begin, end)
