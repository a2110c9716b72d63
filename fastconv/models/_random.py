"""Random numbers by purpose: a stream for each use of a seed, so that no use moves another's."""

from __future__ import annotations

import numpy as np

from fastconv import _checks

WEIGHTS, SHUFFLING = range(2)
"""The purposes; the next ones go at the end, or every seed would mean other numbers.

2 is taken: by `fastconv.layers.Step`, for what layers draw in training.
"""


def seed_or_fresh(name: str, seed: int | None) -> int:
    """Return the seed, or an unpredictable one for None."""
    if seed is not None:
        return _checks.seed(name, seed)
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy


def stream(seed: int, purpose: int, index: int) -> np.random.Generator:
    """Return the generator of one use of a seed, such as the weights of layer `index`."""
    sequence = np.random.SeedSequence(seed, spawn_key=(purpose, index))
    return np.random.Generator(np.random.PCG64(sequence))


def permutation(count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return 0..count - 1 in random order.

    By sorting uniform numbers: NumPy keeps those the same from version to version, but not what
    its own ``permutation`` makes of them.
    """
    return rng.random(count).argsort(kind="stable")
