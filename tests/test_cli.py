"""The command: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import cli
from fastconv.datasets import fashion_mnist
from fastconv.models import lenet5

FILES = {"weights.safetensors", "loss.png", "filters.png", "feature_maps.png"}
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, where Fashion-MNIST is not found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCONV_DATA", str(tmp_path / "nowhere"))


@pytest.fixture
def extras() -> None:
    for module in ("matplotlib", "safetensors", "sklearn"):
        pytest.importorskip(module)


def test_train_on_the_digits(tmp_path: Path, capsys: Output, extras: None) -> None:
    assert cli.main(["train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"test accuracy 0\.\d{4}", lines[-1])
    assert float(lines[-1].split()[-1]) > 0.97
    assert "Training on the digits instead" in lines[0]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 40
    for words in ("loss ", "accuracy ", "val_accuracy ", "images/s"):
        assert words in epochs[-1]
    folder = tmp_path / "fastconv-train"
    assert {path.name for path in folder.iterdir()} == FILES
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    model = lenet5()
    model.load_weights(folder / "weights.safetensors")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_the_seed_and_not_the_threads_decide(tmp_path: Path, capsys: Output, extras: None) -> None:
    before = fastconv.get_num_threads()
    written, last = [], []
    try:
        for number, options in enumerate((["--threads", "1"], ["--threads", "2"], ["--seed", "1"])):
            folder = tmp_path / str(number)
            short = ["--epochs", "1", "--batch-size", "100", "--output", str(folder)]
            assert cli.main(["train", "--dataset", "digits", *short, *options]) == 0
            written.append((folder / "weights.safetensors").read_bytes())
            last.append(capsys.readouterr().out.splitlines()[-1])
    finally:
        fastconv.set_num_threads(before)
    assert written[0] == written[1] != written[2]
    assert last[0] == last[1]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="root may write anywhere else")
def test_a_folder_that_takes_no_files_is_found_before_the_training(
    capsys: Output, extras: None
) -> None:
    assert cli.main(["train", "--dataset", "digits", "--output", "/proc/self"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("fastconv: ")
    assert "/proc/self" in printed.err
    assert not printed.out


def test_train_on_fashion_mnist(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, extras: None
) -> None:
    rng = np.random.default_rng(0)

    def few(data_dir: str | None) -> object:
        assert data_dir is None
        return tuple(
            (rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8))
            for n in (64, 32)
        )

    monkeypatch.setattr(fashion_mnist, "load_data", few)
    assert cli.main(["train", "--output", str(tmp_path / "deep/er")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Fashion-MNIST: 64 images to train with, 32 to test")
    assert out.count("epoch ") == 5
    assert {path.name for path in (tmp_path / "deep/er").iterdir()} == FILES


def test_info(capsys: Output) -> None:
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert fastconv.__version__ in out
    for words in ("instruction set: ", "generic", f"threads: {fastconv.get_num_threads()}"):
        assert words in out
    assert re.search(r"compiler: \w+", out)


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fastconv", "info"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"fastconv {fastconv.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required: {train,info}"),
        (["fly"], "invalid choice: 'fly'"),
        (["train", "--dataset", "mnist"], "invalid choice: 'mnist'"),
        (["train", "--epochs", "0"], "--epochs: must be an integer of at least 1, received '0'"),
        (["train", "--batch-size", "1.5"], "--batch-size: must be an integer of at least 1"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--threads", "many"], "--threads: must be an integer of at least 1"),
    ],
)
def test_wrong_words(arguments: list[str], words: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "fashion-mnist"], "dataset-fashion-mnist"),
        (["--threads", "1025"], "argument --threads: n must be an int from 1 to 1024"),
        (["--data-dir", "somewhere"], "Fashion-MNIST is not in somewhere"),
        (["--dataset", "digits", "--data-dir", "x"], "--data-dir is the folder of Fashion-MNIST"),
    ],
)
def test_what_cannot_be_had(
    arguments: list[str], words: str, capsys: Output, tmp_path: Path, extras: None
) -> None:
    assert cli.main(["train", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fastconv: ")
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_no_folder(tmp_path: Path, capsys: Output, extras: None) -> None:
    (tmp_path / "taken").write_text("")
    assert cli.main(["train", "--dataset", "digits", "--output", "taken"]) == 1
    assert "taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("matplotlib.figure", "matplotlib"),
        ("safetensors.numpy", "safetensors"),
        ("sklearn.datasets", "scikit-learn"),
    ],
)
def test_a_missing_extra_is_told_before_training(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: Output, extras: None
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["train", "--dataset", "digits"]) == 1
    out, err = capsys.readouterr()
    assert f"needs {package}, which is not installed: pip install 'fastconv[demo]'" in err
    assert "epoch" not in out


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastconv._fastconv_core.build_info", interrupted)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "fastconv: interrupted\n"
