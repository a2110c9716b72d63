"""The tasks that prove the promises of the C core alone.

Each is one command, fails where a promise does not hold, and leaves what it counted in build/trust/.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parent))  # spin loads this file by its path
from running import ROOT, TESTS, record, run

EXAMPLE = ROOT / "docs" / "example.c"
SAME_BITS = TESTS / "same_bits.c"
DIGESTS = TESTS / "same_bits.txt"
BUILD = ROOT / "build" / "c"  # a folder for each compiler: the tasks share its objects

# How the C core is compiled where a warning is an error.
STRICT = ("-O2", "-Werror")


@click.command()
def c_core() -> None:
    """Compile the C core with gcc and clang, warnings as errors, and run docs/example.c."""
    with _timed() as timer:
        for compiler in _compilers():
            run(*_programs(compiler, [EXAMPLE]))
    compilers = " and ".join(_compilers())
    record("c-core", "spin c-core", f"{compilers}, 0 warnings", timer())


@click.command()
@click.option("--write", is_flag=True, help="Accept the bits of this build as the right ones.")
def digests(write: bool) -> None:
    """Compare the bits of many results with tests/same_bits.txt.

    By gcc and by clang, on each instruction set with fused multiply-add, by 1 thread and by 3.
    """
    runs = 0
    with _timed() as timer:
        for compiler in _compilers():
            (program,) = _programs(compiler, [SAME_BITS])
            for isa in _printed(program).split():
                for threads in ("1", "3"):
                    printed = _printed("env", f"FASTCONV_NUM_THREADS={threads}", program, isa)
                    if write and runs == 0:
                        DIGESTS.write_text(printed, encoding="utf-8")
                    _compare_digests(printed, f"{compiler}, {isa}, {threads} threads")
                    runs += 1
    figure = f"{_digest_count()} digests, {runs} runs, 0 differ"
    record("digests", "spin digests", figure, timer())


@click.command()
def neon() -> None:
    """Compile the C core for aarch64, run it, and compare its bits with tests/same_bits.txt.

    On x86-64 this takes aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu,
    libc6-dev-arm64-cross, qemu-user). On aarch64 the system's compiler does for the run, and the
    tables of x86-64 are compiled, where x86_64-linux-gnu-gcc is there to do it.
    """
    native = platform.machine() == "aarch64"
    emulator, compiler = ([], "cc") if native else (["qemu-aarch64"], "aarch64-linux-gnu-gcc")
    with _timed() as timer:
        # Static: there are no aarch64 libraries to look for.
        example, same_bits = _programs(compiler, [EXAMPLE, SAME_BITS], "-static")
        run(*emulator, example)
        _compare_digests(_printed(*emulator, same_bits, "neon"), "NEON")
        if native and shutil.which("x86_64-linux-gnu-gcc"):
            _programs("x86_64-linux-gnu-gcc", [EXAMPLE], "-static")
    how = "native" if native else "qemu-aarch64"
    record("neon", "spin neon", f"{_digest_count()} digests, {how}, 0 differ", timer())


# ------------------------------------------------------------------ how


@contextmanager
def _timed() -> Iterator:
    """Give a function that tells the seconds since the beginning."""
    start = time.monotonic()
    yield lambda: time.monotonic() - start


def _compilers() -> list[str]:
    found = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not found:
        raise click.ClickException("neither gcc nor clang is installed")
    return found


def _programs(
    compiler: str, programs: Sequence[Path], *flags: str, link: Sequence[str] = (), kind: str = ""
) -> list[Path]:
    """Build C programs with the C core, in a folder for this compiler and kind of build."""
    import c_program  # from tests/

    flags = flags if kind else (*STRICT, *flags)
    names = ", ".join(program.name for program in programs)
    click.secho(f"{' '.join([compiler, *flags, *link])}: csrc/ and {names}", bold=True)
    folder = BUILD / f"{compiler}{kind and '-'}{kind}"
    return c_program.build(compiler, programs, folder, *flags, link=link)


def _printed(*command: str | Path) -> str:
    """Return what a program prints; its failure ends the task."""
    done = subprocess.run([*map(str, command)], text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(map(str, command))}: status {done.returncode}")
    return done.stdout


def _digest_count() -> int:
    return len(DIGESTS.read_text(encoding="utf-8").splitlines())


def _compare_digests(printed: str, where: str) -> None:
    """Fail unless a program printed what is stored."""
    ours, stored = printed.splitlines(), DIGESTS.read_text(encoding="utf-8").splitlines()
    if ours != stored or not stored:
        click.echo("\n".join(f"+ {line}" for line in ours if line not in stored))
        click.echo("\n".join(f"- {line}" for line in stored if line not in ours))
        raise click.ClickException(f"{where}: other bits than in {DIGESTS.relative_to(ROOT)}")
    click.echo(f"{where}: {len(stored)} results have the stored bits")
