"""The optimizers against PyTorch's for twenty steps, and against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import pytorch
from fastconv import optimizers
from fastconv.optimizers import SGD, Adam, Optimizer

Array = npt.NDArray[Any]
STEPS = 20


def run(optimizer: Optimizer, weights: list[Array], grads: list[list[Array]]) -> list[Array]:
    for step in grads:
        weights = optimizer.update(weights, step)
    return weights


def problem(dtype: str = "float64") -> tuple[list[Array], list[list[Array]]]:
    """Make two weights, and their gradients for twenty steps."""
    rng = np.random.default_rng(0)

    def draw() -> list[Array]:
        return [rng.standard_normal(shape).astype(dtype) for shape in ((3, 4), (5,))]

    return draw(), [draw() for _ in range(STEPS)]


def torch_run(make: Any, weights: list[Array], grads: list[list[Array]]) -> list[Array]:
    torch = pytorch.torch()
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    optimizer = make(torch.optim, tensors)
    for step in grads:
        for tensor, gradient in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
    return [tensor.detach().numpy() for tensor in tensors]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_against_torch(momentum: float, nesterov: bool) -> None:
    weights, grads = problem()
    expected = torch_run(
        lambda optim, w: optim.SGD(w, 0.05, momentum=momentum, nesterov=nesterov), weights, grads
    )
    for ours, theirs in zip(
        run(SGD(0.05, momentum, nesterov), weights, grads), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_adam_against_torch() -> None:
    # The two put epsilon in different places, so it is made too small to count.
    weights, grads = problem()
    expected = torch_run(lambda optim, w: optim.Adam(w, 0.01, (0.8, 0.99), 1e-18), weights, grads)
    ours = run(Adam(0.01, 0.8, 0.99, 1e-18), weights, grads)
    for our, their in zip(ours, expected, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-12)


def test_adam_by_its_formula_with_a_large_epsilon() -> None:
    weights, grads = problem()
    w, m, v = weights[0], 0.0, 0.0
    for t, (g, _) in enumerate(grads, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        rate = 0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        w = w - rate * m / (np.sqrt(v) + 0.5)
    found = run(Adam(0.01, epsilon=0.5), weights, grads)[0]
    np.testing.assert_allclose(found, w, rtol=1e-12)


@pytest.mark.parametrize("make", [SGD, lambda: SGD(momentum=0.5, nesterov=True), Adam])
def test_weights_are_new_and_of_their_dtype(make: Any) -> None:
    weights, grads = problem("float32")
    for array in (*weights, *grads[0]):
        array.setflags(write=False)
    updated = make().update(weights, grads[0])
    assert {w.dtype for w in updated} == {np.dtype(np.float32)}
    assert all(not np.shares_memory(a, b) for a, b in zip(updated, weights, strict=True))
    assert all(w.flags.writeable for w in updated)


def test_defaults_are_those_of_keras() -> None:
    sgd, adam = SGD(), Adam()
    assert (sgd.learning_rate, sgd.momentum, sgd.nesterov) == (0.01, 0.0, False)
    assert (adam.learning_rate, adam.beta_1, adam.beta_2) == (0.001, 0.9, 0.999)
    assert adam.epsilon == 1e-7


def test_the_learning_rate_may_change_between_steps() -> None:
    sgd = SGD(1.0)
    (w,) = sgd.update([np.zeros(1)], [np.ones(1)])
    sgd.learning_rate = 0.5
    (w,) = sgd.update([w], [np.ones(1)])
    assert w.tolist() == [-1.5]
    assert sgd.iterations == 2


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SGD(-1.0), ValueError, "learning_rate must be a number from 0, received -1.0"),
        (lambda: SGD("fast"), TypeError, "learning_rate must be a number.*'fast'"),
        (lambda: SGD(float("nan")), ValueError, "learning_rate.*nan"),
        (lambda: SGD(momentum=1.0), ValueError, "momentum must be a number from 0 to below 1"),
        (lambda: SGD(nesterov=1), TypeError, "nesterov must be True or False, received 1"),
        (lambda: Adam(True), TypeError, "learning_rate.*True"),
        (lambda: Adam(beta_1=1.5), ValueError, "beta_1.*1.5"),
        (lambda: Adam(beta_2=-0.1), ValueError, "beta_2.*-0.1"),
        (lambda: Adam(epsilon=-1), ValueError, "epsilon.*-1"),
        (lambda: optimizers.get("lion"), ValueError, "optimizer must be one of sgd, adam.*'lion'"),
        (lambda: optimizers.get(SGD), TypeError, "optimizer must be a name or an Optimizer"),
    ],
)  # fmt: skip
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_wrong_gradients() -> None:
    weights = [np.zeros((2, 3)), np.zeros(3)]
    for grads, words in (
        ([np.zeros((2, 3))], "grads must be 2 arrays, one a weight, received 1"),
        ([np.zeros((3, 2)), np.zeros(3)], r"grads\[0\].*\(2, 3\).*received.*\(3, 2\)"),
        ([np.zeros((2, 3)), np.zeros(3, np.float32)], r"grads\[1\].*float64.*received float32"),
    ):
        with pytest.raises(ValueError, match=words):
            SGD().update(weights, grads)


def test_an_optimizer_trains_one_model() -> None:
    for optimizer in (SGD(momentum=0.5), Adam()):
        optimizer.update([np.zeros(3)], [np.zeros(3)])
        for other in ([np.zeros(4)], [np.zeros(3), np.zeros(3)]):
            with pytest.raises(ValueError, match="trains one model"):
                optimizer.update(other, other)
