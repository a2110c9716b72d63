"""Weights are written whole or not at all: processes that write them are killed at every moment."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.layers import Dense
from fastconv.models import Sequential, load_model
from trust_record import count

pytest.importorskip("safetensors.numpy")

KILLS = 1500 if os.environ.get("FASTCONV_TEST_PROFILE") == "long" else 25


def model_of(value: int) -> Sequential:
    """Make a model of a megabyte whose weights are all one number."""
    model = Sequential([Dense(512, input_shape=(512,))])
    model.set_weights([np.full_like(weight, value) for weight in model.get_weights()])
    return model


def write_for_ever(path: Path, began: int) -> None:
    """Write one model after the other, each with its own number."""
    models = [model_of(value) for value in range(8)]
    os.write(began, b"x")
    while True:
        for model in models:
            model.save(path)


def test_killed_writers_leave_a_whole_file(tmp_path: Path) -> None:
    """After kill -9 at any moment the file is that of one call of save, to the last byte."""
    path = tmp_path / "model.safetensors"
    start = time.perf_counter()
    model_of(0).save(path)
    several = max(0.03, 6 * (time.perf_counter() - start))  # writes, on a slow machine too
    random.seed(0)
    values, halves = set(), 0
    for _ in range(KILLS):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write_for_ever(path, writer)
            finally:
                os._exit(1)
        os.read(reader, 1)
        time.sleep(random.uniform(0, several))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        os.close(reader)
        os.close(writer)
        numbers = {float(n) for w in load_model(path).get_weights() for n in np.unique(w)}
        assert len(numbers) == 1, numbers
        values |= numbers
        for rest in tmp_path.glob(".*"):
            halves += 1
            rest.unlink()
    assert len(values) > 2, "the writers did not get to write"
    assert halves > KILLS // 10, "no writer was killed while it wrote"
    count("files", "kills", KILLS)


def test_the_data_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes are flushed to the disk, then the file gets its name."""
    happened: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def spied_fsync(file: int) -> None:
        happened.append(("fsync", os.fstat(file).st_size))
        fsync(file)

    def spied_replace(source: Any, target: Any, **words: Any) -> None:
        happened.append(("replace", Path(source).stat().st_size))
        replace(source, target, **words)

    monkeypatch.setattr("os.fsync", spied_fsync)
    monkeypatch.setattr("os.replace", spied_replace)
    path = tmp_path / "model.safetensors"
    model_of(1).save(path)
    size = path.stat().st_size
    assert happened == [("fsync", size), ("replace", size)]
