"""The tasks that prove the promises of the C core alone.

Each is one command, fails where its promise does not hold, and leaves what it counted in
build/trust/.
"""

from __future__ import annotations

import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parent))  # spin loads this file by its path
from running import ROOT, TESTS, between, record, run

EXAMPLE = ROOT / "docs" / "example.c"
SAME_BITS = TESTS / "same_bits.c"
DIGESTS = TESTS / "same_bits.txt"
PERFORMANCE = ROOT / "docs" / "performance.md"
BUILD = ROOT / "build" / "c"  # a folder for each compiler: the tasks share its objects

# How the C core is compiled where a warning is an error.
STRICT = ("-O2", "-Werror")

# What counted_memory.h puts in place of the system's.
REPLACED = ["malloc", "calloc", "aligned_alloc", "free", "fopen", "__sched_cpualloc"]
REPLACED += ["pthread_create", "pthread_key_create", "pthread_setspecific"]
COUNTED = [f"-Wl,--wrap={name}" for name in REPLACED]

# Emulated CPUs, and what is chosen there beside generic. Without XSAVE the system cannot save the
# registers of AVX, though the CPU has its instructions.
CPUS = {
    "Nehalem": [],
    "SandyBridge": [],
    "Haswell": ["avx2"],
    "Haswell,-fma": [],
    "Haswell,-avx2": [],
    "Haswell,-xsave": [],
}


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
    emulator = [] if native else ["qemu-aarch64"]
    with _timed() as timer:
        # Static: there are no aarch64 libraries to look for.
        example, same_bits = _programs(_aarch64_compiler(), [EXAMPLE, SAME_BITS], "-static")
        run(*emulator, example)
        _compare_digests(_printed(*emulator, same_bits, "neon"), "NEON")
        if native and shutil.which("x86_64-linux-gnu-gcc"):
            _programs("x86_64-linux-gnu-gcc", [EXAMPLE], "-static")
    how = "native" if native else "qemu-aarch64"
    record("neon", "spin neon", f"{_digest_count()} digests, {how}, 0 differ", timer())


@click.command()
@click.option("--write", is_flag=True, help="Put the table into docs/performance.md.")
def neon_counts(write: bool) -> None:
    """Count the instructions that kernels take on aarch64, and compare them with their designs.

    Where the compiler is that of the table in docs/performance.md, the table must be up to date.
    This takes qemu-aarch64, and on x86-64 aarch64-linux-gnu-gcc.
    """
    import instruction_counts  # from tests/

    compiler = _aarch64_compiler()
    (program,) = _programs(compiler, [TESTS / "neon_calls.c"], "-static")
    try:
        table = instruction_counts.table(program)
    except ValueError as strays:
        raise click.ClickException(str(strays)) from None
    click.echo(table)
    made_by = f"`spin neon-counts`, gcc {_printed(compiler, '-dumpfullversion').strip()}:"
    shown = f"\n{made_by}\n\n{table}\n\n"
    page = PERFORMANCE.read_text(encoding="utf-8")
    text = between(PERFORMANCE, "<!-- counts: neon -->\n", "<!-- /counts -->", shown)
    if write:
        PERFORMANCE.write_text(text, encoding="utf-8")
    elif made_by in page and text != page:  # another compiler's counts are its own
        raise click.ClickException(
            f"{PERFORMANCE.name} is out of date (run: spin neon-counts --write)"
        )


# ------------------------------------------------------------------ random calls


@click.command()
@click.option("--problems", default=20000, help="How many random calls.")
@click.option("--seed", default=1, help="Of the first one.")
def guard_pages(problems: int, seed: int) -> None:
    """Run random calls whose arrays lie against pages that fault when touched.

    Each on every instruction set, flush with the end of its pages and with their beginning, by 1
    thread and by 3: the same status, and the same bits, everywhere.
    """
    (program,) = _programs(_compilers()[0], [TESTS / "guard_pages.c"])
    _driver("guard-pages", program, problems, seed)


