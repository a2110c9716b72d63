"""How a task runs programs: shown, in the project's folder, and fatal where they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
sys.path.append(str(TESTS))

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


def between(path: Path, begin: str, end: str, text: str) -> str:
    """The file with the text between two marks replaced."""
    head, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, mark, tail = rest.partition(end)
    if not mark:
        raise click.ClickException(f"{path.name}: no {begin.strip()} ... {end}")
    return f"{head}{begin}{text}{end}{tail}"


def record(name: str, command: str, figure: str, seconds: float) -> None:
    """Say what a task has proved, and leave it in build/trust/ for docs/trust.md."""
    import trust_record  # from tests/

    trust_record.record(name, command, figure, seconds)
    click.secho(f"trust: {name}: {figure} ({seconds:.0f} s)", fg="green")
