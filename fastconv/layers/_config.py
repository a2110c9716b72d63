"""A layer as the arguments that make another one like it, in what JSON can hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from fastconv import activations, initializers
from fastconv._checks import Shape
from fastconv.activations import ActivationFunction
from fastconv.initializers import Initializer


class Configured:
    """Something whose constructor's arguments are its attributes, under the same names.

    A subclass that keeps to that rule needs nothing more to be written into a file and read back.
    """

    name: str
    dtype: np.dtype[Any]
    given_shape: Shape | None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as numbers, words, lists, dicts and None.

        Raises
        ------
        TypeError
            An argument is not kept as an attribute, or is nothing that can be written.

        Examples
        --------
        >>> from fastconv.layers import MaxPooling2D
        >>> MaxPooling2D(3, name="pool").get_config()["pool_size"]
        [3, 3]
        """
        return {name: self._written(name) for name in _arguments(type(self))}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new layer, not built, from what `get_config` gave.

        Raises
        ------
        TypeError
            The class has no such argument, or is not given one that it needs.
        ValueError
            An argument has a value that is not allowed.

        Examples
        --------
        >>> from fastconv.layers import MaxPooling2D
        >>> MaxPooling2D.from_config({"pool_size": [3, 3], "name": "pool"}).pool_size
        (3, 3)
        """
        known = _arguments(cls)
        unknown = sorted(config.keys() - set(known))
        if unknown:
            raise TypeError(
                f"{cls.__name__} has no argument {unknown[0]!r}; it takes {', '.join(known)}"
            )
        return cls(**{name: _decoded(value) for name, value in config.items()})

    def _written(self, argument: str) -> Any:
        """Return the value of one argument as JSON can hold it."""
        if argument == "input_shape":
            return None if self.given_shape is None else list(self.given_shape[1:])
        if argument == "dtype":
            return self.dtype.name
        try:
            return _encoded(getattr(self, argument))
        except (AttributeError, TypeError) as error:
            raise TypeError(
                f"argument {argument!r} of layer {self.name!r}, a {type(self).__name__}, cannot be "
                f"written: {error}"
            ) from error


def _arguments(kind: type) -> list[str]:
    """Return the names of a constructor's arguments, those of ``**options`` spelled out."""
    from fastconv.layers._base import LayerOptions  # it builds on this file

    names: list[str] = []
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            names += LayerOptions.__annotations__
        else:
            names.append(parameter.name)
    return names


def _encoded(value: object) -> Any:
    """Return a value as JSON can hold it."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic() | np.ndarray():
            return value.tolist()
        case tuple() | list():
            return [_encoded(item) for item in value]
        case ActivationFunction():
            return _named(value)
        case Initializer():
            return _described(value)
    raise TypeError(f"{value!r} is no number, word, list, activation or initializer of fastconv")


def _named(value: ActivationFunction) -> str:
    """Return the word for an activation."""
    try:
        known = activations.get(value.name) is value
    except ValueError:
        known = False
    if not known:
        raise TypeError(f"activation {value.name!r} is not one of fastconv's")
    return value.name


def _described(value: Initializer) -> dict[str, Any]:
    """Return an initializer as its class and arguments."""
    kind = type(value)
    if getattr(initializers, kind.__name__, None) is not kind:
        raise TypeError(f"initializer {kind.__name__} is not one of fastconv's")
    config = {name: _encoded(getattr(value, name)) for name in inspect.signature(kind).parameters}
    return {"class_name": kind.__name__, "config": config}


def _decoded(value: Any) -> Any:
    """Return what `_encoded` wrote, sequences as tuples and activations as words."""
    if isinstance(value, list):
        return tuple(_decoded(item) for item in value)
    if not isinstance(value, Mapping):
        return value
    name, config = value.get("class_name"), value.get("config")
    kind = getattr(initializers, name, None) if name in initializers.__all__ else None
    if not (inspect.isclass(kind) and issubclass(kind, Initializer) and isinstance(config, dict)):
        raise ValueError(f"there is no initializer {value!r}")
    made: Initializer = kind(**config)
    return made
