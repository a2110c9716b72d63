"""The project's tasks: ``spin`` lists them, ``spin TASK --help`` says more about one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
EXAMPLE = ROOT / "docs" / "example.c"
SAME_BITS = ROOT / "tests" / "same_bits.c"

# How the C core is compiled where a warning is an error.
STRICT = ("-O2", "-Werror")

passed_on = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
passes_on = {"ignore_unknown_options": True}


def run(*command: str | Path, **environment: str) -> None:
    """Show a command and run it in the project's folder; its failure ends the task."""
    words = [str(word) for word in command]
    click.secho(f"$ {' '.join(words)}", bold=True)
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def python(*arguments: str | Path, **environment: str) -> None:
    """Run this Python."""
    run(sys.executable, *arguments, **environment)


def pytest(*arguments: str | Path, **environment: str) -> None:
    """Run pytest without the current folder on the path: the installed package is what counts."""
    python("-P", "-m", "pytest", *arguments, **environment)


# ------------------------------------------------------------------ develop


@click.command()
def build() -> None:
    """Compile fastconv and install it in place (editable)."""
    python("-m", "pip", "install", "--no-build-isolation", "--editable", ".")


@click.command(context_settings=passes_on)
@passed_on
def test(arguments: Sequence[str]) -> None:
    """Run the tests: spin test [PYTEST ARGUMENTS]."""
    pytest(*arguments)


@click.command()
@click.option("--fix", is_flag=True, help="Correct what can be corrected.")
def lint(fix: bool) -> None:
    """Check style, types and formatting of Python and C."""
    python("-m", "ruff", "check", *(["--fix"] if fix else []))
    python("-m", "ruff", "format", *([] if fix else ["--check"]))
    python("-m", "mypy")
    sources = sorted([*(ROOT / "csrc").rglob("*.[ch]"), *ROOT.glob("docs/*.c"), SAME_BITS])
    run("clang-format", *(["-i"] if fix else ["--dry-run", "-Werror"]), *sources)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; fail where something would change.")
def docs(check: bool) -> None:
    """Copy the C program into docs/c-api.md, and measured figures into the pages that show them."""
    stale = [path.name for path, text in _filled() if _differs(path, text, write=not check)]
    if check and stale:
        raise click.ClickException(f"out of date: {', '.join(stale)} (run: spin docs)")
    click.echo(f"updated: {', '.join(stale)}" if stale else "up to date")


@click.command(context_settings=passes_on)
@passed_on
def bench(arguments: Sequence[str]) -> None:
    """Time fastconv alone: spin bench [PYTEST-BENCHMARK ARGUMENTS]."""
    pytest("benchmarks", *arguments)


@click.command(context_settings=passes_on)
@passed_on
def compare(arguments: Sequence[str]) -> None:
    """Time fastconv against its peers and write benchmarks/RESULTS.md: spin compare [ARGUMENTS]."""
    python("-m", "benchmarks.compare", *arguments)


@click.command(context_settings=passes_on)
@passed_on
def choice(arguments: Sequence[str]) -> None:
    """Hold algorithm="auto" to its alternatives: spin choice [ARGUMENTS]."""
    python("-m", "benchmarks.choice", *arguments)


@click.command(context_settings=passes_on)
@passed_on
def track(arguments: Sequence[str]) -> None:
    """Compare two revisions by instructions and by time: spin track REV1 [REV2] [ARGUMENTS]."""
    python("-m", "benchmarks.track", *arguments)


# ------------------------------------------------------------------ verify


@click.command(context_settings=passes_on)
@passed_on
def isa_matrix(arguments: Sequence[str]) -> None:
    """Run the tests once for each instruction set of this CPU, chosen as a user would."""
    listing = "from fastconv import _fastconv_core as _core; print(*_core.available_isas())"
    names = subprocess.check_output([sys.executable, "-c", listing], cwd=ROOT, text=True).split()
    for name in names:
        pytest("-q", *arguments, FASTCONV_ISA=name)


@click.command()
def c_core() -> None:
    """Compile the C core with gcc and clang, warnings as errors, and run docs/example.c."""
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not compilers:
        raise click.ClickException("neither gcc nor clang is installed")
    for compiler in compilers:
        with TemporaryDirectory() as folder:
            run(*_programs(compiler, [EXAMPLE], folder, *STRICT))


@click.command()
def neon() -> None:
    """Compile the C core for aarch64, run it, and compare its bits with this machine's.

    On x86-64 this takes aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu,
    libc6-dev-arm64-cross, qemu-user); on aarch64 the compiler of the system.
    """
    with TemporaryDirectory() as there, TemporaryDirectory() as here:
        if platform.machine() == "aarch64":
            run(*_programs("cc", [EXAMPLE], here, *STRICT))
            return
        both = [EXAMPLE, SAME_BITS]  # static: there are no aarch64 libraries to look for
        example, theirs = _programs("aarch64-linux-gnu-gcc", both, there, *STRICT, "-static")
        run("qemu-aarch64", example)
        (ours,) = _programs("cc", [SAME_BITS], here, *STRICT)
        _compare_bits(["qemu-aarch64", theirs], [ours])


