"""The task that runs the proofs and writes docs/trust.md; tests/trust_table.py knows them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]


@click.command()
@click.argument("words", nargs=-1)
@click.option("--page", is_flag=True, help="Run nothing: write the page from the last runs.")
def trust(words: Sequence[str], page: bool) -> None:
    """Run every proof, or those whose command has one of the WORDS, and write docs/trust.md."""
    table = [sys.executable, str(ROOT / "tests" / "trust_table.py")]
    command = table if page else [*table, "--run", *words]
    raise SystemExit(subprocess.run(command, cwd=ROOT, check=False).returncode)
