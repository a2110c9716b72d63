"""The rectifiers, softmax, dropout and normalisation: against Keras, and by their rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconv
import in_keras
import pytorch
from closeness import assert_same_bits
from fastconv.layers import (
    ELU,
    BatchNormalization,
    Dropout,
    LayerNormalization,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
    SpatialDropout2D,
    Step,
)

DTYPES = st.sampled_from(["float32", "float64"])
SEEDS = st.integers(0, 99)
SLOPES = st.sampled_from([0.0, 0.1, 1.5])
SHAPES = st.sampled_from([(4, 6), (3, 4, 5), (2, 5, 4, 3)])


def compare(kind: Any, shape: Any, seed: int, training: bool = True, **options: Any) -> None:
    keras = in_keras.keras()
    rng = np.random.default_rng(seed)
    theirs = getattr(keras.layers, kind.__name__)(**options)
    in_keras.assert_same_layer(
        kind(**options), theirs, 3 * rng.standard_normal(shape), rng, training, magnitude=3.0
    )


# ----------------------------------------------------------------------------------- rectifiers


@given(
    st.sampled_from([None, 2.0, 6.0]), SLOPES, st.sampled_from([0.0, 1.0]), SHAPES, DTYPES, SEEDS
)
def test_relu_against_keras(
    top: float | None, slope: float, threshold: float, shape: Any, dtype: str, seed: int
) -> None:
    compare(
        ReLU, shape, seed, max_value=top, negative_slope=slope, threshold=threshold, dtype=dtype
    )


@given(SLOPES, SHAPES, DTYPES, SEEDS)
def test_leaky_relu_and_elu_against_keras(slope: float, shape: Any, dtype: str, seed: int) -> None:
    compare(LeakyReLU, shape, seed, negative_slope=slope, dtype=dtype)
    compare(ELU, shape, seed, alpha=slope, dtype=dtype)


@given(st.sampled_from([None, [1], [1, 2], [2, 3], [1, 2, 3]]), DTYPES, SEEDS)
def test_prelu_against_keras(shared: Any, dtype: str, seed: int) -> None:
    compare(PReLU, (2, 5, 4, 3), seed, shared_axes=shared, dtype=dtype)


@given(st.sampled_from([-1, 1, 2, [1, 2], [-1, -2], [1, 3]]), DTYPES, SEEDS)
def test_softmax_against_keras(axis: Any, dtype: str, seed: int) -> None:
    compare(Softmax, (2, 5, 4, 3), seed, axis=axis, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elu_keeps_its_digits_beside_zero(dtype: str) -> None:
    x = -np.array([1e-30, 1e-9, 1e-4, 0.1, 1.0, 20.0, 1000.0, np.inf], dtype)
    np.testing.assert_allclose(ELU(dtype=dtype)(x), np.expm1(x), rtol=4 * np.finfo(dtype).eps)


def test_rectifiers_select_and_never_multiply_by_zero() -> None:
    x = np.array([-np.inf, -1.0, 0.0, 1.0, 3.0, np.inf, np.nan])
    dy = np.full(7, np.inf)
    for layer, y, dx in (
        (ReLU(2), [0, 0, 0, 1, 2, 2, np.nan], [0, 0, 0, np.inf, 0, 0, np.inf]),
        (ReLU(threshold=1), [0, 0, 0, 0, 3, np.inf, np.nan], [0, 0, 0, 0, *[np.inf] * 3]),
        (LeakyReLU(0.5), [-np.inf, -0.5, 0, 1, 3, np.inf, np.nan], [np.inf] * 7),
    ):
        found, backprop = layer.forward(x)
        np.testing.assert_array_equal(found, np.float32(y))
        np.testing.assert_array_equal(backprop(dy)[0], np.float32(dx))


# -------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.4, 1.0])
def test_dropout_keeps_the_mean_and_sends_the_gradient_the_same_way(rate: float) -> None:
    x = np.ones((200, 300), np.float32)
    layer = Dropout(rate)
    y, backprop = layer.forward(x, training=Step(seed=3, number=0))
    share = np.mean(y == 0)
    # The share of 60,000 zeros has a standard error of at most 0.002.
    assert abs(share - rate) < 0.01
    if rate < 1:
        np.testing.assert_allclose(y[y > 0], 1 / (1 - rate), rtol=1e-6)
    dy = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    np.testing.assert_allclose(backprop(dy)[0], dy * y, rtol=1e-6)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.forward(x)[0], x)


def test_dropout_is_keyed_by_seed_layer_and_step() -> None:
    x, layer = np.ones((4, 50)), Dropout(0.5)

    def drop(**key: int) -> Any:
        step = Step(**({"seed": 1, "number": 2, "layer": 3} | key))
        return layer.forward(x, training=step)[0]

    np.testing.assert_array_equal(drop(), drop())
    for key in ("seed", "number", "layer"):
        assert not np.array_equal(drop(), drop(**{key: 9}))
    assert not np.array_equal(
        layer.forward(x, training=True)[0], layer.forward(x, training=True)[0]
    )


def test_a_seed_of_its_own_goes_before_the_runs() -> None:
    x, layer = np.ones((4, 50)), Dropout(0.5, seed=7)
    one, other = (layer.forward(x, training=Step(seed, 0))[0] for seed in (1, 2))
    np.testing.assert_array_equal(one, other)
    later, _ = layer.forward(x, training=Step(1, 1))
    assert not np.array_equal(one, later)
    one, other = (layer.forward(x, training=True)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("error")
def test_dropout_of_an_infinite_number_gives_zero() -> None:
    y, backprop = Dropout(1.0).forward([np.inf, np.nan], training=True)
    assert y.tolist() == [0.0, 0.0]
    dx, _ = backprop([np.nan, -np.inf])
    assert_same_bits(dx, np.zeros(2, np.float32))


def test_one_decision_for_an_axis() -> None:
    x = np.ones((6, 5, 4, 30))
    y, _ = Dropout(0.5, (None, 1, 4, 1)).forward(x, training=True)
    assert ((y == 0) | (y == 2)).all()
    assert (y == y[:, :1, :, :1]).all()
    assert 0 < (y[:, 0, :, 0] == 0).sum() < 24
    for data_format, axes in (("channels_last", (1, 2)), ("channels_first", (2, 3))):
        y, _ = SpatialDropout2D(0.5, data_format).forward(x, training=True)
        sums = y.sum(axes)
        assert set(np.unique(sums)) == {0.0, 2.0 * x.shape[axes[0]] * x.shape[axes[1]]}


# ------------------------------------------------------------------------------- normalisation

SPANS = st.sampled_from(
    [((5, 4), -1), ((3, 4, 5), 1), ((3, 4, 5), [1, 2]), ((2, 4, 5, 3), [-1]),
     ((2, 4, 5, 3), [1, 2, 3]), ((2, 4, 5, 3), [1, 3]), ((2, 4, 5, 3), [1, 2])]
)  # fmt: skip
AXES = st.sampled_from([((5, 3), -1), ((4, 3, 5), 1), ((3, 4, 5, 2), -1), ((3, 2, 4, 5), 1)])


@given(AXES, st.booleans(), st.booleans(), st.booleans(), SEEDS)
def test_batch_normalization_against_keras(
    case: Any, training: bool, center: bool, scale: bool, seed: int
) -> None:
    """In float32, to which Keras rounds float64 here."""
    shape, axis = case
    compare(
        BatchNormalization, shape, seed, training, axis=axis, center=center, scale=scale,
        epsilon=0.01,
    )  # fmt: skip


@given(
    st.one_of(
        st.tuples(st.just(BatchNormalization), AXES), st.tuples(st.just(LayerNormalization), SPANS)
    ),
    st.booleans(), st.booleans(), DTYPES, SEEDS,
)  # fmt: skip
def test_normalization_against_torch(
    case: Any, center: bool, scale: bool, dtype: str, seed: int
) -> None:
    torch = pytorch.torch()
    kind, (shape, axis) = case
    rng = np.random.default_rng(seed)
    layer = kind(axis, center=center, scale=scale, epsilon=0.01, dtype=dtype)
    x = (1 + 2 * rng.standard_normal(shape)).astype(dtype)
    layer(x)
    layer.replace_trainable(
        [rng.standard_normal(w.shape).astype(dtype) for w in layer.trainable_weights]
    )
    y, backprop = layer.forward(x, training=True)
    dy = rng.standard_normal(shape).astype(dtype)
    dx, grads = backprop(dy)

    own = [a % len(shape) for a in (axis if isinstance(axis, list) else [axis])]
    others = [a for a in range(len(shape)) if a not in own]
    over = others if kind is BatchNormalization else own
    aligned = [size if a in own else 1 for a, size in enumerate(shape)]
    x_t = torch.tensor(x, requires_grad=True)
    weights = [torch.tensor(np.array(w), requires_grad=True) for w in layer.trainable_weights]
    variance, mean = torch.var_mean(x_t, over, correction=0, keepdim=True)
    y_t = (x_t - mean) / torch.sqrt(variance + 0.01)
    y_t = y_t * weights[0].reshape(aligned) if scale else y_t
    y_t = y_t + weights[-1].reshape(aligned) if center else y_t
    y_t.backward(torch.tensor(dy))
    theirs = [y_t.detach(), *(tensor.grad for tensor in (x_t, *weights))]
    tolerance = 10 * in_keras.TOLERANCES[dtype]
    for ours, other in zip([y, dx, *grads], theirs, strict=True):
        np.testing.assert_allclose(ours, other.numpy(), rtol=tolerance, atol=tolerance)


@given(AXES, st.sampled_from([0.0, 0.9, 1.0]), SEEDS)
def test_moving_statistics_are_those_of_keras(case: Any, momentum: float, seed: int) -> None:
    keras = in_keras.keras()
    shape, axis = case
    dtype = "float32"
    rng = np.random.default_rng(seed)
    ours = BatchNormalization(axis, momentum)
    theirs = keras.layers.BatchNormalization(axis, momentum)
    for _ in range(3):
        x = (1 + 2 * rng.standard_normal(shape)).astype(dtype)
        _, backprop = ours.forward(x, training=True)
        ours.commit(backprop.updates)
        in_keras.forward_and_gradients(theirs, x, None, True)
    tolerance = 10 * in_keras.TOLERANCES[dtype]
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


def test_training_changes_no_statistics_until_they_are_committed() -> None:
    layer = BatchNormalization()
    x = np.random.default_rng(0).standard_normal((8, 3))
    layer(x)
    before = layer.weights
    _, backprop = layer.forward(x, training=True)
    assert all(a is b for a, b in zip(before, layer.weights, strict=True))
    assert sorted(backprop.updates) == [
        "batch_normalization/moving_mean",
        "batch_normalization/moving_variance",
    ]
    layer.commit({"other/moving_mean": np.zeros(3), **backprop.updates})
    np.testing.assert_array_equal(
        layer.moving_mean, backprop.updates["batch_normalization/moving_mean"]
    )
    assert layer.weights[0] is before[0]
    assert not layer.moving_mean.flags.writeable
    assert layer.forward(x)[1].updates == {}


def test_frozen_it_uses_and_keeps_the_moving_statistics() -> None:
    layer = BatchNormalization(trainable=False)
    x = np.random.default_rng(0).standard_normal((8, 3))
    y, backprop = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, layer(x))
    assert backprop.updates == {}
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 4


def test_trainable_and_other_weights() -> None:
    layer = BatchNormalization(scale=False)
    layer(np.ones((2, 3)))
    assert [len(layer.weights), len(layer.trainable_weights)] == [3, 1]
    assert layer.gamma is None
    assert layer.beta is layer.trainable_weights[0]
    assert layer.count_params() == 9
    moving = layer.moving_mean
    layer.replace_trainable([np.ones(3, np.float32)])
    assert layer.beta.tolist() == [1, 1, 1]
    assert layer.moving_mean is moving


def test_no_examples_leave_no_statistics() -> None:
    y, backprop = BatchNormalization().forward(np.zeros((0, 3)), training=True)
    assert y.shape == (0, 3)
    assert backprop.updates == {}
    dx, grads = backprop(y)
    assert dx is not None
    assert [g.tolist() for g in grads] == [[0, 0, 0]] * 2


@given(
    st.sampled_from([((5, 4), -1), ((2, 4, 5, 3), [2, 3]), ((2, 4, 5, 3), [1, 2, 3])]),
    st.booleans(), st.booleans(), SEEDS,
)  # fmt: skip
def test_layer_normalization_against_keras(case: Any, center: bool, scale: bool, seed: int) -> None:
    """In float32 and over the last axes, which are all that Keras can do on PyTorch."""
    shape, axis = case
    compare(
        LayerNormalization, shape, seed, axis=axis, center=center, scale=scale, epsilon=0.01
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (BatchNormalization(), (32, 15, 14, 8)),
        (BatchNormalization(1), (32, 8, 15, 14)),
        (LayerNormalization([1, 2]), (16, 15, 14, 8)),
        (LayerNormalization(), (64, 300)),
        (PReLU(shared_axes=[1, 2]), (32, 15, 14, 8)),
        (PReLU(shared_axes=[2, 3]), (32, 8, 15, 14)),
        (Softmax(1), (8, 50, 4, 3)),
        (ELU(), (64, 300)),
    ],
)
def test_bits_do_not_depend_on_threads_or_isa(layer: Any, shape: Any) -> None:
    from fastconv import _fastconv_core as _core

    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    layer(x)

    def everything() -> list[Any]:
        y, backprop = layer.forward(x, training=True)
        dx, grads = backprop(dy)
        return [y, dx, *grads, *backprop.updates.values()]

    with fastconv.threads(1):
        expected = everything()
    for isa in _core.available_isas():
        if isa == "generic":
            continue
        with _core.forced_isa(isa):
            for threads in (1, 2, 3):
                with fastconv.threads(threads):
                    for index, (one, other) in enumerate(zip(everything(), expected, strict=True)):
                        assert_same_bits(one, other, f"{isa}, {threads} threads, result {index}")
