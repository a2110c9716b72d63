"""The table of promises: docs/trust.md, made from what the last runs have recorded.

    python tests/trust_table.py --run [WORD ...]   runs every proof (or those with a word in them)
    python tests/trust_table.py                    writes docs/trust.md and the README's line

The figures come from build/trust/ alone. What is promised, and how it is tested, stands here.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import trust_record
from trust_record import Record

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "trust.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- fuzz:begin -->\n", "<!-- fuzz:end -->"

# What `--run` runs: together they record every row. Those of pytest take a profile ("long").
PROOFS = (
    "FASTCONV_TRUST=1 pytest -q tests/test_reproducibility.py tests/test_special_values.py "
    "tests/test_memory.py tests/test_processes.py tests/test_crash_safe.py",
    "FASTCONV_TRUST=1 FASTCONV_TEST_PROFILE=long pytest -q tests/test_fuzz_calls.py "
    "tests/test_fuzz_packed.py",
    "FASTCONV_TRUST=1 FASTCONV_TEST_PROFILE=long pytest -q tests/test_fuzz_files.py",
    "FASTCONV_TRUST=1 FASTCONV_TEST_PROFILE=long pytest -q tests/test_large_arrays.py",
    "python tests/slowdown.py denormals",
    "python tests/slowdown.py oversubscription",
    "rm -rf build/dist && python -m build -q --outdir build/dist"
    " && python tests/supply.py build/dist",
    "spin c-core",
    "spin digests",
    "spin neon",
    "spin old-cpus",
    "spin guard-pages",
    "spin float-state",
    "spin no-memory",
    "spin races",
    "spin fuzz",
    "spin asan -q",
)


class Row(NamedTuple):
    """A record's name, what it stands for, and how that is tested."""

    name: str
    promise: str
    how: str


ROWS = (
    Row(
        "reproducibility",
        "The same bits for any number of threads, in any batch, memory and layout",
        "every layer of the benchmark tables, and problems that hypothesis draws: 1, 2, 3 and 7 "
        "threads, each image at every place of a batch, shuffled strides and alignments, both "
        "layouts, AVX2 against AVX-512; forward, packed, all gradients, all pooling",
    ),
    Row(
        "stored results",
        "The same bits as yesterday, and on another machine",
        "results of a fixed list, two steps of LeNet-5 among them, against tests/digests.txt",
    ),
    Row(
        "digests",
        "The same bits from gcc and from clang",
        "the C core alone, built by both, against tests/same_bits.txt",
    ),
    Row("neon", "The same bits on aarch64", "cross-compiled, under qemu, the same file"),
    Row(
        "c-core",
        "A C11 library without a warning",
        "gcc and clang, -Wall -Wextra -Werror",
    ),
    Row(
        "fuzz of calls",
        "Any argument: a documented exception with nothing written, or a right answer",
        "hypothesis puts arrays of every dtype, lie and rank, numbers to 2^70, words and None in "
        "the place of one to three arguments, packed kernels and indices of others among them; "
        "answers are compared with the NumPy reference",
    ),
    Row(
        "fuzz of files",
        "Any file: a documented exception, or what it says; bounded memory",
        "bytes, header values and architecture values of valid IDX files, weights and models "
        "changed; answers are compared with the safetensors package",
    ),
    Row(
        "fuzz",
        "Any C struct: a status, or a right answer",
        "libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer",
    ),
    Row(
        "guard-pages",
        "No byte outside an array is read or written",
        "arrays that end, or begin, at a page that faults, on every instruction set",
    ),
    Row("asan", "No fault of memory or arithmetic", "the whole suite under ASan and UBSan"),
    Row(
        "races",
        "No data race",
        "concurrent callers who share the memory of outputs, set_num_threads and fork at work, "
        "under ThreadSanitizer",
    ),
    Row(
        "no-memory",
        "Memory that is refused is a MemoryError: nothing lost, all goes on",
        "each allocation of random calls fails in turn",
    ),
    Row(
        "scratch",
        "Scratch memory is bounded, whatever the image",
        "its peak, measured on large images",
    ),
    Row(
        "memory",
        "Memory does not grow with calls",
        "right and wrong calls of everything, threads, training and files mixed: under 1 MB more "
        "at the end",
    ),
    Row(
        "large arrays",
        "Arrays of more than 2^31 elements work",
        "untouched pages of zeros with numbers at both ends, one number seen everywhere; forward, "
        "all gradients and pooling; results of 9 GB where there is the memory",
    ),
    Row(
        "processes",
        "A good neighbour: quota and affinity obeyed, any way to start a process, idle is idle, "
        "Ctrl-C leaves the model of a whole number of steps",
        "faked control groups, fork at any moment, spawn, forkserver, 64 Python threads, CPU time "
        "over a second of sleep, SIGINT at random moments of fit",
    ),
    Row(
        "oversubscription",
        "Beside other pools, no more than the lost cores is lost, and a time slice a call",
        "convolutions divided among all CPUs while another library is busy on all of them, in "
        "turns with independent callers, who lose their share alone",
    ),
    Row(
        "special values",
        "NaN and infinity reach what sees them and no bit else; denormals count as zero",
        "by every algorithm, forward and gradients, one at a time anywhere; on every thread",
    ),
    Row(
        "denormals",
        "No data make a call slow: at most 1.2x",
        "every pass on denormal inputs, weights, gradients and products, on every instruction set, "
        "on one thread, in turns with ordinary numbers",
    ),
    Row(
        "float-state",
        "The caller's floating-point state is neither heeded nor changed",
        "random calls in every rounding and flushing mode",
    ),
    Row(
        "old-cpus",
        "A CPU meets no instruction that it lacks, or whose registers the system does not save",
        "the C core under qemu with CPU models that lack them; the choice, a function of what "
        "CPUID and XCR0 say, with each bit missing",
    ),
    Row(
        "files",
        "A crash leaves the old file or the new one, whole",
        "processes that write models killed (-9) at random moments",
    ),
    Row(
        "supply",
        "What is shipped is what should be; one symbol is exported",
        "sdist and wheel against lists; auditwheel show and twine check in .ci/run",
    ),
)


