"""Builds C programs together with the C core, as a user of ``csrc/fastconv.h`` would."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

# What fastconv.h asks for; warnings are for us.
FLAGS = ("-std=c11", "-ffp-contract=off", "-pthread", "-Wall", "-Wextra", f"-I{CSRC}")


def build(
    compiler: str,
    programs: Sequence[Path],
    folder: Path,
    *flags: str,
    link: Sequence[str] = (),
    finished: Path | None = None,
    taken: str = "",
) -> list[Path]:
    """Compile every C file below csrc/ into `folder`, and each of the programs with them.

    Objects of csrc/isa/ whose names match `taken` come from `finished`, another build's folder:
    what sanitizers make of kernels takes a compiler minutes.

    Objects newer than their source and all headers are kept, so that programs that share a folder,
    a compiler and flags share the core. Returns the executables. A failure of the compiler is a
    CalledProcessError, its messages on standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(header.stat().st_mtime for header in CSRC.rglob("*.h"))

    def compile_one(source: Path) -> Path:
        target = folder / f"{'_'.join(source.relative_to(ROOT).parts)}.o"
        if finished and source.parent.name == "isa" and source.match(taken):
            return finished / target.name
        beside = max((h.stat().st_mtime for h in source.parent.glob("*.h")), default=0.0)
        changed = max(source.stat().st_mtime, newest, beside)
        if not target.exists() or target.stat().st_mtime <= changed:
            _run([compiler, *FLAGS, *flags, "-c", str(source), "-o", str(target)])
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [*programs, *sorted(CSRC.rglob("*.c"))]))
    core = [str(name) for name in objects[len(programs) :]]
    for program, compiled in zip(programs, objects, strict=False):
        target = folder / program.stem
        words = [compiler, *flags, *link, "-pthread", str(compiled), *core, "-lm"]
        _run([*words, "-o", str(target)])
    return [folder / program.stem for program in programs]


def output(command: Sequence[str | Path], **environment: str) -> str:
    """Return what a program prints; a status other than 0 is a CalledProcessError."""
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **environment},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    return done.stdout


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)
