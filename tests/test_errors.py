"""Every bad input is refused by an exception that names the argument and what was received.

A case of ``wrong_calls.py`` is a call with something wrong in it, the exception, and what its
message must mention: words, and numbers as whole numbers. Nothing may be written or leaked.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import fastconv
import operations
from closeness import assert_same_bits
from fastconv import _fastconv_core as _core
from fastconv import functional
from wrong_calls import CASES, Case, unmentioned, zeros

Array = npt.NDArray[Any]


def complaint(operation: operations.Operation, case: Case) -> str:
    """Say what is wrong with how a wrong call is answered; nothing where it is answered well."""
    try:
        operation.call(**case.changed)
    except Exception as error:
        if not isinstance(error, case.error):
            return f"{type(error).__name__}: {error}"
        missing = unmentioned(str(error), case.mentions)
        return f"no {missing} in {str(error)!r}" if missing else ""
    return "no exception"


@pytest.mark.parametrize("name", operations.NAMES)
def test_message(name: str) -> None:
    """The exception is of the right type, and its message has what helps."""
    operation = operations.make_operations()[name]
    cases = [case for case in CASES if case.name == name]
    complaints = [(str(case), complaint(operation, case)) for case in cases]
    wrong = [f"{case}: {what}" for case, what in complaints if what]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", operations.TAKE_OUT)
def test_nothing_is_written(name: str) -> None:
    """After any error, ``out`` and the inputs hold what they held before."""
    operation = operations.make_operations()[name]
    out = np.full_like(operation.results()["y"], 7)
    before = {key: a.copy() for key, a in operation.arrays.items()}
    for case in CASES:
        if case.name == name and "out" not in case.changed:
            with pytest.raises(case.error if case.error is TypeError else Exception):
                operation.call(**case.changed, out=out)
            assert (out == 7).all(), str(case)
    for key, a in operation.arrays.items():
        assert_same_bits(a, before[key], key)


@pytest.mark.parametrize("name", operations.NAMES)
def test_no_reference_is_leaked(name: str) -> None:
    """The inputs of a failed call are held by nobody afterwards."""
    operation = operations.make_operations()[name]
    cases = [case for case in CASES if case.name == name]

    def counts() -> dict[str, int]:
        return {key: sys.getrefcount(a) for key, a in operation.arrays.items()}

    before = counts()
    for case in cases:
        given = [v for v in case.changed.values() if isinstance(v, np.ndarray)]
        held = [sys.getrefcount(v) for v in given]
        for _ in range(3):
            with pytest.raises(Exception):  # noqa: B017, PT011 (which one is tested above)
                operation.call(**case.changed)
        assert [sys.getrefcount(v) for v in given] == held, str(case)
    assert counts() == before


# ------------------------------------------------------------------------- calls, threads, packing


@pytest.mark.parametrize("name", operations.NAMES)
def test_missing_arguments(name: str) -> None:
    """A call without arguments, and one with too many, name the function."""
    function = getattr(functional, name)
    with pytest.raises(TypeError, match=name):
        function()
    with pytest.raises(TypeError, match=name):
        function(*[zeros(1, 4, 4, 1)] * 9)


@pytest.mark.parametrize("function", [fastconv.set_num_threads, fastconv.threads])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2**63, ValueError),
        (True, TypeError),
        (2.0, TypeError),
        ("2", TypeError),
        (None, TypeError),
    ],
)
def test_number_of_threads(function: Any, value: Any, error: type[Exception]) -> None:
    """A number of threads is an integer of at least one."""
    before = fastconv.get_num_threads()
    with pytest.raises(error) as caught, function(value):
        pass
    assert not unmentioned(str(caught.value), [value if isinstance(value, int) else repr(value)])
    assert fastconv.get_num_threads() == before


@pytest.mark.parametrize(
    ("words", "error", "mentions"),
    [
        ({"input_size": (0, 8)}, ValueError, ("input_size", 0, 8)),
        ({"input_size": (8,)}, ValueError, ("input_size", 8)),
        ({"input_size": (8, -8)}, ValueError, ("input_size", -8)),
        ({"input_size": (2, 2)}, ValueError, (2, 3)),
        ({"input_size": (True, 8)}, TypeError, ("input_size",)),
        ({"input_size": None}, TypeError, ("input_size",)),
        ({"input_size": (8, 8.0)}, TypeError, ("input_size",)),
        ({}, TypeError, ("pack_kernel()",)),
        ({"input_size": (8, 8), "strides": 0}, ValueError, ("strides", 0)),
        ({"input_size": (8, 8), "groups": 3}, ValueError, ("groups", 3, 4)),
        ({"input_size": (8, 8), "padding": "full"}, ValueError, ("padding", "full")),
        ({"input_size": (8, 8), "algorithm": "fft"}, ValueError, ("algorithm", "fft")),
    ],
)
def test_pack_kernel(
    words: dict[str, Any], error: type[Exception], mentions: tuple[Any, ...]
) -> None:
    """What pack_kernel refuses, of a kernel of 3x3 from 4 channels to 4."""
    with pytest.raises(error) as caught:
        functional.pack_kernel(zeros(3, 3, 4, 4), **words)
    assert not unmentioned(str(caught.value), mentions)


@pytest.mark.parametrize(
    ("kernel", "error"),
    [
        (zeros(3, 3, 4), ValueError),
        (np.zeros((3, 3, 4, 4), np.float16), TypeError),
        ([[[[1.0]]]], TypeError),
        (None, TypeError),
    ],
)
def test_pack_kernel_of_no_kernel(kernel: Any, error: type[Exception]) -> None:
    """What is no kernel cannot be packed."""
    with pytest.raises(error, match="kernel"):
        functional.pack_kernel(kernel, input_size=(8, 8))


def test_unknown_instruction_set() -> None:
    """The message has the word and those that this CPU has."""
    with pytest.raises(ValueError, match="mips") as caught, _core.forced_isa("mips"):
        pass
    assert not unmentioned(str(caught.value), _core.available_isas())


def run_import(**environment: str) -> subprocess.CompletedProcess[str]:
    """Import fastconv in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-c", "import fastconv._fastconv_core"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("word", ["mips", "neon" if platform.machine() == "x86_64" else "avx2"])
def test_instruction_set_that_the_cpu_lacks(word: str) -> None:
    """FASTCONV_ISA makes the import fail, with a sentence that says so."""
    process = run_import(FASTCONV_ISA=word)
    assert process.returncode != 0
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    assert not unmentioned(last, ("FASTCONV_ISA", word, _core.available_isas()))


@pytest.mark.parametrize("word", _core.available_isas())
def test_instruction_set_that_the_cpu_has(word: str) -> None:
    """FASTCONV_ISA with one of the words that are allowed is no error."""
    process = run_import(FASTCONV_ISA=word)
    assert process.returncode == 0, process.stderr
