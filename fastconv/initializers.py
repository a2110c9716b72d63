"""The initializers: how a layer's weights begin, with the same bits on every CPU."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import numpy.typing as npt

from fastconv import _checks, functional
from fastconv._checks import Array

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "Ones",
    "VarianceScaling",
    "Zeros",
    "get",
]

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["uniform", "truncated_normal"]

# Standard deviation of a standard normal cut at +-2: sqrt(1 - 2 * 2 phi(2) / (2 Phi(2) - 1)).
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer(ABC):
    """A rule for the first values of a weight."""

    @abstractmethod
    def __call__(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = "float32",
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Return a new array of `shape` and `dtype` (float32 or float64).

        `rng` is drawn from by the random rules; without it the values differ from call to call.
        """


class Constant(Initializer):
    """Every element is `value`.

    Examples
    --------
    >>> Constant(0.5)((2,))
    array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = _checks.real("value", value, least=-math.inf)

    def __call__(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = "float32",
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Return `value` everywhere; `rng` is not used."""
        _checks.take_room(shape)
        return np.full(shape, self.value, _checks.float_dtype(dtype))


class Zeros(Constant):
    """Every element is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every element is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


class VarianceScaling(Initializer):
    r"""Random values whose variance is ``scale / n``, n being a number of connections.

    For a weight of shape ``(*window, c_in, c_out)``, fan_in = prod(window) c_in and fan_out =
    prod(window) c_out; n is one of them or their mean. "uniform" draws from [-l, l) with
    l = sqrt(3 scale / n); "truncated_normal" from a normal distribution cut at two standard
    deviations, widened so that the variance after the cut is scale / n.

    The values are computed in float64 from the generator's uniform numbers, by operations whose
    result IEEE 754 or `fastconv.functional` fixes, then rounded to the dtype.

    Parameters
    ----------
    scale
        Positive factor.
    mode
        n: "fan_in", "fan_out" or "fan_avg".
    distribution
        "uniform" or "truncated_normal".
    seed
        If given, every call draws the same values, and `rng` is not used.

    Examples
    --------
    >>> rule = VarianceScaling(2.0, "fan_in", "uniform", seed=1)
    >>> kernel = rule((3, 3, 6, 8))
    >>> bool(abs(kernel).max() <= (3 * 2 / 54) ** 0.5)
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: Mode = "fan_in",
        distribution: Distribution = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        self.scale = _checks.real("scale", scale)
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, received {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be fan_in, fan_out or fan_avg, received {mode!r}")
        if distribution not in ("uniform", "truncated_normal"):
            raise ValueError(
                f"distribution must be uniform or truncated_normal, received {distribution!r}"
            )
        self.mode = mode
        self.distribution = distribution
        self.seed = None if seed is None else _checks.seed("seed", seed)

    def __call__(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = "float32",
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Return new random values; see `Initializer`."""
        _checks.take_room(shape)
        found = _checks.float_dtype(dtype)
        if self.seed is not None or rng is None:
            rng = np.random.Generator(np.random.PCG64(self.seed))
        variance = self.scale / max(1.0, _connections(shape, self.mode))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            values: Array = limit * (2.0 * rng.random(shape) - 1.0)
        else:
            spread = math.sqrt(variance) / _TRUNCATED_STDDEV
            values = spread * _truncated_normal(rng, math.prod(shape)).reshape(shape)
        return values.astype(found)


class GlorotUniform(VarianceScaling):
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform with variance 2 / fan_in (He et al., 2015)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal with variance 2 / fan_in (He et al., 2015)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


def _connections(shape: tuple[int, ...], mode: Mode) -> float:
    """Return fan_in, fan_out or their mean, for a weight of this shape."""
    if len(shape) < 2:
        fan_in = fan_out = math.prod(shape)
    else:
        window = math.prod(shape[:-2])
        fan_in, fan_out = window * shape[-2], window * shape[-1]
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def _truncated_normal(rng: np.random.Generator, count: int) -> Array:
    """Return `count` float64 values of the standard normal distribution within [-2, 2].

    Marsaglia's polar method, which needs no more than log and sqrt; NumPy's own normal numbers go
    through the C library's exp and log, whose last bits depend on the machine.
    """
    kept: list[Array] = []
    missing = count
    while missing > 0:
        u, v = 2.0 * rng.random((2, missing)) - 1.0
        s = u * u + v * v
        inside = (s > 0) & (s < 1)
        u, s = u[inside], s[inside]
        z = u * np.sqrt(-2.0 * functional.log(s) / s)
        z = z[np.abs(z) <= 2.0]
        kept.append(z)
        missing -= len(z)
    return np.concatenate(kept)[:count] if kept else np.empty(0)


_BY_NAME: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
}


def get(name: str, identifier: str | Initializer) -> Initializer:
    """Return the initializer that the argument `name` of a layer gives by a word or an object.

    Raises
    ------
    ValueError
        The word is not one of zeros, ones, constant, glorot_uniform, glorot_normal, he_uniform,
        he_normal.
    TypeError
        It is neither a word nor an `Initializer`.

    Examples
    --------
    >>> get("bias_initializer", "zeros")((3,))
    array([0., 0., 0.], dtype=float32)
    """
    if isinstance(identifier, Initializer):
        return identifier
    return _checks.word(name, identifier, _BY_NAME, "an Initializer")()