@click.command()
@click.option("--problems", default=3000, help="How many random calls.")
def float_state(problems: int) -> None:
    """Run random calls in every floating-point state, which they must leave and not heed."""
    (program,) = _programs(_compilers()[0], [TESTS / "float_state.c"])
    _driver("float-state", program, problems)


@click.command()
@click.option("--calls", default=2000, help="How many random calls.")
def no_memory(calls: int) -> None:
    """Refuse each request for memory, threads and files in turn; measure the peak of scratch."""
    names = [TESTS / "no_memory.c", TESTS / "scratch.c"]
    refusing, measuring = _programs(_compilers()[0], names, link=COUNTED)
    _driver("no-memory", refusing, calls)
    _driver("scratch", measuring, task="no-memory")


@click.command()
@click.option("--seconds", default=60, help="How long to look.")
def races(seconds: int) -> None:
    """Compute, fork and change the number of threads all at once, below ThreadSanitizer (gcc)."""
    _programs("gcc", [EXAMPLE])
    flags = ("-O1", "-g", "-fsanitize=thread")
    (program,) = _programs("gcc", [TESTS / "races.c"], *flags, kind="tsan", taken="isa_[an]*")
    # The generic kernels are watched too; without random addresses, since thread checking wants
    # memory where it expects it.
    options = {"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0", "FASTCONV_ISA": "generic"}
    _driver("races", program, seconds, under=["setarch", "-R"], **options)


