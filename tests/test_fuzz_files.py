"""Files with bytes changed, cut, doubled and put in: refused in words, or read as what they say.

Three readers are fed: IDX files (plain and compressed), weights, and whole models. Each input
starts as a valid file, is changed a few times by hypothesis, and must be answered by the documented
exception or by arrays that another reader of the format finds too; in bounded memory and time.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from closeness import same_bits
from fastconv.datasets import _idx
from fastconv.layers import BatchNormalization, Conv2D, Dense, Flatten, PReLU
from fastconv.models import Sequential, load_model
from trust_record import count

safetensors = pytest.importorskip("safetensors.numpy")

EXAMPLES = 3 * settings().max_examples
MOST_BYTES = 100_000_000  # what answering a file of a few KB may take: a weight's SPARE in float64
MOST_SECONDS = 10.0

Change = Callable[[bytes], bytes]


# ------------------------------------------------------------------------------ changes of bytes


def replaced(at: int, new: bytes) -> Change:
    """Overwrite some bytes."""
    return lambda data: data[: at % (len(data) + 1)] + new + data[at % (len(data) + 1) + len(new) :]


def inserted(at: int, new: bytes) -> Change:
    """Put some bytes in."""
    return lambda data: data[: at % (len(data) + 1)] + new + data[at % (len(data) + 1) :]


def cut(at: int, length: int) -> Change:
    """Leave some bytes out."""
    return lambda data: data[: at % (len(data) + 1)] + data[at % (len(data) + 1) + length :]


def doubled(at: int, length: int) -> Change:
    """Repeat some bytes."""
    return lambda data: data[: at + length] + data[at:]


def flipped(at: int, bit: int) -> Change:
    """Flip one bit."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data or b"\0")
        changed[at % len(changed)] ^= 1 << bit
        return bytes(changed)

    return change


def exchanged(old: bytes, new: bytes) -> Change:
    """Put some bytes in the place of others, wherever these first are."""
    return lambda data: data.replace(old, new, 1)


NUMBERS = [b"0", b"-1", b"1e9", b"null", b"true", b"4294967296", b"9223372036854775808", b"9" * 40]
WORDS = [b'"F32"', b'"F64"', b'"BF16"', b'"I8"', b'"F4"', b"[]", b"{}", b'""', b'"\\ud800"', b"NaN"]
TOKENS = [b"1", b"3", b"4", b"8", b'"dtype"', b'"shape"', b'"data_offsets"', b":", b",", b"}"]
SIZES = [struct.pack(">I", n) for n in (0, 1, 2**31, 2**32 - 1)]
LENGTHS = [struct.pack("<Q", n) for n in (0, 1, 10**8, 2**31, 2**63, 2**64 - 1)]


def changes() -> st.SearchStrategy[list[Change]]:
    """Make one to four changes, most of them near the beginning, where the lengths stand."""
    places = st.one_of(st.integers(0, 24), st.integers(0, 900), st.integers(0, 10**6))
    lengths = st.one_of(st.integers(1, 8), st.integers(1, 3000))
    pieces = st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(SIZES + LENGTHS))
    tokens = st.sampled_from(NUMBERS + WORDS + TOKENS)
    one = st.one_of(
        st.builds(replaced, places, pieces),
        st.builds(inserted, places, pieces),
        st.builds(cut, places, lengths),
        st.builds(doubled, places, lengths),
        st.builds(flipped, places, st.integers(0, 7)),
        st.builds(flipped, places, st.integers(0, 7)),
        st.builds(exchanged, tokens, tokens),
        st.builds(exchanged, tokens, tokens),
    )
    return st.lists(one, min_size=1, max_size=4)


def changed(data: bytes, by: list[Change]) -> bytes:
    """Return a file after all changes."""
    for change in by:
        data = change(data)
    return data


