"""A step of training, as a layer sees it: what its random numbers are keyed by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_DRAWING = 2  # after the purposes of fastconv.models._random, whose streams these must not meet


class Step(NamedTuple):
    """One call of one layer in training, for `Layer.forward`'s argument `training`.

    The random numbers of a layer depend on these four and nothing else, so that neither threads
    nor the order of calls count.

    Parameters
    ----------
    seed
        That of the training run.
    number
        How many steps were taken before this one.
    layer
        The place of the layer in its model.
    part
        Which part of the batch the call is for, where a batch is worked through in parts.

    Examples
    --------
    >>> step = Step(seed=1, number=500).of_layer(3)
    >>> bool(step.rng().random() == step.rng().random())
    True
    """

    seed: int
    number: int
    layer: int = 0
    part: int = 0

    def of_layer(self, layer: int) -> Step:
        """Return this step for another layer of the model."""
        return Step(self.seed, self.number, layer, self.part)

    def rng(self, seed: int | None = None) -> np.random.Generator:
        """Return a new generator, the same at each call; `seed` is the layer's, if it has one."""
        entropy = self.seed if seed is None else seed
        key = (_DRAWING, self.layer, self.number, self.part)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=key)))