@click.command()
@click.option("--seconds", default=60, help="How long to look.")
def fuzz(seconds: int) -> None:
    """Let libFuzzer make calls of the C API, below AddressSanitizer and UBSan (clang).

    What it has found interesting is kept in build/fuzz/, where the next run begins.
    """
    _programs("clang", [EXAMPLE])
    # Without pointer-overflow, which objects to adding nothing to NULL.
    checks = "-fsanitize=fuzzer,address,undefined", "-fno-sanitize=pointer-overflow"
    flags = ("-O1", "-g", *checks, "-fno-sanitize-recover=all")
    target = [TESTS / "fuzz_calls.c"]
    (program,) = _programs("clang", target, *flags, kind="fuzz", taken="isa_*")
    corpus = ROOT / "build" / "fuzz"
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):  # long enough for whole calls: it grows its own slowly
        generator = random.Random(1)
        for i in range(300):
            (corpus / f"random-{i}").write_bytes(generator.randbytes(generator.randint(40, 160)))
    limits = ("-timeout=10", "-rss_limit_mb=2000", "-max_len=256", "-len_control=0")
    words = [f"-max_total_time={seconds}", *limits, "-print_final_stats=1", "-verbosity=1"]
    # Larger requests are refused, as they would be on a small machine.
    memory = {"ASAN_OPTIONS": "allocator_may_return_null=1:max_allocation_size_mb=64"}
    log = ROOT / "build" / "fuzz.log"
    with _timed() as timer, log.open("w", encoding="utf-8") as file:
        done = subprocess.run(
            [str(program), *words, f"-artifact_prefix={corpus.parent}/", str(corpus)],
            env={**os.environ, **memory}, stdout=file, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    said = log.read_text(encoding="utf-8", errors="replace")
    inputs = re.search(r"number_of_executed_units: (\d+)", said)
    if done.returncode or not inputs:
        click.echo("\n".join(said.splitlines()[-40:]))
        raise click.ClickException(f"status {done.returncode}; all of it is in {log}")
    figure = f"{int(inputs[1]):,} inputs, 0 faults"
    record("fuzz", f"spin fuzz --seconds {seconds}", figure, timer())


@click.command()
def old_cpus() -> None:
    """Run the C core on emulated CPUs of x86-64 that lack what it has kernels for.

    A stray instruction ends the program. What the emulator cannot be, a CPU with AVX-512 whose
    system does not save its registers, is decided on paper: the choice is a function of words.
    This takes qemu-x86_64 (Debian: qemu-user).
    """
    if platform.machine() != "x86_64":
        raise click.ClickException("the programs are of x86-64, and this machine is not")
    sources = [SAME_BITS, TESTS / "guard_pages.c", EXAMPLE, TESTS / "cpu_choice.c"]
    same_bits, guard_pages, example, cpu_choice = _programs("gcc", sources)
    with _timed() as timer:
        for cpu, expected in CPUS.items():
            emulator = ["qemu-x86_64", "-cpu", cpu]
            found = _printed(*emulator, same_bits, quiet=True).split()
            if found != expected:
                raise click.ClickException(f"{cpu}: {found or 'generic alone'} was chosen")
            click.echo(f"{cpu}: {' '.join(found) or 'generic alone'}")
            decided = _printed(*emulator, cpu_choice, quiet=True)
            if found:
                continue
            _printed(*emulator, guard_pages, "200", quiet=True)
            refused = subprocess.run(
                [*emulator, str(example)], env={**os.environ, "FASTCONV_ISA": "avx2"},
                capture_output=True, check=False,
            )  # fmt: skip
            if refused.returncode != 1:
                raise click.ClickException(f"{cpu}: FASTCONV_ISA=avx2 was not refused")
    old = sum(not expected for expected in CPUS.values())
    decisions = re.search(r"decisions=(\d+) wrong=0", decided)[1]
    figure = f"{len(CPUS)} CPUs, {old} without AVX2: 0 faults; {decisions} decisions, 0 wrong"
    record("old-cpus", "spin old-cpus", figure, timer())


# ------------------------------------------------------------------ how


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    """Give a function that tells the seconds since the beginning."""
    start = time.monotonic()
    yield lambda: time.monotonic() - start


def _aarch64_compiler() -> str:
    return "cc" if platform.machine() == "aarch64" else "aarch64-linux-gnu-gcc"


def _compilers() -> list[str]:
    found = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not found:
        raise click.ClickException("neither gcc nor clang is installed")
    return found


def _programs(
    compiler: str,
    programs: Sequence[Path],
    *flags: str,
    link: Sequence[str] = (),
    kind: str = "",
    taken: str = "",
) -> list[Path]:
    """Build C programs with the C core, in a folder for this compiler and kind of build.

    Kernels whose file names match `taken` are those of the compiler's strict build.
    """
    import c_program  # from tests/

    flags = flags if kind else (*STRICT, *flags)
    names = ", ".join(program.name for program in programs)
    click.secho(f"{' '.join([compiler, *flags, *link])}: csrc/ and {names}", bold=True)
    folder = BUILD / f"{compiler}{kind and '-'}{kind}"
    finished = BUILD / compiler if taken else None
    return c_program.build(
        compiler, programs, folder, *flags, link=link, finished=finished, taken=taken
    )


def _printed(*command: str | Path, quiet: bool = False) -> str:
    """Return what a program prints; its failure ends the task."""
    errors = subprocess.DEVNULL if quiet else None
    words = [*map(str, command)]
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=errors, check=False)
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


def _driver(
    name: str,
    program: Path | str,
    *arguments: object,
    task: str = "",
    under: Sequence[str] = (),
    **options: str,
) -> None:
    """Run a program whose last line says what it counted, and record that.

    The line is ``trust: NAME one=1 other=2``; the task is called as the promise is, unless told.
    """
    words = [*under, str(program), *map(str, arguments)]
    click.secho(f"$ {' '.join(words)}", bold=True)
    with _timed() as timer:
        done = subprocess.run(
            words, env={**os.environ, **options}, text=True, stdout=subprocess.PIPE, check=False
        )
    click.echo(done.stdout, nl=False)
    found = re.findall(rf"^trust: {name} (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or len(found) != 1:
        raise click.ClickException(f"{Path(program).name}: status {done.returncode}")
    counts = [word.split("=") for word in found[0].split()]
    figure = ", ".join(f"{int(count):,} {what.replace('_', ' ')}" for what, count in counts)
    record(name, f"spin {task or name}", figure, timer())
