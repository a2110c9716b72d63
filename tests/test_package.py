"""What a user gets who installs fastconv: version, files, symbols, import time, README examples."""

from __future__ import annotations

import doctest
import json
import re
import shutil
import statistics
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path, PurePosixPath

import pytest

import fastconv
from fastconv import _fastconv_core as _core

ROOT = Path(__file__).resolve().parents[1]
IMPORT_MILLISECONDS = 30  # beyond NumPy's own

# Imports fastconv after NumPy, and prints the milliseconds and the modules that this took. The
# files are in memory by then, so that the processor's time is all there is, and no other process
# can add to it.
IMPORT = """
import json, sys, time
import numpy
before = set(sys.modules)
start = time.process_time()
import fastconv
seconds = time.process_time() - start
print(json.dumps([1e3 * seconds, sorted(set(sys.modules) - before)]))
"""


def text(name: str) -> str:
    """Return a file of the source tree."""
    return (ROOT / name).read_text(encoding="utf-8")


def imported() -> tuple[float, list[str]]:
    """Import fastconv in a process of its own; return the milliseconds and the modules."""
    # -P: the installed package, not the tree in the current folder.
    answer = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT], check=True, stdout=subprocess.PIPE
    )
    milliseconds, modules = json.loads(answer.stdout)
    return milliseconds, modules


def is_editable() -> bool:
    """Whether the package is used where its sources lie."""
    direct = json.loads(metadata.distribution("fastconv").read_text("direct_url.json") or "{}")
    return bool(direct.get("dir_info", {}).get("editable", False))


# ------------------------------------------------------------------ version and names


def test_version_has_one_source() -> None:
    header = re.search(r'#define FC_VERSION "(.+)"', text("csrc/fastconv.h"))
    assert header is not None
    assert fastconv.__version__ == header[1]
    assert metadata.version("fastconv") == header[1]


def test_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert first is not None
    assert first[1] == fastconv.__version__


@pytest.mark.parametrize(
    "name", ["", "activations", "callbacks", "datasets", "functional", "initializers", "layers",
             "losses", "metrics", "models", "optimizers"],
)  # fmt: skip
def test_all_names_what_there_is(name: str) -> None:
    module = import_module(f"fastconv.{name}".rstrip("."))
    names = module.__all__
    assert len(set(names)) == len(names) > 0
    assert [n for n in names if not hasattr(module, n)] == []


def test_numpy_is_the_only_dependency() -> None:
    required = metadata.requires("fastconv") or []
    assert [r for r in required if "extra ==" not in r] == ["numpy>=2"]


# ------------------------------------------------------------------ import


def test_import_takes_milliseconds() -> None:
    imported()  # writes the bytecode, reads the files
    assert statistics.median(imported()[0] for _ in range(9)) <= IMPORT_MILLISECONDS


def test_import_brings_no_optional_package() -> None:
    packages = {module.partition(".")[0] for module in imported()[1]}
    assert "fastconv" in packages
    assert packages.isdisjoint(
        {
            "matplotlib",
            "tqdm",
            "safetensors",
            "sklearn",
            "scipy",
            "importlib_metadata",
        }
    )


def test_uncompiled_tree_says_what_to_do(tmp_path: Path) -> None:
    compiled = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "fastconv", tmp_path / "fastconv", ignore=compiled)
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import fastconv"],  # no installed one either
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "pip install" in last


# ------------------------------------------------------------------ files


@pytest.mark.skipif(is_editable(), reason="an editable install has no files of its own")
def test_wheel_holds_the_package_and_nothing_else() -> None:
    files = [PurePosixPath(str(f)) for f in metadata.files("fastconv") or []]
    ours = [f for f in files if f.suffix != ".pyc"]
    places = {f.parts[0] for f in ours}
    assert places <= {"fastconv", f"fastconv-{fastconv.__version__}.dist-info", ".."}
    assert {f.suffix for f in ours if f.parts[0] == "fastconv"} == {".py", ".pyi", ".so", ".typed"}
    assert sum(f.suffix == ".so" for f in ours) == 1
    assert [f for f in ours if f.parts[0] == ".." and f.name != "fastconv"] == []  # the command
    assert any(f.name == "LICENSE" for f in ours)


def test_types_are_shipped() -> None:
    folder = Path(fastconv.__file__).parent
    assert (folder / "py.typed").is_file()
    assert (folder / "_fastconv_core.pyi").is_file()


def test_extension_exports_its_init_alone() -> None:
    tool = shutil.which("nm")
    if tool is None:
        pytest.skip("no nm")
    command = [tool, "-D", "--defined-only", "--format=posix", _core.__file__]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    symbols = {line.split()[0] for line in listing.splitlines()}
    # Old linkers add the limits of sections to every shared object.
    assert symbols - {"_init", "_fini", "_edata", "_end", "__bss_start"} == {
        "PyInit__fastconv_core"
    }


# ------------------------------------------------------------------ the README


def test_readme_examples() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", text("README.md"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 3
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "README.md", None, 0)
    assert len(example.examples) > 10
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(example).failed == 0
