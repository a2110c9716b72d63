"""The scripts in docs/ run, and show what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


def script(name: str) -> ModuleType:
    """Import a script by its path, without running it."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_line_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    path = tmp_path / "lines.png"
    script("line_filters").main(["--output", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "maps (2, 314, 474, 2) of 2 photographs" in capsys.readouterr().out


def test_line_filters_find_lines() -> None:
    pytest.importorskip("sklearn")
    model = script("line_filters").network()
    images = np.zeros((2, 320, 480, 3), np.uint8)
    images[0, :, 240] = 255
    images[1, 160] = 255
    vertical, horizontal = model(images)
    assert vertical[:, :, 0].max() == pytest.approx(1)
    assert horizontal[:, :, 1].max() == pytest.approx(1)
    assert vertical[:, :, 1].max() == pytest.approx(0, abs=1e-6)
    assert horizontal[:, :, 0].max() == pytest.approx(0, abs=1e-6)


def test_fashion_mnist_network() -> None:
    model = script("fashion_mnist").network(seed=0)
    assert model.output_shape == (None, 10)
    assert model.count_params() == 333_526
