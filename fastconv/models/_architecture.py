"""Layers described by class and arguments, and the classes found again by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fastconv import layers
from fastconv.layers import Layer

CustomObjects = Mapping[str, type[Any]]
"""Classes of layers, and of models, by name."""

Kind = TypeVar("Kind")


def described(layer: Layer) -> dict[str, Any]:
    """Return a layer as JSON can hold it: the name of its class, and its arguments.

    "own" marks a class that is not fastconv's, which may have the name of one that is.
    """
    kind = type(layer)
    own = {} if getattr(layers, kind.__name__, None) is kind else {"own": True}
    return {"class_name": kind.__name__, "config": layer.get_config(), **own}


def made(description: object, custom_objects: CustomObjects | None = None) -> Layer:
    """Return the layer that `described` wrote.

    Raises
    ------
    ValueError
        It is no such description, the class is neither a layer of fastconv nor one of
        `custom_objects`, or the arguments are not that class's.
    """
    match description:
        case {"class_name": str(name), "config": dict(config), **more}:
            kind = _class(name, custom_objects or {}, own=bool(more.get("own")))
        case _:
            raise ValueError(f"a layer must have class_name and config, received {description!r}")
    try:
        return kind.from_config(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no {name} can be made from {config!r}: {error}") from error


def _class(name: str, custom_objects: CustomObjects, own: bool) -> type[Layer]:
    """Return the class of layers of this name; fastconv's are looked at unless `own`."""
    kind = getattr(layers, name, None) if name in layers.__all__ and not own else None
    is_layer = isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer
    return known_class(name, custom_objects, Layer, kind if is_layer else None)


def known_class(
    name: str, custom_objects: CustomObjects, base: type[Kind], built_in: type[Kind] | None
) -> type[Kind]:
    """Return the class of this name in `custom_objects`, or else the one that is built in.

    Raises
    ------
    ValueError
        There is neither.
    TypeError
        The one in `custom_objects` is not derived from `base`.
    """
    given = custom_objects.get(name, built_in)
    if given is None:
        raise ValueError(
            f"class {name!r} is no {base.__name__} of fastconv; if it is one of your own, give "
            f"custom_objects={{{name!r}: {name}}}"
        )
    if not (isinstance(given, type) and issubclass(given, base)):
        raise TypeError(
            f"custom_objects[{name!r}] must be a class derived from {base.__name__}, "
            f"received {given!r}"
        )
    return given
