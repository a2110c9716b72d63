"""Memory that the system refuses: MemoryError, nothing lost, and the library usable afterwards."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from c_program import ROOT

TESTS = ROOT / "tests"


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """Give the library to preload."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None or platform.libc_ver()[0] != "glibc" or "LD_PRELOAD" in os.environ:
        pytest.skip("no C compiler, another C library than glibc, or another library preloaded")
    target = tmp_path / "refuse_memory.so"
    words = [compiler, "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command = [*words, str(TESTS / "refuse_memory.c"), "-o", str(target), "-ldl"]
    subprocess.run(command, check=True)
    return target


@pytest.mark.parametrize("threads", ["1", "3"])
def test_every_request_can_be_refused(shim: Path, threads: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(TESTS / "refused_calls.py")],
        env={**os.environ, "LD_PRELOAD": str(shim), "FASTCONV_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls, refused = map(int, done.stdout.split())
    assert calls >= 15
    assert refused >= calls
