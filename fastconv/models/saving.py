"""A whole model in one safetensors file: its weights, and its architecture as JSON beside them."""

from __future__ import annotations

import json
import os
from typing import Any

from fastconv import _checks
from fastconv.models import _files
from fastconv.models._architecture import CustomObjects, known_class
from fastconv.models.sequential import Sequential

__all__ = ["load_model"]

SPARE = 1 << 20
"""Elements that a model's first weights may have beyond twice those of its file."""


def load_model(
    filepath: str | os.PathLike[str], custom_objects: CustomObjects | None = None
) -> Sequential:
    """Return the model that `Sequential.save` wrote, built, with its weights, not compiled.

    The file holds numbers and words alone: reading it runs no code but the constructors of
    fastconv's layers, and of the classes in `custom_objects`, and takes no more memory than its
    own length has earned.

    Parameters
    ----------
    filepath
        The file.
    custom_objects
        The classes of layers that are not fastconv's own, and of the model if it is of a class
        derived from `Sequential`, by name.

    Raises
    ------
    ValueError
        The file is no safetensors file, holds no model of fastconv's or a class that is not known,
        or its weights do not fit its architecture.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> from fastconv.layers import Dense
    >>> from fastconv.models import Sequential, load_model
    >>> model = Sequential([Dense(2, input_shape=(3,))])
    >>> model.save("model.safetensors")
    >>> again = load_model("model.safetensors")
    >>> bool((again.predict([[1, 2, 3]]) == model.predict([[1, 2, 3]])).all())
    True
    """
    words, elements = _files.metadata(filepath)
    text = words.get(_files.ARCHITECTURE)
    if text is None:
        raise ValueError(
            f"{filepath} holds no architecture of fastconv's; weights alone are read by the "
            "load_weights of a model that they fit"
        )
    try:
        with _checks.room_for_weights(2 * elements + SPARE):
            model = _from_architecture(json.loads(text), custom_objects)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{filepath} holds an architecture that cannot be used: {error}"
        ) from error
    model.load_weights(filepath)
    return model


def _from_architecture(found: Any, custom_objects: CustomObjects | None) -> Sequential:
    """Return the model of an architecture, with fresh weights."""
    match found:
        case {"class_name": str(name), "config": dict(config)}:
            built_in = Sequential if name == "Sequential" else None
            kind = known_class(name, custom_objects or {}, Sequential, built_in)
            return kind.from_config(config, custom_objects)
    raise ValueError("it describes no Sequential")
