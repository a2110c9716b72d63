"""The callbacks: what they are told, and what they do with it."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from closeness import assert_same_bits
from fastconv.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
)
from fastconv.metrics import Metric
from fastconv.models import Sequential, load_model
from fastconv.optimizers import SGD
from fastconv.optimizers.schedules import ExponentialDecay
from networks import blobs, compiled, small

Array = npt.NDArray[Any]


class Script(Callback):
    """Puts given values into the logs, as if the model had reached them."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name = name
        self.values = values
        self.weights: list[list[Array]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        logs[self.name] = self.values[epoch]
        self.weights.append(self.model.get_weights())


def run(values: list[float], *callbacks: Callback, name: str = "val_loss") -> tuple[Any, Script]:
    """Train for some epochs, whose values of one name are made up."""
    model, script = compiled(small()), Script(name, values)
    x, y = blobs(8)
    told = [script, *callbacks]
    model.fit(x, y, epochs=len(values), verbose=0, validation_data=(x, y), callbacks=told)
    return model, script


def assert_has(model: Sequential, weights: list[Array]) -> None:
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        assert_same_bits(ours, theirs)


# -------------------------------------------------------------------------------------- protocol


def test_what_a_callback_is_told() -> None:
    told: list[Any] = []

    class Record(Callback):
        def on_train_begin(self, logs: dict[str, float]) -> None:
            told.append(("begin", dict(self.params)))

        def on_train_end(self, logs: dict[str, float]) -> None:
            told.append(("end", sorted(logs)))

        def on_epoch_begin(self, epoch: int, logs: dict[str, float]) -> None:
            told.append(("epoch", epoch))

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            told.append(("epoch end", epoch, sorted(logs)))

        def on_train_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
            told.append(("batch", batch))

        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            told.append(("batch end", batch, sorted(logs)))

    names = ["accuracy", "loss"]
    compiled(small()).fit(*blobs(20), 10, 2, 0, callbacks=[Record()], validation_data=blobs(4))
    steps = [("batch", 0), ("batch end", 0, names), ("batch", 1), ("batch end", 1, names)]
    params = {
        "epochs": 2, "steps": 2, "verbose": 0,
        "metrics": ["loss", "accuracy", "val_loss", "val_accuracy"],
    }  # fmt: skip
    every = sorted(params["metrics"])  # type: ignore[arg-type, type-var]
    assert told == [
        ("begin", params),
        ("epoch", 0), *steps, ("epoch end", 0, every),
        ("epoch", 1), *steps, ("epoch end", 1, every),
        ("end", []),
    ]  # fmt: skip


def test_a_method_that_is_never_called_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.on_batch_end would never be called; there is on_"):

        class Wrong(Callback):
            def on_batch_end(self, batch: int, logs: Any) -> None:
                pass


def test_a_callback_may_have_another_parent_that_watches_its_children() -> None:
    class Parent:
        words: Any = None

        def __init_subclass__(cls, **words: Any) -> None:
            cls.words = words

    class Child(Callback, Parent, colour="red"):
        pass

    assert Child.words == {"colour": "red"}


def test_stop_training_ends_an_epoch_at_once() -> None:
    class Stop(Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
            self.model.stop_training = batch == 1

    model = compiled(small())
    history = model.fit(*blobs(40), 8, 5, 0, callbacks=[Stop()])
    assert model.optimizer.iterations == 2
    assert history.epoch == [0]
    assert model.fit(*blobs(40), 8, verbose=0).epoch == [0]
    assert model.optimizer.iterations == 7


# --------------------------------------------------------------------------------- EarlyStopping


@pytest.mark.parametrize(
    ("values", "arguments", "epochs", "best"),
    [
        ([3, 2, 2.5, 1, 1, 1, 1], {"patience": 2}, 6, 3),
        ([3, 2, 2.5, 1, 1, 1, 1], {"patience": 1}, 3, 1),
        ([3, 2, 2.5, 1], {}, 3, 1),
        ([3, 4], {}, 2, 0),
        ([1, 2, 3], {"mode": "max", "patience": 1}, 3, 2),
        ([3, 2.9, 2.8, 2.7], {"min_delta": 0.5, "patience": 2}, 3, 0),
        ([3, 2.9, 2.8, 2.4], {"min_delta": 0.5, "patience": 3}, 4, 3),
        ([3, 2, 1.5, 1], {"baseline": 1.0, "patience": 2}, 4, 3),
        ([3, 2, 0.5, 1, 1, 1], {"baseline": 1.0, "patience": 3}, 6, 2),
        ([1, 5, 4, 4, 4], {"start_from_epoch": 2, "patience": 1}, 4, 2),
        ([math.nan, 2, math.nan, 1], {"patience": 2}, 4, 3),
        ([math.nan, math.nan, math.nan], {"patience": 2}, 2, None),
    ],
)
def test_early_stopping(
    values: list[float], arguments: dict[str, Any], epochs: int, best: int | None
) -> None:
    stop = EarlyStopping(restore_best_weights=True, **arguments)
    model, script = run(values, stop)
    assert len(model.history.epoch) == epochs
    assert stop.best_epoch == best
    assert stop.stopped_epoch == (
        epochs - 1 if epochs < len(values) or best != epochs - 1 else None
    )
    assert_has(model, script.weights[-1 if best is None else best])


def test_early_stopping_keeps_the_last_weights_unless_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, script = run([1, 2, 3, 4], EarlyStopping(patience=2, verbose=1))
    assert_has(model, script.weights[2])
    assert capsys.readouterr().out == "epoch 3: stopped, val_loss became no better\n"


def test_the_way_that_is_better_comes_from_the_metric() -> None:
    stop = EarlyStopping("val_accuracy", patience=1)
    model, _ = run([0.1, 0.2, 0.1, 0.3], stop, name="val_accuracy")
    assert len(model.history.epoch) == 3


def test_what_is_monitored_must_be_there() -> None:
    model = compiled(small())
    for callback in (
        EarlyStopping(),
        ReduceLROnPlateau(),
        ModelCheckpoint("x", save_best_only=True),
    ):
        with pytest.raises(ValueError, match="neither validation_data nor validation_split"):
            model.fit(*blobs(4), verbose=0, callbacks=[callback])
    assert model.optimizer.iterations == 0
    with pytest.raises(ValueError, match=r"monitors 'los', but there is only loss, accuracy"):
        model.fit(*blobs(4), verbose=0, callbacks=[EarlyStopping("los", mode="min")])
    with pytest.raises(ValueError, match="set mode to 'min' or 'max'"):
        model.fit(*blobs(4), verbose=0, callbacks=[EarlyStopping("los")])

    class Own(Metric):
        name = "own"

        def values(self, y_true: Any, y_pred: Any) -> Any:
            return np.zeros(len(y_pred))

    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[Own()])
    with pytest.raises(ValueError, match="small or a large 'own' is better"):
        model.fit(*blobs(4), verbose=0, callbacks=[EarlyStopping("own")])


# ------------------------------------------------------------------------------- ModelCheckpoint


def test_checkpoint_of_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "best.safetensors"
    keep = ModelCheckpoint(path, save_best_only=True, verbose=1)
    _, script = run([3, 1, 2, 1], keep)
    assert keep.best == 1
    assert_has(load_model(path), script.weights[1])
    lines = [f"epoch {number}: wrote {path}" for number in (1, 2)]
    assert capsys.readouterr().out.splitlines() == lines


def test_checkpoint_of_every_epoch(tmp_path: Path) -> None:
    path = tmp_path / "{epoch:02d}-{val_loss:.1f}.safetensors"
    _, script = run([3, 1], ModelCheckpoint(str(path), save_weights_only=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "01-3.0.safetensors",
        "02-1.0.safetensors",
    ]
    model = small(5)
    model.load_weights(tmp_path / "01-3.0.safetensors")
    assert_has(model, script.weights[0])
    with pytest.raises(ValueError, match="no architecture"):
        load_model(tmp_path / "01-3.0.safetensors")


def test_checkpoint_begins_where_another_training_ended(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    run([3, 2], ModelCheckpoint(path, save_best_only=True, initial_value_threshold=2.0))
    assert not path.exists()


def test_checkpoint_names_must_be_known(tmp_path: Path) -> None:
    for word in ("{val_auc}", "{0}", "{", "{epoch.number}"):
        with pytest.raises(ValueError, match=r"filepath.*cannot be filled from epoch, loss, acc"):
            run([1], ModelCheckpoint(str(tmp_path / word)))


# -------------------------------------------------------------------------------- learning rates


def test_reduce_on_plateau(capsys: pytest.CaptureFixture[str]) -> None:
    slow = ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.0002, verbose=1)
    model, _ = run([3, 2, 2, 2, 2, 2, 2, 1, 1, 1], slow)
    rates = model.history.history["learning_rate"]
    expected = [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    assert rates == [0.001 * share for share in expected]
    assert model.optimizer.learning_rate == 0.0002
    assert capsys.readouterr().out.splitlines()[0] == "epoch 4: learning rate reduced to 0.0005"


def test_learning_rate_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    schedule = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else 0.5, verbose=1)
    model = compiled(small(), SGD(1.0))
    history = model.fit(*blobs(8), epochs=3, verbose=0, callbacks=[schedule])
    assert history.history["learning_rate"] == [0.5, 0.25, 0.125]
    assert capsys.readouterr().out.splitlines()[2] == "epoch 3: learning rate 0.125"


def test_a_schedule_of_the_optimizer_is_not_overridden() -> None:
    model = compiled(small(), SGD(ExponentialDecay(0.1, 10, 0.5)))
    with pytest.raises(TypeError, match="takes it from a schedule, ExponentialDecay"):
        model.fit(*blobs(8), verbose=0, callbacks=[LearningRateScheduler(lambda e, r: 0.1)])


# ------------------------------------------------------------------------------------- CSVLogger


def test_csv_logger(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    model = compiled(small())
    first = model.fit(*blobs(8), epochs=2, verbose=0, callbacks=[CSVLogger(path)])
    log = CSVLogger(path, append=True)
    then = model.fit(*blobs(8), epochs=3, initial_epoch=2, verbose=0, callbacks=[log])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for name in ("loss", "accuracy"):
        expected = first.history[name] + then.history[name]
        assert [float(row[name]) for row in rows] == expected
    with pytest.raises(ValueError, match=r"columns epoch, loss, accuracy.*val_loss"):
        model.fit(*blobs(8), verbose=0, validation_data=blobs(4), callbacks=[log])
    model.fit(*blobs(8), verbose=0, callbacks=[CSVLogger(path, ";")])
    assert path.read_text().splitlines()[0] == "epoch;loss;accuracy"
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("lines", [["epoch,loss,accuracy"], ["epoch,loss,accuracy", "0,1.5,0.5"]])
def test_lines_are_added_to_a_file_without_a_last_end(
    lines: list[str], end: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + end, newline="")
    log = CSVLogger(path, append=True)
    compiled(small()).fit(*blobs(8), epochs=2, initial_epoch=1, verbose=0, callbacks=[log])
    found = path.read_text().splitlines()
    assert found[:-1] == lines
    assert found[-1].startswith("1,")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: EarlyStopping(patience=-1), ValueError, "patience must be at least 0"),
        (lambda: EarlyStopping(min_delta="0"), TypeError, "min_delta must be a number"),
        (lambda: EarlyStopping(mode="best"), ValueError, "mode must be 'auto', 'min' or 'max'"),
        (lambda: EarlyStopping(3), TypeError, "monitor must be a name"),
        (lambda: EarlyStopping(verbose=2), ValueError, "verbose must be 0 or 1"),
        (lambda: EarlyStopping(restore_best_weights=1), TypeError, "restore_best_weights"),
        (lambda: ReduceLROnPlateau(factor=1.0), ValueError, "factor must be.*below 1"),
        (lambda: ReduceLROnPlateau(min_lr=-1), ValueError, "min_lr"),
        (lambda: LearningRateScheduler(0.1), TypeError, "schedule must be a function"),
        (lambda: CSVLogger(None), TypeError, "filename must be a path, received None"),
        (lambda: ModelCheckpoint(b"x"), TypeError, "filepath must be a path, received b'x'"),
        (lambda: CSVLogger("x", ", "), ValueError, "separator must be one character"),
        (lambda: CSVLogger("x", "\n"), ValueError, "neither a quote nor the end of a line"),
        (lambda: ModelCheckpoint("x", save_best_only="yes"), TypeError, "save_best_only"),
    ],
)
def test_wrong_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
