"""What every test module shares: the hypothesis profiles, fixtures, and the tally.

``FASTCONV_TEST_PROFILE`` chooses the profile: "ci" (the default, the same examples at every run) or
"long" (new examples at every run, many more). With ``FASTCONV_TRUST=1``, what the tests count is
recorded for docs/trust.md at the end of a run without a failure.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

import trust_record

# The isa fixture holds for a whole test, which is what it is for; building a whole problem is slow
# beside what hypothesis is used to. Neither says anything about a test's health.
EXEMPT = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)

settings.register_profile(
    "ci", max_examples=150, deadline=None, derandomize=True, suppress_health_check=EXEMPT
)
settings.register_profile(
    "long", max_examples=3000, deadline=None, print_blob=True, suppress_health_check=EXEMPT
)
settings.load_profile(os.environ.get("FASTCONV_TEST_PROFILE", "ci"))


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``isa`` once on every instruction set that this CPU has.

    Last of all parameters, so that the instruction sets follow each other on the same problem, and
    what a test module keeps of the reference's results is found again.
    """
    if "isa" in metafunc.fixturenames:
        from fastconv import _fastconv_core as _core

        metafunc.parametrize("isa", _core.available_isas(), indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make every call of the test use the kernels of one instruction set, and give its name."""
    from fastconv import _fastconv_core as _core

    with _core.forced_isa(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def x87_is_left_alone() -> Iterator[None]:
    """Require that no register of the x87 is in use after a test, on CPUs that have one.

    Long doubles of the caller would be NaN; a compiler that carries a number by way of an MMX
    register leaves them so, and nothing here can mend it: each test that follows fails too.
    """
    yield
    if sys.platform == "linux" and platform.machine() == "x86_64":
        state = (ctypes.c_uint16 * 16)()
        ctypes.CDLL(None).fegetenv(state)
        assert state[4] == 0xFFFF  # two bits a register, set where it is empty


@pytest.fixture
def empty_pool() -> Iterator[None]:
    """Begin with nothing kept and the usual limit, whatever FASTCONV_OUTPUT_POOL says."""
    import fastconv

    before = fastconv.get_output_pool()
    fastconv.set_output_pool(0)
    fastconv.set_output_pool(2**28)
    yield
    fastconv.set_output_pool(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Charge a test's time to the promises that it counts for."""
    before, start = trust_record.TALLY.snapshot(), time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    trust_record.TALLY.attribute(before, item.nodeid.partition("::")[0], seconds)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Record what was counted, if all of it passed and that was asked for."""
    if exitstatus == pytest.ExitCode.OK and os.environ.get("FASTCONV_TRUST"):
        trust_record.TALLY.write()
