"""The words of the errors that the compiled module raises: what was received, what is allowed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_REMEDY = "use .astype(numpy.float32) or .astype(numpy.float64)"

# What each status of the C library means, and which facts belong in the message ("" for all).
_STATUSES: dict[str, tuple[type[Exception], str, tuple[str, ...]]] = {
    "no_memory": (MemoryError, "not enough memory for the scratch of this call", ()),
    "bad_argument": (ValueError, "sizes must not be negative", ()),
    "bad_strides": (ValueError, "strides must be at least 1", ("strides",)),
    "bad_dilation": (ValueError, "dilation_rate must be at least 1", ("dilation_rate",)),
    "bad_groups": (
        ValueError,
        "groups must be at least 1 and divide the channels of x and of the output",
        ("groups", "x.shape", "kernel.shape", "data_format"),
    ),
    "bad_channels": (
        ValueError,
        "the kernel's third size times groups must be the channels it is applied to",
        ("kernel.shape", "groups", "x.shape", "dy.shape", "data_format"),
    ),
    "bad_padding": (ValueError, "padding must not be negative", ("padding",)),
    "padding_too_large": (
        ValueError,
        "padding must be smaller than the window for pooling, at most size - 1 for "
        "padding_mode='reflect' and at most the size for 'wrap'",
        ("padding", "padding_mode", "pool_size", "dilation_rate", "x.shape"),
    ),
    "bad_output_padding": (
        ValueError,
        "output_padding must be at least 0 and below max(strides, dilation_rate)",
        ("output_padding", "strides", "dilation_rate"),
    ),
    "empty_kernel": (
        ValueError,
        "kernel and pool_size must be at least 1 x 1",
        ("kernel.shape", "pool_size"),
    ),
    "empty_output": (ValueError, "the output would have no pixels", ()),
    "overflow": (ValueError, "the sizes are too large to be computed with", ()),
    "bad_shape": (ValueError, "the shapes do not fit each other", ()),
    "bad_index": (
        ValueError,
        "indices must be -1 or lie in [0, h * w) of their plane",
        ("x.shape", "indices.shape"),
    ),
    "bad_algorithm": (
        ValueError,
        "algorithm='winograd' takes kernels of 2x2 to 12x12, of 1x3 to 1x36 and 3x1 to 36x1 with "
        "strides of 1, dilation_rate 1 unless padding is constant; with strides of 2 those of 3 or "
        "4 rows and columns, of 5 or 6, or of 7 or 8, dilation_rate 1 and constant padding; groups "
        "of at least 64 bytes of channels, at most 4096 of them; of up to 8 input channels those "
        "with 3 to 5 columns of taps a stride, dilation_rate 1, strides * channels of at most 16, "
        "8 to 256 rows of taps * strides * channels, and outputs and columns that fill vectors of "
        "64 bytes and tiles of 4",
        ("algorithm", "kernel.shape", "strides", "dilation_rate", "padding_mode", "groups"),
    ),
    "packed_mismatch": (
        ValueError,
        "kernel was packed for another geometry, dtype, algorithm or input size",
        (),
    ),
}


def _received(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in facts.items())


def from_status(status: str, facts: dict[str, Any]) -> Exception:
    """Word a status of the C library; facts are the arguments of the call, by name."""
    kind, sentence, wanted = _STATUSES[status]
    told = {name: facts[name] for name in wanted if name in facts} or facts
    return kind(f"{sentence}; received {_received(told)}")


def not_an_array(name: str, value: object) -> TypeError:
    """Word an argument that is no ndarray, or one of a kind that is refused."""
    if isinstance(value, np.ma.MaskedArray):
        return TypeError(
            f"{name} must not be a masked array; fill it first, e.g. with {name}.filled(0)"
        )
    return TypeError(
        f"{name} must be a numpy.ndarray of float32 or float64; received "
        f"{type(value).__name__}: use numpy.asarray({name}, dtype=numpy.float32)"
    )


def bad_dtype(name: str, dtype: np.dtype[Any]) -> TypeError:
    """Word an array that is neither float32 nor float64 in the machine's byte order."""
    if dtype.kind == "f" and not dtype.isnative:
        return TypeError(
            f"{name} must be in native byte order; received dtype {dtype.str}: use "
            f"{name}.astype({name}.dtype.newbyteorder('='))"
        )
    return TypeError(f"{name} must be float32 or float64; received dtype {dtype}: {_REMEDY}")


def other_dtype(name: str, dtype: np.dtype[Any], first: str, wanted: np.dtype[Any]) -> TypeError:
    """Word an array whose dtype is not that of the first one."""
    return TypeError(
        f"{name} must have the dtype of {first}, {wanted}; received dtype {dtype}: use "
        f"{name}.astype({first}.dtype)"
    )


def bad_rank(name: str, shape: Sequence[int], meaning: str) -> ValueError:
    """Word an array with the wrong number of dimensions."""
    return ValueError(f"{name} must have the shape {meaning}; received {name}.shape={shape}")


def bad_shape(name: str, shape: Sequence[int], wanted: Sequence[int]) -> ValueError:
    """Word an array whose shape does not follow from the other arguments."""
    return ValueError(f"{name} must have the shape {tuple(wanted)}; received {name}.shape={shape}")


def bad_word(name: str, value: object, allowed: Sequence[object]) -> Exception:
    """Word an unknown word, or something that is no word where one belongs."""
    options = ", ".join(repr(word) for word in allowed)
    kind = ValueError if isinstance(value, str) or value is None else TypeError
    return kind(f"{name} must be one of {options}; received {name}={value!r}")


def bad_value(name: str, value: object, allowed: str, kind: type[Exception]) -> Exception:
    """Word any other argument that is not what it should be."""
    return kind(f"{name} must be {allowed}; received {name}={value!r}")


def bad_out(name: str, value: object, allowed: str) -> ValueError | TypeError:
    """Word an output array that cannot be written to as asked."""
    if isinstance(value, np.ndarray):
        return ValueError(
            f"{name} must {allowed}; received shape={value.shape}, dtype={value.dtype}, "
            f"strides={value.strides}, writeable={value.flags.writeable}"
        )
    return TypeError(f"{name} must be a numpy.ndarray or None; received {type(value).__name__}")


def overlap(name: str, other: str) -> ValueError:
    """Word an output that shares memory with an input."""
    return ValueError(
        f"{name} must not overlap {other}; received arrays that share memory: give {name} memory "
        "of its own"
    )


def unknown_isa(asked: str | None, available: Sequence[str]) -> ImportError:
    """Word a FASTCONV_ISA that this CPU or build does not have."""
    return ImportError(
        f"FASTCONV_ISA must be one of {', '.join(available)} on this CPU; received "
        f"FASTCONV_ISA={asked!r}"
    )
