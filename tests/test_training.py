"""Training: what fit does, records, shows and refuses."""

from __future__ import annotations

import functools
import itertools
import math
import types
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
import pytorch
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv.callbacks import Callback, EarlyStopping
from fastconv.layers import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    Softmax,
)
from fastconv.losses import SparseCategoricalCrossentropy
from fastconv.models import History, Sequential, _progress
from fastconv.optimizers import SGD, Adam
from networks import blobs, compiled, small

Array = npt.NDArray[Any]


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


def test_what_an_optimizer_remembers_does_not_pass_to_a_layer_that_is_thawed() -> None:
    x = np.random.default_rng(0).random((8, 3))
    model = Sequential([Dense(3, input_shape=(3,)), Dense(3), Dense(3)], seed=0)
    model.layers[0].trainable = False
    model.compile(SGD(0.1, momentum=0.9), "mse")
    model.fit(x, x, verbose=0)
    model.layers[0].trainable, model.layers[2].trainable = True, False  # shapes are the same
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"as frozen as in the optimizer's first step.*compile"):
        model.fit(x, x, verbose=0)
    for weight, old in zip(model.get_weights(), before, strict=True):
        assert_same_bits(weight, old)
    model.compile(SGD(0.1, momentum=0.9), "mse")
    model.fit(x, x, verbose=0)
    assert_same_bits(model.layers[2].kernel, before[4])


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