def table(records: Mapping[str, Record]) -> str:
    """Return the rows of all promises; what has not been run says so."""
    lines = []
    for row in ROWS:
        found = records.get(row.name)
        command, figure = (f"`{found.command}`", found.figure) if found else ("", "not run")
        lines.append(f"| {row.promise} | {row.how} | {command} | {figure} |")
    return "\n".join(lines)


def seal(rows: str) -> str:
    """Return a hash of the rows, which a figure typed by hand does not have."""
    return hashlib.sha256(rows.encode()).hexdigest()[:12]


def page(records: Mapping[str, Record]) -> str:
    """Return docs/trust.md."""
    seconds = sum(record.seconds for record in records.values())
    rows = table(records)
    return f"""# What is promised, and what has been tried to break it

Written by `python tests/trust_table.py` from the last run of each proof ({seconds / 60:.0f} minutes
together; `spin trust` runs them all) on {machine()}, {datetime.date.today():%Y-%m-%d}.

| promise | how it is tested | command | figure |
|---|---|---|---|
{rows}

A figure counts what was tried, and every one of them passed: a failure writes nothing.

{about(records)} Seal of the table: {seal(rows)}.
"""


def about(records: Mapping[str, Record]) -> str:
    """Say whether all was tried on one and the same code, which is that of now."""
    now = trust_record.code()
    old = [row.promise for row in ROWS if row.name in records and records[row.name].code != now]
    if len(old) == len(records) > 0:
        return "All of it was tried on earlier code."
    if old:
        return f"Tried on earlier code: {'; '.join(old)}."
    return f"All of it was tried on the same code ({now})."


def machine() -> str:
    """Return the CPU and the system."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"


def fuzzed(records: Mapping[str, Record]) -> str:
    """Return the README's sentence on how many inputs were tried."""
    names = {"fuzz of calls": "Python calls", "fuzz of files": "files", "fuzz": "C calls"}
    found = [f"{what}: {records[n].figure}" for n, what in names.items() if n in records]
    return f"Fuzzed in the last run: {'; '.join(found) or 'nothing yet'}.\n"


def write() -> None:
    """Write the page and the README's line."""
    records = trust_record.recorded()
    unknown = records.keys() - {row.name for row in ROWS}
    if unknown:
        raise SystemExit(f"no row for {sorted(unknown)}")
    PAGE.write_text(page(records), encoding="utf-8")
    head, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise SystemExit(f"README.md: no {BEGIN.strip()} ... {END}")
    README.write_text(f"{head}{begin}{fuzzed(records)}{end}{tail}", encoding="utf-8")
    missing = [row.name for row in ROWS if row.name not in records]
    print(f"{PAGE.name}: {len(records)} records" + (f"; not run: {missing}" if missing else ""))


def run(words: list[str]) -> None:
    """Run the proofs, one after the other; the first that fails ends it.

    All of them, where no words choose: then nothing of an earlier run is left, and every promise
    must have its figure.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if not words:
        shutil.rmtree(trust_record.RECORDS, ignore_errors=True)
    for proof in PROOFS:
        if words and not any(word in proof for word in words):
            continue
        print(f"$ {proof}", flush=True)
        environment = {**os.environ, "PATH": path}
        if subprocess.run(proof, shell=True, cwd=ROOT, env=environment, check=False).returncode:
            raise SystemExit(f"failed: {proof}")
    missing = {row.name for row in ROWS} - trust_record.recorded().keys()
    if missing and not words:
        raise SystemExit(f"all has run, and nothing tells of {sorted(missing)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2:])
    write()
