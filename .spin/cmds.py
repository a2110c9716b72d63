"""The tasks of development: ``spin`` lists them, ``spin TASK --help`` says more about one.

What proves the project's promises is in verify.py and c_core.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parent))  # spin loads this file by its path
from running import ROOT, between, passed_on, passes_on, pytest, python, run

EXAMPLE = ROOT / "docs" / "example.c"


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
    folders = [(ROOT / "csrc").rglob("*.[ch]"), ROOT.glob("docs/*.c"), ROOT.glob("tests/*.[ch]")]
    sources = sorted(path for paths in folders for path in paths)
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


# ------------------------------------------------------------------ how


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
        (page, between(page, "```c\n", "```", program)),
        (readme, between(readme, "<!-- table:begin -->\n", "<!-- table:end -->", _table())),
    ]


def _table() -> str:
    """The facts and the means of channels_last of benchmarks/RESULTS.md."""
    results = ROOT / "benchmarks" / "RESULTS.md"
    if not results.is_file():
        return "\n`spin compare` measures, and `spin docs` puts the means here.\n\n"
    introduction, *sections = results.read_text(encoding="utf-8").split("\n## ")
    facts = introduction.partition("\n\n")[2].replace("](", "](benchmarks/").strip()
    means = [s.strip() for s in sections if s.startswith("Geometric") and "channels_last\n" in s]
    return "\n" + "\n\n".join([facts, *(f"### {mean}" for mean in means)]) + "\n\n"
