"""What layers and models accept as a number, a pair or an array, and the words of their errors."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Labels: TypeAlias = npt.NDArray[np.integer[Any]]
Shape: TypeAlias = tuple[int | None, ...]
"""A shape in which None stands for a size that is not fixed, as the batch is."""

DataFormat: TypeAlias = Literal["channels_last", "channels_first"]

Meaning = TypeVar("Meaning")

_MOST = (1 << 62) - 1  # as for the functions below: larger sizes have no place in C's arithmetic

_DTYPES: tuple[np.dtype[np.floating[Any]], ...] = (np.dtype(np.float32), np.dtype(np.float64))


def integer(name: str, value: object, least: int = 1, most: float = _MOST) -> int:
    """Return `value` as an int of at least `least`; a bool is not an int."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer of at least {least}, received {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, received {value}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, received {value}")
    return int(value)


def seed(name: str, value: object) -> int:
    """Return `value` as an int from 0, however large."""
    return integer(name, value, 0, math.inf)


def path(name: str, value: object) -> Path:
    """Return `value`, a word or a path object, as a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, received {value!r}")
    return Path(value)


def real(name: str, value: object, least: float = 0.0, below: float = float("inf")) -> float:
    """Return `value` as a float in [least, below)."""
    allowed = f"a number from {least:g}" + (f" to below {below:g}" if below < float("inf") else "")
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name} must be {allowed}, received {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        number = math.nan
    if not least <= number < below:
        raise ValueError(f"{name} must be {allowed}, received {value}")
    return number


def flag(name: str, value: object) -> bool:
    """Return `value`, which must be True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, received {value!r}")
    return bool(value)


def pair(name: str, value: object, least: int = 1) -> tuple[int, int]:
    """Return `value`, an int for both directions or two of them (height, width), as a tuple."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if len(value) != 2:
            raise ValueError(
                f"{name} must be an integer or a pair (height, width), received {value!r}"
            )
        return integer(f"{name}[0]", value[0], least), integer(f"{name}[1]", value[1], least)
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer or a pair (height, width), received {value!r}")
    side = integer(name, value, least)
    return side, side


def data_format(value: str | None) -> DataFormat:
    """Return the layout's name; None is "channels_last"."""
    if value is None:
        return "channels_last"
    if value == "channels_last":
        return "channels_last"
    if value == "channels_first":
        return "channels_first"
    raise ValueError(
        f"data_format must be 'channels_last', 'channels_first' or None, received {value!r}"
    )


def float_dtype(value: npt.DTypeLike | None) -> np.dtype[np.floating[Any]]:
    """Return the dtype float32 or float64; None is float32."""
    try:
        found: np.dtype[Any] = _DTYPES[0] if value is None else np.dtype(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"dtype must be float32 or float64, received {value!r}") from error
    if found not in _DTYPES:
        raise ValueError(f"dtype must be float32 or float64, received {found}")
    return found


def word(name: str, value: object, meanings: Mapping[str, Meaning], kind: str) -> Meaning:
    """Return what a word means; `kind` tells what else the argument could have been."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name or {kind}, received {value!r}")
    if value not in meanings:
        raise ValueError(f"{name} must be one of {', '.join(meanings)}, received {value!r}")
    return meanings[value]


def shape(name: str, value: object) -> Shape:
    """Return `value`, a sequence of sizes in which None is a size left open, as a tuple."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a tuple of sizes such as (28, 28, 1), received {value!r}")
    return tuple(
        None if size is None else integer(f"{name}[{axis}]", size, 0)
        for axis, size in enumerate(value)
    )


def integers(name: str, value: object, least: int = 1) -> tuple[int, ...]:
    """Return `value`, a sequence of ints of at least `least`, as a tuple."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list of integers, received {value!r}")
    return tuple(integer(f"{name}[{i}]", number, least) for i, number in enumerate(value))


def axis_or_axes(name: str, value: object) -> int | tuple[int, ...]:
    """Return `value`, an axis or a sequence of them, which may be counted from the end."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return integers(name, value, least=-32)
    return integer(name, value, least=-32)


def axes_of(layer: str, axes: Sequence[int], shape: Shape) -> tuple[int, ...]:
    """Return the axes of a layer's input, counted from 0 and in order, none of them the batch."""
    found = sorted({axis % len(shape) for axis in axes if -len(shape) <= axis < len(shape)})
    if len(found) < len(axes) or not found or found[0] == 0:
        raise ValueError(
            f"layer {layer!r} has axis {text(tuple(axes)) if len(axes) != 1 else axes[0]}, which "
            f"is not an axis after the batch of an input of shape {text(shape)}"
        )
    return tuple(found)


def lasting(value: Any) -> Any:
    """Return lists as tuples, through and through, which nobody changes afterwards."""
    return tuple(map(lasting, value)) if isinstance(value, (list, tuple)) else value


def agree(wanted: Shape, given: Shape) -> bool:
    """Return whether two shapes have one rank, and one size wherever both are fixed."""
    return len(wanted) == len(given) and all(
        None in (size, other) or size == other for size, other in zip(wanted, given, strict=True)
    )


def text(value: Shape) -> str:
    """Return a shape as it is written in messages and tables."""
    return str(tuple(value))


def array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return an array-like of real numbers as an ndarray, of whatever real dtype it has."""
    if type(value) is np.ndarray and value.dtype.kind in "biuf":
        return value
    masked = sys.modules.get("numpy.ma")  # importing it costs 10 ms; unimported, nothing is masked
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first, as with {name}.filled(0)")
    try:
        found = np.asarray(value)
    except ValueError as error:  # such as rows of several lengths
        raise ValueError(f"{name} cannot be made an array: {error}") from error
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, received an array of dtype {found.dtype}")
    return found


def floats(name: str, value: npt.ArrayLike) -> Array:
    """Return an array-like of real numbers as float64 where it is float64, otherwise as float32."""
    found = array(name, value)
    kept: Array = found if found.dtype == np.float64 else found.astype(np.float32, copy=False)
    return kept


def cast(name: str, value: npt.ArrayLike, dtype: np.dtype[np.floating[Any]]) -> Array:
    """Return an array-like of real numbers as an ndarray of `dtype`, itself where it is one."""
    if type(value) is np.ndarray and value.dtype == dtype:
        return value
    found: Array = array(name, value).astype(dtype, copy=False)
    return found


_room: ContextVar[int | None] = ContextVar("room", default=None)


@contextmanager
def room_for_weights(elements: int) -> Iterator[None]:
    """Let first weights have so many elements together, in this block and this thread.

    An architecture from a file may ask for more than any machine has, and a kernel that grants
    memory before it is touched would let it.
    """
    token = _room.set(elements)
    try:
        yield
    finally:
        _room.reset(token)


def take_room(shape: Sequence[int]) -> None:
    """Count a first weight of this shape, if weights are counted.

    Raises
    ------
    ValueError
        There is no room for it.
    """
    room = _room.get()
    if room is None:
        return
    left = room - math.prod(shape)
    if left < 0:
        raise ValueError(
            f"a weight of shape {text(tuple(shape))} does not fit a file of so few elements"
        )
    _room.set(left)
