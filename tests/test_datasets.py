"""The data sets: what they hold, where they are looked for, and files that are not right."""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pytorch
from fastconv.datasets import digits, fashion_mnist

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def parts() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    made = {}
    for prefix, count in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        made[f"{prefix}-images-idx3-ubyte"] = images
        made[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, count, np.uint8)
    return made


@pytest.fixture
def folder(tmp_path: Path, parts: dict[str, Any]) -> Path:
    """A folder with the four files, two of them compressed."""
    for name, array in parts.items():
        if "labels" in name:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (tmp_path / name).write_bytes(idx(array))
    return tmp_path


# -------------------------------------------------------------------------------- Fashion-MNIST


def test_reads_plain_and_compressed_files(folder: Path, parts: dict[str, Any]) -> None:
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data(folder)
    for found, name in (
        (x_train, IMAGES), (y_train, LABELS),
        (x_test, "t10k-images-idx3-ubyte"), (y_test, "t10k-labels-idx1-ubyte"),
    ):  # fmt: skip
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, parts[name])


def test_the_real_data() -> None:
    if not DEBIAN.is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data(DEBIAN)
    assert x_train.shape == (60000, 28, 28)
    assert x_test.shape == (10000, 28, 28)
    assert np.bincount(y_train).tolist() == [6000] * 10
    assert np.bincount(y_test).tolist() == [1000] * 10
    assert len(fashion_mnist.CLASSES) == 10


def test_where_it_looks(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, empty = (tmp_path_factory.mktemp(name) for name in ("home", "empty"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("FASTCONV_DATA", str(folder))
    assert len(fashion_mnist.load_data()[0][0]) == 30
    with pytest.raises(FileNotFoundError):
        fashion_mnist.load_data(empty)

    monkeypatch.delenv("FASTCONV_DATA")
    keras = home / ".keras/datasets/fashion-mnist"
    keras.parent.mkdir(parents=True)
    keras.symlink_to(folder)
    assert len(fashion_mnist.load_data()[0][0]) == 30
    monkeypatch.setenv("FASTCONV_DATA", str(empty))  # a wish is not quietly passed over
    with pytest.raises(FileNotFoundError):
        fashion_mnist.load_data()


def test_missing_files_say_how_to_get_them(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nowhere = tmp_path_factory.mktemp("empty") / "nowhere"
    with pytest.raises(FileNotFoundError) as caught:
        fashion_mnist.load_data(nowhere)
    for words in (str(nowhere), IMAGES, "dataset-fashion-mnist", "FASTCONV_DATA", "https://"):
        assert words in str(caught.value)
    (folder / f"{LABELS}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {LABELS} "):
        fashion_mnist.load_data(folder)


def with_header(shape: tuple[int, ...], data: bytes) -> bytes:
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + data


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (IMAGES, lambda data: data[:-1], "23,520 bytes"),
        (IMAGES, lambda data: data[:16], "23,520 bytes"),
        (IMAGES, lambda data: data[:9], "only 9 bytes where the header takes 16"),
        (IMAGES, lambda data: b"", "only 0 bytes where the header takes 16"),
        (IMAGES, lambda data: data + b"\0", "23,520 bytes.*found more"),
        (IMAGES, lambda data: b"PK\3\4" + data[4:], "begins with 00000803, found 504b0304"),
        (IMAGES, lambda data: data[:8] + struct.pack(">II", 32, 32) + data[16:],
         "sizes n x 28 x 28, found 30 x 32 x 32"),
        (IMAGES, lambda data: with_header((0, 28, 28), b""), "found 0 x 28 x 28"),
        (IMAGES, lambda data: with_header((2**32 - 1, 28, 28), data[16:]), "can hold"),
        (LABELS, lambda data: data[:-3], "30 bytes"),
        (LABELS, lambda data: with_header((3, 28, 28), bytes(3 * 784)), "begins with 00000801"),
        (LABELS, lambda data: with_header((29,), bytes(29)), "30 images.*29 labels"),
        (LABELS, lambda data: data[:-1] + b"\x0a", r"labels of 0\.\.9, found 10"),
    ],
)  # fmt: skip
def test_wrong_files(
    folder: Path, parts: dict[str, Any], name: str, change: Change, words: str, compressed: bool
) -> None:
    changed = change(idx(parts[name]))
    for path in folder.glob(f"{name}*"):
        path.unlink()
    path = folder / (f"{name}.gz" if compressed else name)
    path.write_bytes(gzip.compress(changed) if compressed else changed)
    with pytest.raises(ValueError, match=words) as caught:
        fashion_mnist.load_data(folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],  # truncated
        lambda data: data[:-8],  # without its checksum
        lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],  # another checksum
        lambda data: data[:30] + bytes(60) + data[90:],  # corrupt within
    ],
)
def test_damaged_compression(folder: Path, parts: dict[str, Any], damage: Change) -> None:
    path = folder / f"{IMAGES}.gz"
    (folder / IMAGES).unlink()
    path.write_bytes(damage(gzip.compress(idx(parts[IMAGES]))))
    with pytest.raises(ValueError, match=r"truncated|corrupt|must") as caught:
        fashion_mnist.load_data(folder)
    assert str(path) in str(caught.value)


# --------------------------------------------------------------------------------------- digits


def test_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert x_train.shape == (1438, 8, 8)
    assert x_test.shape == (359, 8, 8)
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}
    assert x_train.max() == 16
    found = datasets.load_digits()
    np.testing.assert_array_equal(x_train[:5], found.images[:5])
    np.testing.assert_array_equal(x_test[y_test == 0][0], found.images[found.target == 0][4])
    np.testing.assert_array_equal(np.sort(np.concatenate([y_train, y_test])), np.sort(found.target))
    shares = np.bincount(y_test) / np.bincount(found.target)
    assert np.allclose(shares, 0.2, atol=0.006)


def test_enlarging_against_torch() -> None:
    torch = pytorch.torch()
    images = np.random.default_rng(0).random((3, 8, 8), np.float32)
    for size in (28, 8, 16, 5):
        expected = torch.nn.functional.interpolate(
            torch.tensor(images)[None], (size, size), mode="bilinear", align_corners=False
        )[0]
        found = digits.enlarge(images, size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_array_equal(digits.enlarge(images, 8), images)


def test_enlarging_keeps_a_constant_and_refuses_what_is_not_square() -> None:
    assert (digits.enlarge(np.full((1, 1), 3), 28) == 3).all()
    with pytest.raises(ValueError, match=r"images must be square.*\(2, 3\)"):
        digits.enlarge(np.zeros((2, 3)), 28)
    with pytest.raises(ValueError, match="size must be at least 1, received 0"):
        digits.enlarge(np.zeros((2, 2)), 0)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"needs scikit-learn.*pip install 'fastconv\[demo\]'"):
        digits.load_data()
