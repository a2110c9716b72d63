"""What is shipped: ``python tests/supply.py DIST`` compares sdist and wheel with their lists.

The lists follow from the tree: everything written by hand is in the sdist, the package without its
Cython sources in the wheel, beside one extension that exports its init alone; nothing else is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import trust_record

ROOT = Path(__file__).resolve().parents[1]
INIT = "PyInit__fastconv_core"
LIMITS = {"_init", "_fini", "_edata", "_end", "__bss_start"}  # that old linkers add
MOST_BYTES = 2_000_000

TOP = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "README.md", "SECURITY.md")
TOP += ("pyproject.toml", "setup.py", ".clang-format", ".ci/run")
GENERATED = {"PKG-INFO", "setup.cfg"}
WRITTEN = {  # by folder, the suffixes of files that people write
    "csrc": {".c", ".h", ".ld"},
    "fastconv": {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".typed"},
    "tests": {".py", ".c", ".h", ".txt", ".supp", ".dict"},
    "benchmarks": {".py", ".md", ".png", ".json"},
    "docs": {".py", ".md", ".c", ".png", ".svg"},
    ".spin": {".py"},
}
INFO = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")


def in_tree(folder: str, suffixes: set[str]) -> set[str]:
    """List the files of a folder, leaving out what Python and pytest leave behind."""
    files = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {
        str(file)
        for file in files
        if file.suffix in suffixes and "__pycache__" not in file.parts and "build" not in file.parts
    }


def differences(what: str, found: set[str], expected: set[str]) -> list[str]:
    """Say which files are too many and too few."""
    return [
        *(f"{what} should not hold {name}" for name in sorted(found - expected)),
        *(f"{what} lacks {name}" for name in sorted(expected - found)),
    ]


def check_sdist(path: Path) -> tuple[list[str], int]:
    """Compare an sdist with the tree."""
    top = path.name.removesuffix(".tar.gz")
    with tarfile.open(path) as archive:
        odd = [m.name for m in archive if not (m.isfile() or m.isdir())]
        names = {m.name.removeprefix(f"{top}/") for m in archive if m.isfile()}
    found = {name for name in names if not name.startswith("fastconv.egg-info/")} - GENERATED
    expected = {name for name in TOP if (ROOT / name).is_file()}
    for folder, suffixes in WRITTEN.items():
        expected |= in_tree(folder, suffixes)
    wrong = differences("the sdist", found, expected)
    return wrong + [f"the sdist holds {name}, which is no plain file" for name in odd], len(names)


def check_wheel(path: Path) -> tuple[list[str], int]:
    """Compare a wheel with the tree, and look at what its extension exports."""
    version = path.name.split("-")[1]
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (library,) = [name for name in names if name.endswith(".so")] or [""]
        symbols = exported(archive.read(library)) if library else set()
    expected = in_tree("fastconv", {".py", ".pyi", ".typed"})
    expected |= {f"fastconv-{version}.dist-info/{name}" for name in INFO}
    wrong = differences("the wheel", names - {library}, expected)
    if not re.fullmatch(r"fastconv/_fastconv_core\.[\w-]+\.so", library):
        wrong.append(f"the wheel's extension is {library!r}")
    if symbols != {INIT}:
        wrong.append(f"the extension exports {sorted(symbols)}")
    if path.stat().st_size >= MOST_BYTES:
        wrong.append(f"the wheel has {path.stat().st_size:,} bytes")
    return wrong, len(names)


def exported(library: bytes) -> set[str]:
    """Return the symbols that a shared object defines for others."""
    tool = shutil.which("nm")
    if tool is None:
        raise SystemExit("nm is not installed")
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        command = [tool, "-D", "--defined-only", "--format=posix", file.name]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in listing.splitlines()} - LIMITS


def main(folder: str) -> None:
    """Check the one sdist and the one wheel of a folder."""
    start = time.perf_counter()
    (sdist,), (wheel,) = Path(folder).glob("*.tar.gz"), Path(folder).glob("*.whl")
    (wrong, in_sdist), (more, in_wheel) = check_sdist(sdist), check_wheel(wheel)
    if wrong or more:
        raise SystemExit("\n".join([*wrong, *more]))
    figure = f"{in_sdist} files in the sdist, {in_wheel} in the wheel, 1 symbol exported"
    print(figure)
    command = "python -m build --outdir DIST && python tests/supply.py DIST"
    trust_record.record("supply", command, figure, time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1])
