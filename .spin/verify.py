"""The tasks that run the tests in other ways; those of the C core alone are in c_core.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

sys.path.append(str(Path(__file__).parent))  # spin loads this file by its path
from running import ROOT, passed_on, passes_on, pytest, python, record, run


@click.command(context_settings=passes_on)
@passed_on
def isa_matrix(arguments: Sequence[str]) -> None:
    """Run the tests once for each instruction set of this CPU, chosen as a user would."""
    listing = "from fastconv import _fastconv_core as _core; print(*_core.available_isas())"
    names = subprocess.check_output([sys.executable, "-c", listing], cwd=ROOT, text=True).split()
    for name in names:
        pytest("-q", *arguments, FASTCONV_ISA=name)


@click.command(context_settings=passes_on)
@passed_on
def asan(arguments: Sequence[str]) -> None:
    """Run the tests on a C core that checks its memory and its arithmetic (gcc).

    Large results then come from memory that the sanitizer watches too, not from fastconv's pool.
    Calls of any arguments must find little memory, and are made in a run of their own.
    """
    options = "detect_leaks=0:allocator_may_return_null=1"
    little = f"{options}:max_allocation_size_mb=256"
    with _sanitized("asan", "address,undefined", "libasan.so", arguments) as test:
        test(FASTCONV_OUTPUT_POOL="0", ASAN_OPTIONS=options)
        if set(arguments) <= {"-q", "-v", "-x"}:  # no test in particular is asked for
            calls = [f"tests/test_fuzz_{name}.py" for name in ("calls", "packed")]
            test(*calls, FASTCONV_OUTPUT_POOL="0", ASAN_OPTIONS=little)


@click.command(context_settings=passes_on)
@passed_on
def tsan(arguments: Sequence[str]) -> None:
    """Run the tests on a C core that checks its threads for races (gcc)."""
    with _sanitized("tsan", "thread", "libtsan.so", arguments) as test:
        test(TSAN_OPTIONS="halt_on_error=1:die_after_fork=0")


@contextmanager
def _sanitized(
    task: str, sanitizers: str, library: str, arguments: Sequence[str]
) -> Iterator[Callable[..., None]]:
    """Build a copy of the project with gcc's sanitizers, and give what runs tests on it.

    What all runs have counted is recorded at the end.
    """
    # Python's own -fwrapv would allow what no C program may do. Addresses that nothing reads may
    # be formed.
    flags = (
        f"-fsanitize={sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer "
        "-fno-wrapv -fno-sanitize=pointer-overflow"
    )
    # C++'s library too: the sanitizer looks for it when it starts, before PyTorch brings it.
    runtime = " ".join(
        subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
        for name in (library, "libstdc++.so")
    )
    with TemporaryDirectory() as folder:
        copy, site = Path(folder, "fastconv"), Path(folder, "site")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", "*.so"))
        pip = ("-m", "pip", "install", "--no-build-isolation", "--no-deps", "--target", site, copy)
        python(*pip, CC="gcc", CFLAGS=flags, LDFLAGS=flags)
        # The package's own tests look at files, symbols and import times of a proper install, and
        # those of the benchmarks run other engines, which a sanitizer stops for reasons of theirs.
        ignored = [f"--ignore-glob=tests/test_{name}.py" for name in ("package", "benchmark*")]
        report, count, start = Path(folder, "report.xml"), 0, time.monotonic()

        def test(*suite: str, **options: str) -> None:
            nonlocal count
            # Without random addresses, since thread checking wants memory where it expects it.
            run(
                *("setarch", "-R", sys.executable, "-P", "-m", "pytest", "--capture=sys", *ignored),
                *(f"--junit-xml={report}", *suite, *arguments),
                **{"LD_PRELOAD": runtime, "PYTHONPATH": str(site), **options},
            )
            found = report.read_text(encoding="utf-8")
            skipped = sum(map(int, re.findall(r' skipped="(\d+)"', found)))
            count += int(re.search(r' tests="(\d+)"', found)[1]) - skipped

        yield test
        words = f"spin {' '.join([task, *arguments])}"
        record(task, words, f"{count:,} tests, 0 reports", time.monotonic() - start)
