"""Weights and whole models in files, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from closeness import assert_same_bits
from fastconv.activations import ActivationFunction
from fastconv.initializers import Constant, HeNormal
from fastconv.layers import (
    BatchNormalization,
    CenterCrop,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Input,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    Rescaling,
    Reshape,
    SeparableConv2D,
    SpatialDropout2D,
    ZeroPadding2D,
)
from fastconv.models import Sequential, load_model
from networks import small

Array = npt.NDArray[Any]


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


def test_transposed_weights_come_back_from_a_file(tmp_path: Path) -> None:
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(0)
    model = Sequential([Conv2D(4, 3, input_shape=(5, 5, 2)), Dense(3)], seed=0)
    torch_s = rng.random((4, 2, 3, 3), np.float32)
    model.layers[0].kernel = torch_s.transpose(2, 3, 1, 0)
    model.layers[1].set_weights([rng.random((3, 4), np.float32).T, np.ones(3, np.float32)])
    x = rng.random((2, 5, 5, 2))
    expected = model(x)
    model.save(path)
    assert_same_bits(load_model(path)(x), expected)
    model.load_weights(path)
    assert_same_bits(model.layers[0].kernel, torch_s.transpose(2, 3, 1, 0))
    assert_same_bits(model(x), expected)


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


def test_a_name_as_long_as_any(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / ("x" * 255)
    small(1).save(path)
    assert_same_bits(load_model(path).get_weights()[0], small(1).get_weights()[0])


def test_a_link_stays_one(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "there").mkdir()
    link, file = tmp_path / "link", tmp_path / "there" / "file"
    link.symlink_to(file)
    for seed in (1, 2):  # the file is not there yet, and then it is
        small(seed).save(link)
        assert link.is_symlink()
        assert_same_bits(load_model(file).get_weights()[0], small(seed).get_weights()[0])
    assert [*(tmp_path / "there").iterdir()] == [file]


def test_a_private_file_stays_private(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    small(1).save(path)
    path.chmod(0o600)
    small(2).save(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(ValueError, match=f"{path} is there and is no file"):
            small(1).save(path)
    assert pipe.is_fifo()
    assert [*tmp_path.iterdir()] == [pipe]


def test_set_weights_takes_all_or_none() -> None:
    model = small(0)
    before = model.get_weights()
    for wrong in (before[:-1], [*before[:-1], before[-1][:-1]]):
        with pytest.raises(ValueError, match=r"has 4 weights, received 3|dense_1/bias"):
            model.set_weights([np.zeros_like(w) for w in wrong])
        for ours, old in zip(model.get_weights(), before, strict=True):
            assert_same_bits(ours, old)


# ---------------------------------------------------------------------------------- whole models


def deep() -> Sequential:
    """Make a model of many kinds of layers, with arguments of many kinds."""
    layers = [
        Input((12, 10, 3)),
        CenterCrop(10, 8),
        Rescaling(1 / 255, offset=-0.5),
        ZeroPadding2D(((1, 0), (2, 1))),
        Conv2D(4, (3, 2), 2, "same", activation="swish", kernel_initializer=HeNormal(seed=3)),
        BatchNormalization(momentum=0.9),
        LeakyReLU(0.2),
        SeparableConv2D(6, 3, padding=((1, 1), (1, 1)), name="apart"),
        Conv2DTranspose(2, 3, 2, "same", use_bias=False, bias_initializer=Constant(0.5)),
        SpatialDropout2D(0.25),
        MaxPooling2D(2, trainable=False),
        Reshape((-1,)),
        Dropout(0.5, seed=4),
        Dense(5, "softmax"),
    ]
    return Sequential(layers, name="deep", seed=1)


def test_a_model_comes_back_from_one_file(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    model, path = deep(), tmp_path / "model.safetensors"
    model.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3))
    model.fit(x, np.arange(6) % 5, verbose=0)
    model.layers[3].trainable = False
    model.save(path)
    again = load_model(path)
    assert again.get_config() == model.get_config()
    assert again.name == "deep"
    assert again.output_shape == model.output_shape == (None, 5)
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in model.layers]
    assert list(again.named_weights) == list(model.named_weights)
    assert not again.layers[3].trainable
    assert_same_bits(again(x), model(x))
    assert_same_bits(again.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="'deep' is not compiled yet"):
        again.evaluate(x, np.arange(6) % 5)
    with safetensors.safe_open(path, "np") as file:
        architecture = json.loads(file.metadata()["fastconv.architecture"])
    assert architecture["class_name"] == "Sequential"
    other = deep()
    other.load_weights(path)  # a model's file is a file of weights, too
    assert_same_bits(other(x), model(x))


def test_sizes_left_open_and_float64_come_back(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = Sequential([Conv2D(2, 3, dtype="float64", input_shape=(None, None, 1))])
    model.save(path)
    again = load_model(path)
    assert again.input_shape == (None, None, None, 1)
    x = np.random.default_rng(0).random((1, 7, 9, 1))
    assert_same_bits(again(x), model(x))


class Doubling(Layer):
    """A layer that is not fastconv's own."""

    def __init__(self, times: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.times = times

    def _forward(self, x: Array, training: Any) -> Any:
        return x * self.times, lambda dy, need_dx: (dy * self.times, [])


def test_layers_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    Sequential([Doubling(3, input_shape=(2,)), Dense(1)]).save(path)
    with pytest.raises(ValueError, match=r"'Doubling' is no Layer.*custom_objects") as e:
        load_model(path)
    assert str(path) in str(e.value)
    refused = r"custom_objects\['Doubling'\] must be a class derived from Layer"
    for wrong in (3, Doubling(), dict):
        with pytest.raises(ValueError, match=refused):
            load_model(path, {"Doubling": wrong})  # type: ignore[dict-item]
    again = load_model(path, {"Doubling": Doubling})
    assert again.layers[0]([[1.0, 2.0]]).tolist() == [[3.0, 6.0]]


class Classifier(Sequential):
    """A model of one's own class."""


def test_models_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    Classifier([Dense(1, input_shape=(2,))]).save(path)
    unknown = r"'Classifier' is no Sequential of fastconv.*custom_objects"
    with pytest.raises(ValueError, match=unknown):
        load_model(path)
    refused = r"custom_objects\['Classifier'\] must be a class derived from Sequential"
    for wrong in (3, Dense, Sequential([])):
        with pytest.raises(ValueError, match=refused):
            load_model(path, {"Classifier": wrong})  # type: ignore[dict-item]
    assert type(load_model(path, {"Classifier": Classifier})) is Classifier


def test_a_layer_of_ones_own_with_a_name_of_fastconvs(tmp_path: Path) -> None:
    own, path = type("Dense", (Doubling,), {}), tmp_path / "model.safetensors"
    Sequential([own(3, input_shape=(2,))]).save(path)
    with pytest.raises(ValueError, match=r"'Dense' is no Layer of fastconv.*custom_objects"):
        load_model(path)
    again = load_model(path, {"Dense": own})
    assert again([[1.0, 2.0]]).tolist() == [[3.0, 6.0]]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    own = ActivationFunction("own", lambda x: x, lambda dy, y, x: dy)

    class Forgetful(Layer):
        def __init__(self, size: int, **options: Any) -> None:
            super().__init__(**options)

        _forward = Doubling._forward

    for layer, words in (
        (Dense(2, own, input_shape=(3,)), "'activation' of layer 'dense_1', a Dense.*'own' is not"),
        (Forgetful(3, input_shape=(3,)), "'size' of layer 'forgetful_1', a Forgetful, cannot be"),
    ):
        with pytest.raises(TypeError, match=words):
            Sequential([layer]).save(path)
    with pytest.raises(ValueError, match="not built yet"):
        Sequential([Dense(2)]).save(path)
    assert list(tmp_path.iterdir()) == []


def changed(path: Path, change: Any) -> None:
    """Write a model's file anew, its architecture changed."""
    safetensors = pytest.importorskip("safetensors")
    numpy_files = pytest.importorskip("safetensors.numpy")
    with safetensors.safe_open(path, "np") as file:
        architecture = json.loads(file.metadata()["fastconv.architecture"])
    tensors = numpy_files.load_file(path)
    text = change(architecture)
    words = {"fastconv.architecture": text if isinstance(text, str) else json.dumps(architecture)}
    numpy_files.save_file(tensors, path, words)


def first(architecture: Any) -> Any:
    """Return the arguments of a model's first layer."""
    return architecture["config"]["layers"][0]["config"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: "{", "cannot be used.*Expecting"),
        (lambda a: "[" * 100_000, "cannot be used"),
        (lambda a: "[]", "describes no Sequential"),
        (lambda a: a.update(class_name="os.system"), "os.system. is no Sequential of fastconv"),
        (lambda a: a["config"].pop("layers"), "must have name, seed, input_shape and layers"),
        (lambda a: a["config"].update(seed=-3), "seed must be at least 0"),
        (lambda a: a["config"].update(input_shape=["x"]), "input_shape"),
        (lambda a: a["config"]["layers"].append(3), "must have class_name and config, received 3"),
        (lambda a: a["config"]["layers"][0].update(class_name="system"), "'system' is no Layer"),
        (lambda a: a["config"]["layers"][0].update(class_name="Layer"), "'Layer' is no Layer"),
        (lambda a: a["config"]["layers"][0].update(class_name="Step"), "'Step' is no Layer"),
        (lambda a: first(a).update(x=1), "Conv2D has no argument 'x'"),
        (lambda a: first(a).pop("filters"), "no Conv2D can be made"),
        (lambda a: first(a).update(filters=-1), "filters must be"),
        (lambda a: first(a).update(filters=5), "holds conv2d_1/kernel"),
        (lambda a: first(a)["kernel_initializer"].update(class_name="id"), "no initializer"),
        (lambda a: first(a).update(kernel_initializer={}), "no initializer"),
        (lambda a: first(a).update(input_shape=[2, 2, 1]), "'conv2d_1' cannot follow"),
        (lambda a: a["config"].update(input_shape=[None, 9, 8, 1]), "is built for inputs"),
    ],
)  # fmt: skip
def test_architectures_that_cannot_be_used(change: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    small().save(path)
    changed(path, change)
    with pytest.raises(ValueError, match=words) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_files_that_hold_no_model(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    small().save_weights(path)
    with pytest.raises(ValueError, match=r"no architecture.*load_weights"):
        load_model(path)
    small().save(path)
    whole = path.read_bytes()
    for data in (b"", b"PK\x03\x04 a zip archive", whole[:-5], whole[:20], whole[8:]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"file\.safetensors is not a safetensors file"):
            load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nothing")
    for wrong in (None, b"file.safetensors", 3):
        for use in (load_model, small().load_weights, small().save):
            with pytest.raises(TypeError, match="the file must be a path, received"):
                use(wrong)  # type: ignore[operator]


# Python tells of all that it is asked to do; only what happens while files are read is kept.
READING = """
    import gzip, sys
    from pathlib import Path
    from fastconv.datasets import _idx
    from fastconv.models import load_model
    from networks import small

    model, images = (Path(sys.argv[1], name) for name in ("model.safetensors", "images.gz"))
    small().save(model)
    images.write_bytes(gzip.compress(bytes((0, 0, 8, 1, 0, 0, 0, 2, 1, 2))))

    def read_all():
        load_model(model).load_weights(model)
        assert _idx.read(images, (None,)).tolist() == [1, 2]

    read_all()  # imports what is wanted
    happened, reading = set(), True
    sys.addaudithook(lambda event, arguments: happened.add(event) if reading else None)
    read_all()
    reading = False
    print(*happened)
"""
RUNS_CODE = ("exec", "compile", "import", "pickle", "marshal", "os", "subprocess", "ctypes")


def test_reading_runs_no_code(tmp_path: Path) -> None:
    """No pickle, no import, nothing compiled: files are opened, and that is all."""
    pytest.importorskip("safetensors.numpy")
    command = [sys.executable, "-P", "-c", textwrap.dedent(READING), str(tmp_path)]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    happened = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "open" in happened
    assert not [event for event in happened if event.partition(".")[0] in RUNS_CODE]
