"""The bits on record: a fixed list of problems, and a hash of each of their results in digests.txt.

Every CPU with fused multiply-add gives these bits, whatever compiler built the kernels. A commit
that changes an order of summing on purpose rewrites them and says so in its message:

    python tests/digests.py
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import bits
from bits import Array, Problem, Results
from fastconv import functional
from fastconv.models import lenet5
from fastconv.optimizers import SGD, Adam

COMMAND = "python tests/digests.py"
FILE = Path(__file__).with_name("digests.txt")
HEADER = f"# problem: result=hash ... (written by: {COMMAND})\n"


def raw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Draw from [-1, 1) what every NumPy on every machine draws alike: 24 bits of the generator."""
    numbers = rng.bit_generator.random_raw(int(np.prod(shape)))
    steps = np.asarray(numbers, np.uint64) >> np.uint64(40)
    return (steps.astype(np.float64) / 2**23 - 1).reshape(shape).astype(dtype)


def hashed(results: Results) -> dict[str, str]:
    """Return a hash of the bits of each result, in C order and little-endian."""
    found = {}
    for name, value in results.items():
        lying = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        found[name.replace(" ", "_")] = hashlib.sha256(lying.tobytes()).hexdigest()[:12]
    return found


def of_problem(problem: Problem, algorithm: str) -> Callable[[], Results]:
    """Return what computes all of a problem."""
    return lambda: bits.compute(problem, bits.draw(problem, raw), algorithm)


def elementwise() -> Results:
    """Compute the elementwise functions, on rows of a length no vector divides."""
    x = 8 * raw(np.random.default_rng(0), (200, 67), "float64")
    results = {}
    for dtype in ("float32", "float64"):
        given = x.astype(dtype)
        for name in ("exp", "tanh", "sigmoid", "softmax"):
            results[f"{name} {dtype}"] = getattr(functional, name)(given)
        results[f"log {dtype}"] = functional.log(np.abs(given))
    return results


def lenet(make_optimizer: Callable[[], SGD | Adam]) -> Callable[[], Results]:
    """Return what trains LeNet-5 by one step, and then another."""

    def train() -> Results:
        rng = np.random.default_rng(0)
        model = lenet5(seed=0)
        shapes = [weight.shape for weight in model.get_weights()]
        model.set_weights(
            [raw(rng, s, "float32") / np.float32(np.prod(s[:-1]) ** 0.5) for s in shapes]
        )
        x, y = raw(rng, (32, 28, 28, 1), "float32"), np.arange(32) % 10
        model.compile(make_optimizer(), "sparse_categorical_crossentropy")
        loss = model.fit(x, y, batch_size=16, shuffle=False, verbose=0).history["loss"]
        assert model.optimizer.iterations == 2
        return {"loss": np.array(loss), **model.named_weights}

    return train


CASES: dict[str, Callable[[], Results]] = {
    f"{name} {algorithm}": of_problem(problem, algorithm)
    for name, problem in (
        {f"large {name}": problem for name, problem in bits.LARGE.items()}
        | {f"tiny {name}": problem for name, problem in bits.TINY.items()}
        | {layer.name: bits.of_table(layer, whole=False) for layer in bits.LAYERS}
    ).items()
    for algorithm in bits.algorithms_of(problem)
    if bits.offers(problem, algorithm)
}
CASES |= {
    "elementwise": elementwise,
    "LeNet-5, SGD": lenet(lambda: SGD(0.01, momentum=0.9)),
    "LeNet-5, Adam": lenet(Adam),
}


def digest(name: str) -> dict[str, str]:
    """Compute a problem of the list, and return the hash of each result."""
    return hashed(CASES[name]())


def stored() -> dict[str, dict[str, str]]:
    """Return the hashes on record, by problem."""
    found = {}
    for line in FILE.read_text(encoding="utf-8").splitlines()[1:]:
        name, _, results = line.partition(": ")
        found[name] = dict(result.split("=") for result in results.split())
    return found


def lines() -> Iterator[str]:
    """Give a line for each problem of the list."""
    for name in CASES:
        yield f"{name}: {' '.join(f'{key}={value}' for key, value in digest(name).items())}\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description="Write digests.txt anew.").parse_args()
    FILE.write_text(HEADER + "".join(lines()), encoding="utf-8")
    print(f"{FILE.name}: {len(CASES)} problems")
