"""The model: building, training, predicting, and its weights in files."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
import gradients
import pytorch
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from fastconv.layers import (
    Activation,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPooling2D,
    Softmax,
)
from fastconv.losses import SparseCategoricalCrossentropy
from fastconv.models import History, Sequential, lenet5
from fastconv.optimizers import SGD, Adam

Array = npt.NDArray[Any]


def small(seed: int | None = 0, *, input_shape: Any = (8, 8, 1), **options: Any) -> Sequential:
    layers = [
        Conv2D(4, 3, activation="relu", input_shape=input_shape, **options),
        MaxPooling2D(2, **options),
        Flatten(**options),
        Dense(10, activation="softmax", **options),
    ]
    return Sequential(layers, seed=seed)


def blobs(count: int, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Draw images that show their class as a bright square in one place."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.random((count, 8, 8, 1), np.float32) * 0.5
    for image, label in zip(x, y, strict=True):
        image[2:4, 2 * label : 2 * label + 2] += 1
    return x, y


def compiled(model: Sequential, optimizer: Any = "adam") -> Sequential:
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# ------------------------------------------------------------------------------------- building


def test_shapes_of_a_known_network() -> None:
    model = Sequential(
        [Conv2D(filters=32, kernel_size=(3, 3), strides=1, padding="same", input_shape=(32, 32, 3))]
    )
    assert model.output_shape == (None, 32, 32, 32)
    model.add(Conv2D(filters=32, kernel_size=(3, 3), strides=1, padding="valid"))
    assert model.output_shape == (None, 30, 30, 32)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.count_params() == 3 * 9 * 32 + 32 + 32 * 9 * 32 + 32


def test_shapes_of_a_larger_network() -> None:
    model = Sequential()
    model.add(Conv2D(32, (3, 3), padding="same", activation="relu", input_shape=(150, 150, 3)))
    model.add(MaxPooling2D((2, 2)))
    model.add(Conv2D(32, (4, 4), padding="valid"))
    model.add(MaxPooling2D((2, 2)))
    assert model.output_shape == (None, 36, 36, 32)
    model.add(Flatten())
    assert model.output_shape == (None, 41472)


def test_sizes_left_open() -> None:
    model = Sequential([Conv2D(2, 3, input_shape=(None, None, 3)), MaxPooling2D()], seed=0)
    assert model.output_shape == (None, None, None, 2)
    for size in (8, 11):
        assert model.predict(np.zeros((1, size, 9, 3))).shape == (1, (size - 2) // 2, 3, 2)


def test_layers_are_numbered_by_kind_in_each_model() -> None:
    for _ in range(2):
        model = Sequential([Conv2D(2, 1), Conv2D(2, 1), Flatten(name="flat"), Dense(2), Dense(2)])
        model.build((None, 4, 4, 1))
        names = [layer.name for layer in model.layers]
        assert names == ["conv2d_1", "conv2d_2", "flat", "dense_1", "dense_2"]
        assert list(model.named_weights)[:3] == [
            "conv2d_1/kernel",
            "conv2d_1/bias",
            "conv2d_2/kernel",
        ]


def test_a_name_given_by_hand_is_not_given_again() -> None:
    model = Sequential([Dense(2, name="dense_2"), Dense(2), Dense(2)])
    assert [layer.name for layer in model.layers] == ["dense_2", "dense_1", "dense_3"]


def test_when_it_is_built_does_not_change_the_weights() -> None:
    at_once, later, by_hand = small(), small(input_shape=None), small(input_shape=None)
    assert at_once.built
    assert not later.built
    later(np.zeros((2, 8, 8, 1)))
    by_hand.build((None, 8, 8, 1))
    for a, b, c in zip(*(m.get_weights() for m in (at_once, later, by_hand)), strict=True):
        assert_same_bits(a, b)
        assert_same_bits(a, c)


def test_the_seed_fixes_the_weights() -> None:
    one, same, other, unseeded = small(1), small(1), small(2), small(None)
    assert_same_bits(one.get_weights()[0], same.get_weights()[0])
    for model in (other, unseeded):
        assert not np.array_equal(one.get_weights()[0], model.get_weights()[0])
    conv, dense = one.layers[0], one.layers[3]
    assert not np.array_equal(conv.get_weights()[0].ravel()[:4], dense.get_weights()[0].ravel()[:4])


def test_summary_tells_shapes_and_parameters() -> None:
    lines: list[str] = []
    model = lenet5()
    model.layers[0].trainable = False
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    for words in (
        "Model 'lenet5'", "conv2d_1 (Conv2D)", "(None, 28, 28, 6)", "156", "flatten_1 (Flatten)",
        "(None, 400)", "48,120", "parameters: 61,706 (trainable 61,550, frozen 156)",
    ):  # fmt: skip
        assert words in text


# ------------------------------------------------------------------------------------- protocol


def test_gradients_by_finite_differences() -> None:
    rng = np.random.default_rng(0)
    model = small(dtype="float64")
    x = rng.standard_normal((2, 8, 8, 1))
    y, backprop = model.forward(x, training=True)
    dy = rng.standard_normal(y.shape)
    dx, grads = backprop(dy)
    assert dx is not None
    direction = rng.standard_normal(x.shape)
    slope = gradients.slope(model, x, direction, dy)
    assert np.sum(dx * direction) == pytest.approx(slope, rel=1e-6)
    weights = model.get_weights()
    assert len(grads) == len(weights) == 4
    for index, gradient in enumerate(grads):

        def output(value: Array, index: int = index) -> Array:
            model.set_weights([*weights[:index], value, *weights[index + 1 :]])
            return model(x)

        direction = rng.standard_normal(gradient.shape)
        slope = gradients.slope(output, weights[index], direction, dy)
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-6)


def test_what_nobody_needs_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    backward = functional.conv2d_backward

    def spy(*arguments: Any, needs: Any, **geometry: Any) -> Any:
        asked.append(tuple(needs))
        return backward(*arguments, needs=needs, **geometry)

    monkeypatch.setattr(functional, "conv2d_backward", spy)
    layers = [Activation("tanh"), Conv2D(2, 3), Conv2D(2, 3), Flatten(), Dense(2)]
    model = Sequential(layers, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 1))

    def asked_in_training() -> list[set[str]]:
        asked.clear()
        y, backprop = model.forward(x, training=True)
        dx, grads = backprop(np.ones_like(y), need_dx=False)
        assert dx is None
        assert [g.shape for g in grads] == [w.shape for w in model.trainable_weights]
        return [set(needs) for needs in asked]

    assert asked_in_training() == [{"x", "kernel", "bias"}, {"kernel", "bias"}]
    layers[1].trainable = False
    assert asked_in_training() == [{"kernel", "bias"}]
    layers[2].trainable = False
    assert asked_in_training() == []
    layers[1].trainable = True
    assert asked_in_training() == [{"x"}, {"kernel", "bias"}]


# ------------------------------------------------------------------------------------- training


def test_fit_learns_and_records() -> None:
    x, y = blobs(120)
    model = compiled(small(), Adam(0.01))
    history = model.fit(x, y, batch_size=16, epochs=8, verbose=0, validation_data=blobs(40, seed=1))
    assert isinstance(history, History)
    assert history.epoch == list(range(8))
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 8 for values in history.history.values())
    assert history.history["loss"][-1] < 0.2 * history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.95
    assert isinstance(model.layers[0].trainable_weights[0], np.ndarray)


def test_evaluate_is_what_validation_gave() -> None:
    model, held = compiled(small()), blobs(50, seed=1)
    history = model.fit(*blobs(60), epochs=2, verbose=0, validation_data=held)
    loss, accuracy = model.evaluate(*held, verbose=0)
    assert loss == history.history["val_loss"][-1]
    assert accuracy == history.history["val_accuracy"][-1]
    y_pred = model.predict(held[0], verbose=0)
    assert accuracy == np.mean(y_pred.argmax(-1) == held[1])
    assert loss == pytest.approx(-np.mean(np.log(y_pred[np.arange(50), held[1]])), rel=1e-6)


@pytest.mark.parametrize("optimizer", [lambda: SGD(0.05, 0.9, nesterov=True), Adam])
def test_the_same_seed_gives_the_same_bits(optimizer: Any) -> None:
    """On any number of threads, and on every instruction set with a fused multiply-add."""
    x, y = blobs(100)
    trained = []
    fused = [isa for isa in _core.available_isas() if isa != "generic"] or ["generic"]
    for isa, threads in ((isa, threads) for isa in fused for threads in (1, 2, 3)):
        with _core.forced_isa(isa), fastconv.threads(threads):
            model = Sequential(
                [
                    Conv2D(6, 5, padding="same", activation="relu", kernel_initializer="he_normal"),
                    MaxPooling2D(),
                    Conv2D(8, 3, activation="swish"),
                    Flatten(),
                    Dense(20, activation="tanh"),
                    Dense(3, activation="softmax"),
                ],
                seed=3,
            )
            compiled(model, optimizer()).fit(x, y, batch_size=32, epochs=2, verbose=0)
            trained.append(model.named_weights)
    for other in trained[1:]:
        for name, weight in other.items():
            assert_same_bits(weight, trained[0][name], name)


def test_the_order_of_training() -> None:
    x, y = blobs(40)

    def trained(model_seed: int, **options: Any) -> Array:
        model = compiled(small(model_seed), SGD(0.1))
        model.set_weights(small(0).get_weights())
        model.fit(x, y, 8, 2, 0, **options)
        return model.get_weights()[0]

    assert_same_bits(trained(1), trained(1))
    assert not np.array_equal(trained(1), trained(2))
    assert_same_bits(trained(1, seed=5), trained(2, seed=5))
    assert_same_bits(trained(1, shuffle=False), trained(2, shuffle=False))


def test_every_epoch_sees_every_example_once_in_another_order() -> None:
    seen: list[Array] = []

    class Spy(Layer):
        def _forward(self, x: Array, training: bool) -> Any:
            if training:
                seen.append(x[:, 0].copy())
            return x, lambda dy, need_dx: (dy, [])

    x = np.arange(10.0)[:, None]
    model = compiled(Sequential([Spy(), Dense(2, "softmax")], seed=0), SGD(0.0))
    model.fit(x, np.zeros(10, int), batch_size=4, epochs=2, verbose=0)
    model.fit(x, np.zeros(10, int), batch_size=4, verbose=0)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 3
    orders = [np.concatenate(seen[start : start + 3]) for start in (0, 3, 6)]
    for order in orders:
        assert sorted(order) == list(range(10))
    assert len({tuple(order) for order in orders}) == 3


def test_it_follows_torch_for_the_first_steps() -> None:
    torch = pytorch.torch()
    x, y = blobs(48)
    model = small()
    model.compile(Adam(1e-2, epsilon=1e-12), SparseCategoricalCrossentropy())
    kernel, bias, dense, dense_bias = (torch.tensor(w) for w in model.get_weights())
    weights = [kernel.permute(3, 2, 0, 1).contiguous(), bias, dense, dense_bias]
    for weight in weights:
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights, 1e-2, eps=1e-12)
    expected = []
    for _ in range(6):
        z = torch.nn.functional.conv2d(torch.tensor(x).permute(0, 3, 1, 2), weights[0], weights[1])
        z = torch.nn.functional.max_pool2d(z.relu(), 2).permute(0, 2, 3, 1).flatten(1)
        loss = torch.nn.functional.cross_entropy(z @ weights[2] + weights[3], torch.tensor(y))
        expected.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.fit(x, y, batch_size=48, epochs=6, shuffle=False, verbose=0).history["loss"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_frozen_layer_stays_as_it_is() -> None:
    model = compiled(small())
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(*blobs(20), verbose=0)
    after = model.get_weights()
    assert_same_bits(before[0], after[0])
    assert not np.array_equal(before[2], after[2])


def test_from_logits() -> None:
    x, y = blobs(60)
    layers = [Flatten(input_shape=(8, 8, 1)), Dense(3)]
    model = Sequential(layers, seed=0)
    model.compile("adam", SparseCategoricalCrossentropy(from_logits=True))
    through_softmax = Sequential([Flatten(input_shape=(8, 8, 1)), Dense(3), Softmax()], seed=0)
    through_softmax.compile("adam", "sparse_categorical_crossentropy")
    one, other = (m.fit(x, y, epochs=2, verbose=0).history for m in (model, through_softmax))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert set(one) == {"loss"}
    assert len(model.evaluate(x, y, verbose=0)) == 1


def test_progress_is_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    model = compiled(small())
    model.fit(*blobs(20), epochs=2, verbose=2, validation_data=blobs(8))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"epoch {number}/2  loss ")
        assert "  accuracy 0." in line
        assert "  val_loss " in line
        assert line.endswith(" images/s")
    model.fit(*blobs(20), verbose=0)
    assert capsys.readouterr() == ("", "")


def test_progress_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm, "tqdm", functools.partial(tqdm.tqdm, mininterval=0))
    model = compiled(small())
    model.fit(*blobs(20), verbose=1)
    model.predict(blobs(20)[0], verbose=1)
    model.evaluate(*blobs(20), verbose=1)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    for words in ("epoch 1/1", "20.0/20.0", "images/s", "loss 2.", "predict", "evaluate"):
        assert words in err


# ----------------------------------------------------------------------------------- predicting


def test_predict_does_not_depend_on_the_batch_size() -> None:
    model, x = small(), blobs(23)[0]
    whole = model.predict(x, batch_size=23, verbose=0)
    assert whole.shape == (23, 10)
    np.testing.assert_allclose(whole, model(x), rtol=1e-5)
    for batch_size in (1, 5, 100, None):
        assert_same_bits(model.predict(x, batch_size, verbose=0), whole)
    assert model.predict(x[:0]).shape == (0, 10)


def test_predict_packs_once_and_again_when_weights_or_size_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[Any] = []
    pack = functional.pack_kernel

    def spy(kernel: Array, **geometry: Any) -> Any:
        packed.append(geometry["input_size"])
        return pack(kernel, **geometry)

    monkeypatch.setattr(functional, "pack_kernel", spy)
    model = compiled(small())
    x, y = blobs(10)
    for _ in range(3):
        model.predict(x, batch_size=4, verbose=0)
    assert packed == [(8, 8)]
    before = model.predict(x, verbose=0)
    conv: Any = model.layers[0]
    conv.kernel = -conv.kernel
    after = model.predict(x, verbose=0)
    assert packed == [(8, 8)] * 2
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, model(x), rtol=1e-5)
    model.fit(x, y, verbose=0, validation_data=(x, y))
    model.evaluate(x, y, verbose=0)
    assert packed == [(8, 8)] * 2
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x), rtol=1e-5)

    free = Sequential([Conv2D(2, 3, input_shape=(None, None, 1))])
    for size in (8, 9, 9, 8):
        free.predict(np.zeros((1, size, size, 1)))
    assert packed == [(8, 8)] * 4 + [(9, 9), (8, 8)]


# ---------------------------------------------------------------------------------------- files


def test_weights_come_back_from_a_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    model, other = small(1), small(2)
    path = tmp_path / "weights.safetensors"
    model.save_weights(path)
    other.load_weights(str(path))
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        assert_same_bits(ours, theirs)
    found = safetensors.load_file(path)
    assert set(found) == {"conv2d_1/kernel", "conv2d_1/bias", "dense_1/kernel", "dense_1/bias"}
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    model, path = small(1), tmp_path / "weights.safetensors"
    before = model.get_weights()
    right = dict(model.named_weights)
    kernel = right["conv2d_1/kernel"]
    for changed, words in (
        (
            {"conv2d_1/kernel": kernel[:2].copy()},
            r"conv2d_1/kernel as float32 of shape \(2, 3, 1, 4\)",
        ),
        ({"conv2d_1/kernel": kernel.astype(np.float64)}, "conv2d_1/kernel as float64"),
        ({"conv2d_2/kernel": kernel}, r"has \['conv2d_2/kernel'\] that the model has not"),
        ({"dense_1/bias": None}, r"lacks \['dense_1/bias'\]"),
    ):
        tensors = {name: value for name, value in {**right, **changed}.items() if value is not None}
        safetensors.save_file(tensors, path)
        with pytest.raises(ValueError, match=words) as caught:
            model.load_weights(path)
        assert str(path) in str(caught.value)
    whole = safetensors.save(right)
    for data in (b"", b"not a file of weights at all", whole[:-5], whole[:20]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="not a safetensors file"):
            model.load_weights(path)
    with pytest.raises(FileNotFoundError):
        model.load_weights(tmp_path / "nothing")
    for ours, old in zip(model.get_weights(), before, strict=True):
        assert_same_bits(ours, old)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors.numpy")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        small().save_weights(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_set_weights_takes_all_or_none() -> None:
    model = small(0)
    before = model.get_weights()
    for wrong in (before[:-1], [*before[:-1], before[-1][:-1]]):
        with pytest.raises(ValueError, match=r"has 4 weights, received 3|dense_1/bias"):
            model.set_weights([np.zeros_like(w) for w in wrong])
        for ours, old in zip(model.get_weights(), before, strict=True):
            assert_same_bits(ours, old)


# --------------------------------------------------------------------------------------- errors


def test_layers_that_do_not_fit_are_named_with_their_shapes() -> None:
    model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 1)), Flatten()])
    with pytest.raises(
        ValueError,
        match=r"'conv2d_2' cannot follow layer 'flatten_1', which gives shape \(None, 144\)",
    ):
        model.add(Conv2D(4, 3))
    assert [layer.name for layer in model.layers] == ["conv2d_1", "flatten_1"]
    assert model.output_shape == (None, 144)
    late = Sequential([MaxPooling2D(4), Conv2D(4, 3)])
    with pytest.raises(
        ValueError, match=r"'conv2d_1' cannot follow layer 'max_pooling2d_1'.*\(None, 2, 2, 1\)"
    ):
        late(np.zeros((1, 8, 8, 1)))
    with pytest.raises(
        ValueError, match=r"'conv2d_1' cannot follow inputs of shape \(None, 8, 8\)"
    ):
        Sequential([Conv2D(4, 3, input_shape=(8, 8))])


def test_what_a_model_cannot_hold() -> None:
    layer = Dense(2)
    model = Sequential([layer])
    with pytest.raises(ValueError, match="name 'dense_1' is taken"):
        model.add(layer)
    with pytest.raises(TypeError, match="layer must be a Layer, received <class"):
        model.add(Dense)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no layers"):
        Sequential().build((None, 3))
    for seed, error in ((-1, ValueError), (True, TypeError), (1.5, TypeError)):
        with pytest.raises(error, match="seed must be"):
            Sequential(seed=seed)  # type: ignore[arg-type]


def test_an_unbuilt_model_says_so() -> None:
    model = Sequential([Dense(2)])
    for use in (
        lambda: model.output_shape, model.summary, model.count_params, model.get_weights,
        lambda: model.set_weights([]), lambda: model.save_weights("never"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="model 'sequential' is not built yet"):
            use()


def test_an_uncompiled_model_says_so() -> None:
    for use in (small().fit, small().evaluate):
        with pytest.raises(ValueError, match="not compiled yet: call compile first"):
            use(*blobs(4))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"x": np.zeros((3, 8, 8, 1))}, ValueError, r"same number.*\(3, 8, 8, 1\) and \(4,\)"),
        ({"x": np.zeros((0, 8, 8, 1)), "y": []}, ValueError, "at least one"),
        ({"x": np.zeros((4, 9, 8, 1))}, ValueError, r"8, 8, 1\), received shape \(None, 9, 8, 1\)"),
        ({"x": np.zeros((4, 8, 8))}, ValueError, r"built for.*received shape \(None, 8, 8\)"),
        ({"y": [0, 1, 2, 10]}, ValueError, r"0\.\.9.*received 10"),
        ({"y": [0.0, 1, 2, 3]}, TypeError, "y_true must hold integers"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, received 0"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, received 0"),
        ({"shuffle": "batch"}, TypeError, "shuffle must be True or False"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"verbose": 3}, ValueError, "verbose must be 'auto', 0, 1 or 2, received 3"),
        ({"validation_data": blobs(3)[0]}, ValueError, r"validation_data must be a pair \(x, y\)"),
        ({"validation_data": (blobs(3)[0], [1])}, ValueError, r"validation_data\[0\] and"),
        ({"callbacks": []}, TypeError, "callbacks"),
    ],
)  # fmt: skip
def test_what_fit_refuses(arguments: Any, error: type[Exception], words: str) -> None:
    model = compiled(small())
    before = model.get_weights()
    x, y = blobs(4)
    with pytest.raises(error, match=words):
        model.fit(**{"x": x, "y": y, "verbose": 0, **arguments})
    for ours, old in zip(model.get_weights(), before, strict=True):
        assert_same_bits(ours, old)


def test_what_compile_refuses() -> None:
    loss = "sparse_categorical_crossentropy"
    for arguments, error, words in (
        ({"optimizer": "lion"}, ValueError, "optimizer must be one of"),
        ({"loss": "hinge"}, ValueError, "loss must be one of"),
        ({"metrics": "accuracy"}, TypeError, "metrics must be a list"),
        ({"metrics": ["auc"]}, ValueError, "a metric must be one of"),
        ({"metrics": ["acc", "acc"]}, ValueError, "names of their own"),
        ({"loss_weights": [1.0]}, TypeError, "loss_weights"),
    ):
        with pytest.raises(error, match=words):
            small().compile(**{"optimizer": "sgd", "loss": loss, **arguments})


def test_a_diverging_loss_is_shown_as_nan() -> None:
    model = compiled(small(), SGD(1e30))
    with np.errstate(all="ignore"):
        history = model.fit(*blobs(40), batch_size=8, epochs=2, verbose=0)
    assert math.isnan(history.history["loss"][-1])