@click.command(context_settings=passes_on)
@passed_on
def asan(arguments: Sequence[str]) -> None:
    """Run the tests on a C core that checks its memory and its arithmetic (gcc)."""
    options = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    _sanitized("address,undefined", "libasan.so", arguments, options)


@click.command(context_settings=passes_on)
@passed_on
def tsan(arguments: Sequence[str]) -> None:
    """Run the tests on a C core that checks its threads for races (gcc)."""
    _sanitized(
        "thread", "libtsan.so", arguments, {"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0"}
    )


# ------------------------------------------------------------------ how


def _programs(compiler: str, programs: Sequence[Path], folder: str, *flags: str) -> list[Path]:
    """Build C programs with the C core."""
    import c_program  # from tests/

    click.secho(f"{compiler} {' '.join(flags)}: csrc/ and {programs[-1].name}", bold=True)
    return c_program.build(compiler, programs, Path(folder), *flags)


def _compare_bits(one: Sequence[str | Path], other: Sequence[str | Path]) -> None:
    """Fail unless two programs print the same."""
    printed = [subprocess.check_output([str(word) for word in program]) for program in (one, other)]
    if printed[0] != printed[1] or not printed[0]:
        click.echo(b"\n".join(printed))
        raise click.ClickException("the bits differ")
    click.echo(f"{len(printed[0].splitlines())} results have the same bits")


def _sanitized(
    sanitizers: str, library: str, arguments: Sequence[str], options: dict[str, str]
) -> None:
    """Build a copy of the project with gcc's sanitizers and run the tests on it."""
    flags = f"-fsanitize={sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer"
    runtime = subprocess.check_output(["gcc", f"-print-file-name={library}"], text=True).strip()
    with TemporaryDirectory() as folder:
        copy, site = Path(folder, "fastconv"), Path(folder, "site")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", "*.so"))
        pip = ("-m", "pip", "install", "--no-build-isolation", "--no-deps", "--target", site, copy)
        python(*pip, CC="gcc", CFLAGS=flags, LDFLAGS=flags)
        # The package's own tests look at files, symbols and import times of a proper install.
        test = ("-P", "-m", "pytest", "--capture=sys", "--ignore=tests/test_package.py", *arguments)
        # Without random addresses, since thread checking wants memory where it expects it.
        run(
            "setarch",
            "-R",
            sys.executable,
            *test,
            LD_PRELOAD=runtime,
            PYTHONPATH=str(site),
            **options,
        )


def _differs(path: Path, text: str, *, write: bool) -> bool:
    """Whether a file is not yet what it should be; makes it so."""
    if path.read_text(encoding="utf-8") == text:
        return False
    if write:
        path.write_text(text, encoding="utf-8")
    return True


def _filled() -> list[tuple[Path, str]]:
    """The pages that hold copies, with those brought up to date."""
    page, readme = ROOT / "docs" / "c-api.md", ROOT / "README.md"
    program = EXAMPLE.read_text(encoding="utf-8")
    sys.path.append(str(ROOT))
    from benchmarks import figures

    results = figures.RESULTS.read_text(encoding="utf-8") if figures.RESULTS.is_file() else ""
    return [
        (figures.PAGE, figures.filled(figures.PAGE.read_text(encoding="utf-8"), results)),
        (page, _between(page, "```c\n", "```", program)),
        (readme, _between(readme, "<!-- table:begin -->\n", "<!-- table:end -->", _table())),
    ]


def _between(path: Path, begin: str, end: str, text: str) -> str:
    """The file with the text between two marks replaced."""
    head, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, mark, tail = rest.partition(end)
    if not mark:
        raise click.ClickException(f"{path.name}: no {begin.strip()} ... {end}")
    return f"{head}{begin}{text}{end}{tail}"


def _table() -> str:
    """The facts and the means of channels_last of benchmarks/RESULTS.md."""
    results = ROOT / "benchmarks" / "RESULTS.md"
    if not results.is_file():
        return "\n`spin compare` measures, and `spin docs` puts the means here.\n\n"
    introduction, *sections = results.read_text(encoding="utf-8").split("\n## ")
    facts = introduction.partition("\n\n")[2].replace("](", "](benchmarks/").strip()
    means = [s.strip() for s in sections if s.startswith("Geometric") and "channels_last\n" in s]
    return "\n" + "\n\n".join([facts, *(f"### {mean}" for mean in means)]) + "\n\n"
