"""The C core alone, from a C compiler: the program of docs/c-api.md and the public header."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from c_program import CSRC, ROOT, build, output

EXAMPLE = ROOT / "docs" / "example.c"
SAME_BITS = ROOT / "tests" / "same_bits.c"
CPU_CHOICE = ROOT / "tests" / "cpu_choice.c"
DIGESTS = (ROOT / "tests" / "same_bits.txt").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "c-api.md").read_text(encoding="utf-8")


def fenced(language: str) -> str:
    """Return the one block of that language on the page."""
    blocks = PAGE.split(f"```{language}\n")[1:]
    assert len(blocks) == 1
    return blocks[0].split("```", 1)[0]


@pytest.fixture(scope="module")
def compiler() -> str:
    """Give the name of a C compiler: the one that made this Python, or the system's."""
    names = [(sysconfig.get_config_var("CC") or "").split(" ")[0], "cc", "gcc", "clang"]
    for name in names:
        if name and shutil.which(name):
            return name
    pytest.skip("no C compiler")


@pytest.fixture(scope="module")
def programs(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Give the programs; -O1 compiles in half of the time and computes the same."""
    sources = [EXAMPLE, SAME_BITS, CPU_CHOICE]
    return build(compiler, sources, tmp_path_factory.mktemp("programs"), "-O1")


@pytest.fixture
def example(programs: list[Path]) -> Path:
    """Give the documented program."""
    return programs[0]


def test_page_shows_the_program() -> None:
    assert fenced("c") == EXAMPLE.read_text(encoding="utf-8"), "run: spin docs"


def test_program_prints_what_the_page_says(example: Path) -> None:
    isa, printed = output([example]).split("\n", 1)
    assert isa.startswith("fastconv ")
    assert printed == fenced("text").split("\n", 1)[1]


def test_every_instruction_set_prints_the_same(example: Path) -> None:
    from fastconv import _fastconv_core as _core

    for name in _core.available_isas():
        isa, printed = output([example], FASTCONV_ISA=name).split("\n", 1)
        assert isa.endswith(f" on {name}")
        assert printed == fenced("text").split("\n", 1)[1]


def test_unknown_instruction_set_is_refused(example: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        output([example], FASTCONV_ISA="mmx")


def test_instruction_sets_are_chosen_by_what_cpu_and_system_say(programs: list[Path]) -> None:
    """For any CPU, not this one alone: AVX-512 is no choice where its registers are not saved."""
    assert output([programs[2]]).endswith(" wrong=0\n")


@pytest.mark.parametrize("threads", ["1", "2", "7"])
def test_bits_are_those_stored(programs: list[Path], threads: str) -> None:
    """Whoever changes a bit on purpose says so: spin digests --write, and why, in the commit."""
    for isa in output([programs[1]]).split():
        printed = output([programs[1], isa], FASTCONV_NUM_THREADS=threads)
        assert printed.splitlines() == DIGESTS.splitlines(), isa


def test_core_does_not_know_python() -> None:
    """csrc/ is plain C11: nothing of Python in it."""
    sources = [*CSRC.rglob("*.c"), *CSRC.rglob("*.h")]
    assert sources
    assert [s.name for s in sources if "Python.h" in s.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("standard", ["-std=c++11", "-std=c++20"])
def test_header_is_cplusplus_too(standard: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / "header.cpp"
    source.write_text('#include "fastconv.h"\nfc_status first = fc_set_num_threads(1);\n')
    flags = [standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    subprocess.run([compiler, *flags, f"-I{CSRC}", str(source)], check=True)