def test_the_rate_of_an_epoch_that_was_stopped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.model.stop_training = True

    clock = types.SimpleNamespace(perf_counter=itertools.count().__next__)  # a second a look
    monkeypatch.setattr(_progress, "time", clock)
    compiled(small()).fit(*blobs(40), 8, verbose=2, callbacks=[Stop()])
    assert capsys.readouterr().out.endswith("  8 images/s\n")


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
        ({"x": [[1.0], [2.0, 3.0]]}, ValueError, "x cannot be made an array: .*inhomogeneous"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, received 0"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, received 0"),
        ({"shuffle": "batch"}, TypeError, "shuffle must be True or False"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"verbose": 3}, ValueError, "verbose must be 'auto', 0, 1 or 2, received 3"),
        ({"validation_data": blobs(3)[0]}, ValueError, r"validation_data must be a pair \(x, y\)"),
        ({"validation_data": (blobs(3)[0], [1])}, ValueError, r"validation_data\[0\] and"),
        ({"validation_data": blobs(3), "validation_split": 0.5}, ValueError, "cannot both be"),
        ({"validation_split": 0.9}, ValueError, "at least one example on both sides"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be.*below 1"),
        ({"callbacks": [print]}, TypeError, "callbacks must be a list of Callback objects"),
        ({"callbacks": EarlyStopping()}, TypeError, "callbacks must be a list of Callback objects"),
        ({"initial_epoch": 1}, ValueError, "epochs must be at least 2, received 1"),
        ({"sample_weight": [1.0]}, ValueError, r"each of the 4 examples.*shape \(1,\)"),
        ({"sample_weight": [1.0, 1, 1, np.nan]}, ValueError, "sample_weight.*finite"),
        ({"sample_weight": np.ones((4, 2))}, ValueError, r"sample_weight must have shape \(4,\)"),
        ({"class_weight": {10: 1.0}}, ValueError, r"classes of 0\.\.9 as keys, received 10"),
        ({"class_weight": {0: -1.0}}, ValueError, r"class_weight\[0\].*-1"),
        ({"class_weight": [1.0]}, TypeError, "class_weight must be a dict"),
        ({"class_weight": {0: 2}, "sample_weight": np.ones(4)}, ValueError, "cannot both be given"),
        ({"steps_per_epoch": 3}, TypeError, "steps_per_epoch"),
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


# ------------------------------------------------------------------------ weights of the examples


def test_sample_weights_scale_losses_and_gradients() -> None:
    """A weight of 2 is as good as an example seen twice, of 0 as one not seen: times 1 / n."""
    x, y = blobs(6)
    weighted, repeated = compiled(small(), SGD(0.1)), compiled(small(), SGD(0.1 * 5 / 6))
    weights = np.array([2.0, 1, 0, 1, 0, 1])
    chosen = [0, 0, 1, 3, 5]
    loss = weighted.fit(x, y, sample_weight=weights, shuffle=False, verbose=0).history["loss"][0]
    expected = repeated.fit(x[chosen], y[chosen], shuffle=False, verbose=0).history["loss"][0]
    assert loss == pytest.approx(expected * 5 / 6, rel=1e-6)
    for ours, theirs in zip(weighted.get_weights(), repeated.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_class_weights_are_sample_weights_by_class() -> None:
    x, y = blobs(40)
    weights = np.where(y == 1, 3.0, 1.0)
    models = [compiled(small()) for _ in range(3)]
    models[0].fit(x, y, verbose=0, class_weight={1: 3.0})
    models[1].fit(x, y, verbose=0, sample_weight=weights)
    models[2].compile("adam", "categorical_crossentropy")
    models[2].fit(x, np.eye(10)[y], verbose=0, class_weight={1: 3.0})
    for ours, theirs in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        assert_same_bits(ours, theirs)
    for ours, theirs in zip(models[0].get_weights(), models[2].get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_class_weights_of_yes_and_no() -> None:
    x, y = blobs(20, 2)
    one, other = (
        Sequential([Flatten(input_shape=(8, 8, 1)), Dense(1, "sigmoid")], seed=0) for _ in range(2)
    )
    for model in (one, other):
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    one.fit(x, y, verbose=0, class_weight={0: 0.5})
    other.fit(x, y[:, None], verbose=0, sample_weight=np.where(y == 0, 0.5, 1.0))
    assert_same_bits(one.get_weights()[0], other.get_weights()[0])


def test_weights_in_evaluation_and_validation() -> None:
    x, y = blobs(30)
    weights = np.linspace(0, 2, 30)
    model = compiled(small(), SGD(0.0))
    history = model.fit(x, y, verbose=0, validation_data=(x, y, weights)).history
    loss, accuracy = model.evaluate(x, y, verbose=0, sample_weight=weights)
    assert [loss, accuracy] == [history["val_loss"][0], history["val_accuracy"][0]]
    each, _ = SparseCategoricalCrossentropy().forward(y, model(x))
    assert loss == pytest.approx(np.mean(each * weights), rel=1e-6)
    assert accuracy == np.mean(model(x).argmax(-1) == y)


# -------------------------------------------------------------------------------- split and steps


def test_the_validation_split_is_the_end_of_the_examples() -> None:
    x, y = blobs(50)
    split, given = compiled(small()), compiled(small())
    ours = split.fit(x, y, verbose=0, validation_split=0.3).history
    theirs = given.fit(x[:35], y[:35], verbose=0, validation_data=(x[35:], y[35:])).history
    assert ours == theirs


def test_epochs_go_on_where_they_ended() -> None:
    x, y = blobs(40)
    whole, halves = compiled(small()), compiled(small())
    history = whole.fit(x, y, epochs=4, verbose=0)
    first = halves.fit(x, y, epochs=2, verbose=0)
    second = halves.fit(x, y, epochs=4, initial_epoch=2, verbose=0)
    assert second.epoch == [2, 3]
    assert first.history["loss"] + second.history["loss"] == history.history["loss"]
    assert halves.history is second


def test_train_on_batch_is_one_step_of_fit() -> None:
    x, y = blobs(20)
    one, other = compiled(small(input_shape=None)), compiled(small())
    values = one.train_on_batch(x, y)
    history = other.fit(x, y, shuffle=False, verbose=0).history
    assert values == [history["loss"][0], history["accuracy"][0]]
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        assert_same_bits(ours, theirs)
    weighted = one.train_on_batch(x, y, sample_weight=np.zeros(20))
    assert weighted[0] == 0
    with pytest.raises(ValueError, match="same number"):
        one.train_on_batch(x, y[:3])


def test_dropout_and_moving_statistics_do_not_depend_on_threads() -> None:
    x, y = blobs(60)
    trained = []
    for threads in (1, 3):
        with fastconv.threads(threads):
            layers = [
                Conv2D(4, 3),
                BatchNormalization(),
                Dropout(0.5),
                Flatten(),
                Dense(3, "softmax"),
            ]
            model = compiled(Sequential(layers, seed=1))
            model.fit(x, y, epochs=2, verbose=0, validation_split=0.2)
            trained.append(model.get_weights())
    for ours, theirs in zip(*trained, strict=True):
        assert_same_bits(ours, theirs)
