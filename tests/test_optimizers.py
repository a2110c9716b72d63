"""The optimizers against PyTorch's for twenty steps, and against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
import in_keras
import pytorch
from fastconv import optimizers
from fastconv.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

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
        (lambda: optimizers.get("lion"), ValueError, "sgd, rmsprop, adam, adamw.*'lion'"),
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
            with pytest.raises(ValueError, match=r"trains one model.*frozen or thawed"):
                optimizer.update(other, other)


# ---------------------------------------------------------------- RMSprop, AdamW, decay, clipping


def keras_run(make: Any, weights: list[Array], grads: list[list[Array]]) -> list[Array]:
    """Do the same steps with an optimizer of Keras."""
    keras = in_keras.keras()
    variables = [keras.Variable(w, dtype="float64") for w in weights]
    optimizer = make(keras.optimizers)
    for step in grads:
        tensors = [keras.ops.convert_to_tensor(g) for g in step]
        optimizer.apply(tensors, variables)
    return [np.asarray(v.value.detach()) for v in variables]


RMSPROPS = [{}, {"momentum": 0.9}, {"centered": True}, {"momentum": 0.5, "centered": True}]


@pytest.mark.parametrize("options", RMSPROPS)
def test_rmsprop_against_torch(options: dict[str, Any]) -> None:
    weights, grads = problem()
    expected = torch_run(
        lambda optim, w: optim.RMSprop(w, 0.01, alpha=0.8, eps=1e-18, **options), weights, grads
    )
    ours = run(RMSprop(0.01, 0.8, epsilon=1e-30, **options), weights, grads)
    for our, their in zip(ours, expected, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-10)


@pytest.mark.parametrize("options", RMSPROPS)
def test_rmsprop_by_its_formula_with_a_large_epsilon(options: dict[str, Any]) -> None:
    weights, grads = problem()
    w, s, c, v = weights[0], 0.0, 0.0, 0.0
    for g, _ in grads:
        s, c = 0.9 * s + 0.1 * g**2, 0.9 * c + 0.1 * g
        d = g / np.sqrt(s - (c**2 if options.get("centered") else 0) + 0.5)
        v = options.get("momentum", 0) * v + 0.01 * d
        w = w - v
    found = run(RMSprop(0.01, epsilon=0.5, **options), weights, grads)[0]
    np.testing.assert_allclose(found, w, rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_rmsprop_of_a_gradient_that_does_not_change() -> None:
    rmsprop = RMSprop(0.001, centered=True)
    weights = [np.ones(1000, np.float32)]
    grads = [np.logspace(-3, 4, 1000, dtype=np.float32)]  # s - c^2 is rounded to less than 0
    for _ in range(300):
        before = weights
        weights = rmsprop.update(weights, grads)
        assert (weights[0] <= before[0]).all()
    assert np.isfinite(weights[0]).all()


def test_adamw_against_torch() -> None:
    weights, grads = problem()
    expected = torch_run(
        lambda optim, w: optim.AdamW(w, 0.01, (0.8, 0.99), 1e-18, weight_decay=0.3), weights, grads
    )
    ours = run(AdamW(0.01, 0.3, 0.8, 0.99, 1e-18), weights, grads)
    for our, their in zip(ours, expected, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-12)


def test_weight_decay_of_sgd_is_torch_s_without_momentum() -> None:
    weights, grads = problem()
    expected = torch_run(lambda optim, w: optim.SGD(w, 0.05, weight_decay=0.1), weights, grads)
    for ours, theirs in zip(
        run(SGD(0.05, weight_decay=0.1), weights, grads), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1}),
        ("SGD", {"momentum": 0.9, "nesterov": True, "clipnorm": 0.7}),
        ("SGD", {"learning_rate": 0.1, "global_clipnorm": 0.7}),
        ("SGD", {"clipvalue": 0.4}),
        ("RMSprop", {"learning_rate": 0.01, "epsilon": 0.1, "momentum": 0.5, "centered": True}),
        ("RMSprop", {"weight_decay": 0.1}),
        ("Adam", {"learning_rate": 0.01, "epsilon": 0.1, "weight_decay": 0.2}),
        ("AdamW", {"learning_rate": 0.01, "global_clipnorm": 1.5}),
    ],
)
def test_against_keras(name: str, options: dict[str, Any]) -> None:
    weights, grads = problem()
    expected = keras_run(lambda optim: getattr(optim, name)(**options), weights, grads)
    ours = run(getattr(optimizers, name)(**options), weights, grads)
    for our, their in zip(ours, expected, strict=True):
        np.testing.assert_allclose(our, their, rtol=2e-5, atol=1e-7)  # Keras's rates are float32


def test_clipping_by_torch() -> None:
    torch = pytorch.torch()
    _, grads = problem()
    for step in grads[:3]:
        tensors = [torch.tensor(g, requires_grad=True) for g in step]
        for tensor, gradient in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_(tensors, 1.5)
        (found,) = [run(SGD(1.0, global_clipnorm=1.5), [np.zeros_like(g) for g in step], [step])]
        for ours, tensor in zip(found, tensors, strict=True):
            np.testing.assert_allclose(-ours, tensor.grad.numpy(), rtol=1e-5)  # it adds 1e-6


def test_gradients_within_the_limits_stay_as_they_are() -> None:
    weights, grads = problem()
    plain = run(SGD(), weights, grads)
    for limit in ("clipnorm", "clipvalue", "global_clipnorm"):
        for ours, theirs in zip(run(SGD(**{limit: 1e3}), weights, grads), plain, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_clipping_has_the_same_bits_on_any_number_of_threads(isa: str) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((300, 70), (4097,))]
    grads = [rng.standard_normal(w.shape).astype(np.float32) for w in weights]
    found = []
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            found.append(SGD(global_clipnorm=0.1).update(weights, grads))
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=float)) for g in grads))
    steps = [(a - b) / 0.01 for a, b in zip(weights, found[0], strict=True)]
    moved = np.sqrt(sum(np.sum(np.square(step, dtype=float)) for step in steps))
    assert norm > 100
    assert moved == pytest.approx(0.1, rel=1e-3)


def test_a_gradient_that_is_not_finite_is_not_hidden() -> None:
    for value in (np.nan, np.inf):
        grads = [np.array([1.0, value]), np.array([1.0])]
        with np.errstate(all="ignore"):
            found = SGD(global_clipnorm=1.0).update([np.zeros(2), np.zeros(1)], grads)
        assert not np.isfinite(found[0]).any()
        assert not np.isfinite(found[1]).any()


@pytest.mark.parametrize(
    "make", [Adam, AdamW, lambda: RMSprop(momentum=0.9, centered=True), lambda: SGD(momentum=0.9)]
)
def test_weights_are_stepped_together_as_each_by_itself(make: Any) -> None:
    """Small ones are joined: their places among large ones, other dtypes and no size at all."""
    rng = np.random.default_rng(0)
    kinds: list[tuple[tuple[int, ...], str]] = [
        ((1,), "f"), ((4097,), "f"), ((3, 4), "f"), ((5,), "d"), ((0, 2), "f"), ((64, 64), "f"),
        ((7,), "d"), ((65, 64), "f"), ((2,), "f"),
    ]  # fmt: skip
    weights, *grads = (
        [np.asarray(rng.standard_normal(shape), dtype) for shape, dtype in kinds] for _ in range(5)
    )
    found = run(make(), weights, grads)
    for index, (own, weight) in enumerate(zip(found, weights, strict=True)):
        (alone,) = run(make(), [weight], [[step[index]] for step in grads])
        assert own.dtype == alone.dtype
        np.testing.assert_array_equal(own, alone, strict=True)


@pytest.mark.parametrize("make", [Adam, RMSprop, lambda: SGD(momentum=0.9)])
def test_what_is_remembered_of_a_zero_gradient_goes_to_zero(make: Any) -> None:
    """The means of a gradient that has become zero do not stay among the denormals."""
    smallest = np.finfo(np.float32).tiny
    first, zeros = np.array([1e-19, 1e-35], np.float32), np.zeros(2, np.float32)

    def remembered() -> Array:
        optimizer = make()
        run(optimizer, [np.ones(2, np.float32)], [[first], *[[zeros]] * 500])
        return np.abs(np.concatenate(optimizer._slots[0]))

    flushed = remembered()
    fastconv.set_flush_denormals(False)
    try:
        kept = remembered()
    finally:
        fastconv.set_flush_denormals(True)
    assert np.all((flushed == 0) | (flushed >= smallest))
    assert np.any((kept > 0) & (kept < smallest))
    assert smallest / np.float32(2) > 0  # here, outside, they are numbers as before


def test_defaults_of_the_others_are_those_of_keras() -> None:
    rms, adamw = RMSprop(), AdamW()
    assert (rms.learning_rate, rms.rho, rms.momentum, rms.epsilon) == (0.001, 0.9, 0.0, 1e-7)
    assert (adamw.learning_rate, adamw.weight_decay, adamw.epsilon) == (0.001, 0.004, 1e-7)
    assert not rms.centered
    assert SGD().weight_decay is None
    assert type(optimizers.get("RMSprop")) is RMSprop


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RMSprop(rho=1.0), ValueError, "rho must be.*below 1"),
        (lambda: RMSprop(centered=1), TypeError, "centered must be True or False"),
        (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay must be a number from 0"),
        (lambda: SGD(clipnorm=0), ValueError, "clipnorm must be a positive number or None"),
        (lambda: SGD(clipnorm=1, clipvalue=1), ValueError, "at most one of clipnorm"),
        (lambda: SGD(ema=True), TypeError, "SGD has no argument 'ema'.*clipnorm"),
        (lambda: AdamW(ema=True), TypeError, "ema"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_the_others(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
