"""The optimizers, with Keras's names and defaults: from gradients to the next weights."""

from __future__ import annotations

from collections.abc import Callable

from fastconv import _checks
from fastconv.optimizers import schedules
from fastconv.optimizers._base import Optimizer
from fastconv.optimizers.adam import Adam, AdamW
from fastconv.optimizers.rmsprop import RMSprop
from fastconv.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "get", "schedules"]

_BY_NAME: dict[str, Callable[[], Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


def get(identifier: str | Optimizer) -> Optimizer:
    """Return the optimizer that `compile` is given by a word or an object.

    Raises
    ------
    ValueError
        The word is not "sgd", "rmsprop", "adam" or "adamw", in any case of letters.
    TypeError
        It is neither a word nor an `Optimizer`.

    Examples
    --------
    >>> get("adam").learning_rate
    0.001
    """
    if isinstance(identifier, Optimizer):
        return identifier
    name = identifier.lower() if isinstance(identifier, str) else identifier
    return _checks.word("optimizer", name, _BY_NAME, "an Optimizer")()
