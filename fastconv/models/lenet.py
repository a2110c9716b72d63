"""LeNet-5, the network that the command trains."""

from __future__ import annotations

from fastconv.layers import Conv2D, Dense, Flatten, MaxPooling2D
from fastconv.models.sequential import Sequential

__all__ = ["lenet5"]


def lenet5(classes: int = 10, *, seed: int | None = None) -> Sequential:
    """Return LeNet-5 (LeCun et al., 1998) for images of 28x28x1, with ReLU and max pooling.

    Two convolutions of 5x5 with 6 and 16 filters, each with a pooling of 2 behind it, then dense
    layers of 120, 84 and `classes`, the last with softmax. It is not compiled.

    Examples
    --------
    >>> from fastconv.models import lenet5
    >>> lenet5().count_params()
    61706
    """
    return Sequential(
        [
            Conv2D(6, 5, padding="same", activation="relu", input_shape=(28, 28, 1)),
            MaxPooling2D(2),
            Conv2D(16, 5, activation="relu"),
            MaxPooling2D(2),
            Flatten(),
            Dense(120, activation="relu"),
            Dense(84, activation="relu"),
            Dense(classes, activation="softmax"),
        ],
        name="lenet5",
        seed=seed,
    )