def answer(read: Callable[[], Any], allowed: tuple[type[Exception], ...], path: Path) -> Any:
    """Return what a reader finds, or None where it refuses the file as it may."""
    tracemalloc.start()
    start = time.process_time()
    found, message = None, str(path)
    try:
        found = read()
    except allowed as error:
        message = str(error)
    finally:
        seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(path) in message, "the message does not name the file"
    assert peak < MOST_BYTES, f"{peak:,} bytes"
    assert seconds < MOST_SECONDS
    return found


# ------------------------------------------------------------------------------------------- IDX

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
PLAIN = bytes((0, 0, 8, 3)) + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the files of this module."""
    return tmp_path_factory.mktemp("fuzz")


@given(by=changes(), compressed=st.sampled_from(["no", "yes", "then changed"]))
@settings(max_examples=EXAMPLES)
@example(by=[replaced(4, SIZES[3])], compressed="no")
@example(by=[replaced(4, SIZES[3])], compressed="yes")
@example(by=[doubled(0, 10**6)], compressed="then changed")
def test_idx(by: list[Change], compressed: str, folder: Path) -> None:
    """What is read has the shape and the bytes that the header and the rest of the file say."""
    path = folder / "images-idx3-ubyte"
    if compressed == "then changed":
        data = changed(gzip.compress(PLAIN, 1, mtime=0), by)
    else:
        data = changed(PLAIN, by)
    path.write_bytes(gzip.compress(data, 1, mtime=0) if compressed == "yes" else data)
    found = answer(lambda: _idx.read(path, (None, 28, 28)), (ValueError,), path)
    count("fuzz of files", "IDX files")
    if found is not None:
        plain = gzip.decompress(path.read_bytes()) if compressed != "no" else data
        assert plain[:4] == PLAIN[:4]
        assert found.shape == struct.unpack(">3I", plain[4:16])
        assert found.shape[1:] == (28, 28)
        assert found.tobytes() == plain[16:]


def test_compressed_zeros_without_end(folder: Path) -> None:
    """A file that unpacks to a thousand times its size is read no further than it may be."""
    path = folder / "bomb-idx3-ubyte"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(PLAIN[:16])
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert answer(lambda: _idx.read(path, (None, 28, 28)), (ValueError,), path) is None


# ------------------------------------------------------------------------------- weights, models


def network() -> Sequential:
    """Make a network whose file has tensors of several shapes."""
    layers = [
        Conv2D(4, 3, input_shape=(8, 8, 1)),
        BatchNormalization(),
        PReLU(shared_axes=(1, 2)),
        Flatten(),
        Dense(3),
    ]
    return Sequential(layers, seed=0)


NETWORK = network()


@pytest.fixture(scope="module")
def valid(folder: Path) -> bytes:
    """Return the bytes of a saved model."""
    NETWORK.save(folder / "valid.safetensors")
    return (folder / "valid.safetensors").read_bytes()


def of_the_package(path: Path) -> dict[str, Any] | None:
    """Return what the safetensors package finds in a file; None where it finds fault."""
    try:
        return dict(safetensors.load(path.read_bytes()))
    except Exception:
        return None


def header_and_data(file: bytes) -> tuple[bytes, bytes]:
    """Return the two parts of a safetensors file."""
    end = 8 + int.from_bytes(file[:8], "little")
    return file[8:end], file[end:]


def with_header(header: bytes, data: bytes) -> bytes:
    """Return a file whose header has the length it says."""
    return struct.pack("<Q", len(header)) + header + data


def changed_file(file: bytes, by: list[Change], where: str) -> bytes:
    """Change a file anywhere, or its header alone with its length set right."""
    if where == "anywhere":
        return changed(file, by)
    header, data = header_and_data(file)
    return with_header(changed(header, by), data)


anywhere_or_header = st.sampled_from(["anywhere", "header"])


@given(by=changes(), where=anywhere_or_header)
@settings(max_examples=EXAMPLES)
@example(by=[], where="anywhere")
@example(by=[replaced(0, LENGTHS[2])], where="anywhere")
@example(by=[exchanged(b'"F32"', b'"F64"')], where="header")
def test_weights(by: list[Change], where: str, valid: bytes, folder: Path) -> None:
    """What is read is what the safetensors package reads; a model takes all of it or nothing."""
    check_weights(changed_file(valid, by, where), folder)


def check_weights(file: bytes, folder: Path) -> bool:
    """Load weights from a file, compare with what the package finds; say if they were taken."""
    path = folder / "weights.safetensors"
    path.write_bytes(file)
    model = network()
    before = model.get_weights()
    read = answer(lambda: (model.load_weights(path), True), (ValueError,), path)
    count("fuzz of files", "weight files")
    if read is None:
        assert all(map(same_bits, model.get_weights(), before)), "weights have changed"
        return False
    found = of_the_package(path)
    assert found is not None, "the safetensors package refuses this file"
    for name, weight in model.named_weights.items():
        assert same_bits(weight, found[name]), name
    return True


@given(by=changes(), where=anywhere_or_header)
@settings(max_examples=EXAMPLES)
@example(by=[], where="anywhere")
@example(by=[exchanged(b'units\\": 3', b'units\\": 3000000')], where="header")
@example(by=[exchanged(b'filters\\": 4', b'filters\\": 4000000000000')], where="header")
def test_models(by: list[Change], where: str, valid: bytes, folder: Path) -> None:
    """A model that is read has the weights that the package reads."""
    path = folder / "model.safetensors"
    path.write_bytes(changed_file(valid, by, where))
    model = answer(lambda: load_model(path), (ValueError,), path)
    count("fuzz of files", "model files")
    if model is None:
        return
    found = of_the_package(path)
    assert found is not None, "the safetensors package refuses this file"
    for name, weight in model.named_weights.items():
        assert same_bits(weight, found[name]), name


# Values of every kind JSON has, put in the place of every value of a header in turn.
ODD: list[Any] = [None, True, -1, 0, 2**31, 2**70, 1.5, float("nan"), "", "x", "relu", [], {}]
ODD += [[1], [2**40, 2**40], [None], {"class_name": "Constant", "config": {"value": "x"}}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path to every value within a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield (*path, key)
        if isinstance(value[key], (dict, list)):
            yield from places(value[key], (*path, key))


def put(text: str | bytes, place: tuple[Any, ...], value: Any) -> str:
    """Return a JSON text with the value at one place replaced."""
    whole = json.loads(text)
    inner = whole
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return json.dumps(whole)


def test_headers(valid: bytes, folder: Path) -> None:
    """Every value of a header in turn is replaced by values of every kind, and by its neighbours'.

    So tensors come to lie on each other, leave gaps, and have dtypes and shapes of others.
    """
    header, data = header_and_data(valid)
    entries = json.loads(header)
    entries.pop("__metadata__")
    others = [entry["data_offsets"] for entry in entries.values()]
    others += [entry["shape"] for entry in entries.values()]
    for place in places(entries):
        for odd in [*ODD, "F64", "F16", "I32", "BOOL", "F7", *others, others[0][1], others[1][1]]:
            check_weights(with_header(put(header, place, odd).encode(), data), folder)
    for name in entries:
        twice = header[:-1].rstrip() + b"," + json.dumps({name: entries[name]}).encode()[1:]
        assert not check_weights(with_header(twice, data), folder), f"{name} stands twice"
    assert check_weights(valid, folder)


def test_architectures(valid: bytes, folder: Path) -> None:
    """Every value of an architecture in turn is replaced by values of every kind."""
    path = folder / "architecture.safetensors"
    header, data = header_and_data(valid)
    ((word, written),) = json.loads(header)["__metadata__"].items()
    for place in places(json.loads(written)):
        for odd in ODD:
            text = put(header, ("__metadata__", word), put(written, place, odd))
            path.write_bytes(with_header(text.encode(), data))
            answer(lambda: load_model(path), (ValueError,), path)
            count("fuzz of files", "architectures")
