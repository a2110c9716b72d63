"""A process among others: its share of the CPUs, other processes it starts, idleness and Ctrl-C."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import fastconv
from closeness import same_bits
from fastconv import functional
from test_threads import WORK, run_script, run_threads
from trust_record import count

HERE = Path(__file__).parent

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's files")


# ------------------------------------------------------------------------------ its share of CPUs


@pytest.fixture(scope="module")
def fake_system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library that makes a process see other CPUs and control groups."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or "LD_PRELOAD" in os.environ:
        pytest.skip("no C compiler, or another library preloaded")
    library = tmp_path_factory.mktemp("fake") / "fake_system.so"
    source = str(HERE / "fake_system.c")
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", str(library), "-ldl"], check=True)
    return library


def version_1(quota: str, period: str) -> dict[str, str]:
    """Return the files of a group /x of the first version."""
    return {"cpu/x/cpu.cfs_quota_us": quota, "cpu/x/cpu.cfs_period_us": period}


@needs_linux
@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "300000 100000"}, 3),
        ("0::/", {"cpu.max": "399999 100000"}, 3),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "1600000 100000"}, 8),
        ("0::/", {"cpu.max": "-5 100000"}, 8),
        ("0::/", {"cpu.max": "300000 0"}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        ("0::/", {"cpu.max": ""}, 8),
        ("0::/a/b", {"a/b/cpu.max": "200000 100000"}, 2),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b", {"a/cpu.max": "500000 100000", "a/b/cpu.max": "400000 100000"}, 4),
        ("0::/a/b", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "500000 100000"}, 4),
        ("0::/on/the/host", {"cpu.max": "200000 100000"}, 2),
        ("0::/ab", {"a/cpu.max": "200000 100000"}, 8),
        ("4:cpu,cpuacct:/x", version_1("250000", "50000"), 5),
        ("4:cpuacct:/x\n3:cpu:/x", version_1("-1", "50000"), 8),
        ("4:cpuset:/x", version_1("100000", "100000"), 8),
        ("4:memory:/y\n1:cpu:/x\n0::/", version_1("600000", "100000"), 6),
        ("", {"cpu.max": "100000 100000"}, 8),
        ("no colon", {"cpu.max": "100000 100000"}, 8),
        ("0::/" + "x" * 5000, {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_quota(
    groups: str, files: dict[str, str], expected: int, fake_system: Path, tmp_path: Path
) -> None:
    """As many threads as the least quota from the process's group upwards allows, at least one."""
    listed = tmp_path / "proc" / "self" / "cgroup"
    listed.parent.mkdir(parents=True)
    listed.write_text(groups + "\n", encoding="ascii")
    for name, text in files.items():
        file = tmp_path / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="ascii")
    environment = {"LD_PRELOAD": str(fake_system), "FAKE_SYSTEM": str(tmp_path)}
    unset = {"FASTCONV_NUM_THREADS": "", "OMP_NUM_THREADS": ""}
    script = "import fastconv; print(fastconv.get_num_threads())"
    assert int(run_script(script, **environment, **unset)) == expected
    count("processes", "quotas")


@needs_linux
def test_threads_stay_on_the_cpus_allowed() -> None:
    """Workers are threads of the process, on the CPUs that it was allowed before they began."""
    script = """
        import os
        one = sorted(os.sched_getaffinity(0))[:1]
        others = set(os.listdir("/proc/self/task"))
        os.sched_setaffinity(0, one)
        work()
        workers = set(os.listdir("/proc/self/task")) - others
        assert len(workers) == 2, workers
        print(all(sorted(os.sched_getaffinity(int(task))) == one for task in workers))
    """
    assert run_script(joined(script)) == "True"


def joined(script: str) -> str:
    """Return a script that begins with what every process here does."""
    return textwrap.dedent(WORK) + textwrap.dedent(script)


def test_threadpoolctl() -> None:
    """threadpoolctl sees the pool, says how large it is, and limits it while it is told to."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = fastconv.get_num_threads()
    fastconv.set_num_threads(4)
    try:
        (found,) = threadpoolctl.ThreadpoolController().select(internal_api="fastconv").info()
        assert (found["num_threads"], found["user_api"]) == (4, "convolution")
        assert found["version"] == fastconv.__version__
        with threadpoolctl.threadpool_limits(1):
            assert fastconv.get_num_threads() == 1
        assert fastconv.get_num_threads() == 4
        with threadpoolctl.threadpool_limits(2, user_api="convolution"):
            assert fastconv.get_num_threads() == 2
        with threadpoolctl.threadpool_limits(2, user_api="blas"):
            assert fastconv.get_num_threads() == 4
    finally:
        fastconv.set_num_threads(before)


# -------------------------------------------------------------------------------- other processes


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_of_multiprocessing(method: str) -> None:
    """Processes started in every way compute the bits of their parent, before and after its use."""
    script = f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            expected = functional.conv2d(x, kernel).tobytes()
            with ProcessPoolExecutor(3, mp_context=context) as pool:
                futures = [pool.submit(functional.conv2d, x, kernel) for _ in range(8)]
                here = [functional.conv2d(x, kernel) for _ in range(8)]
                found = [future.result(60) for future in futures]
            print(all(y.tobytes() == expected for y in found + here))
    """
    assert run_script(joined(script)) == "True"
    count("processes", "ways to start a process")


def test_sixty_four_python_threads_at_once() -> None:
    """Each gets what it gets alone, whoever has the pool."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 2, 20, 20, 32)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 32, 32)).astype(np.float32)

    def everything(i: int) -> list[np.ndarray]:
        y = functional.conv2d(x[i], kernel)
        return [y, *functional.conv2d_backward(y, x[i], kernel), functional.max_pool2d(y)]  # type: ignore[list-item]

    before = fastconv.get_num_threads()
    fastconv.set_num_threads(3)
    expected = [everything(i) for i in range(64)]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(4):
            found = zip(everything(i), expected[i], strict=True)
            wrong.extend(i for pair in found if not same_bits(*pair))

    run_threads(64, work)
    fastconv.set_num_threads(before)
    assert wrong == []
    count("processes", "threads at once", 64)


# ----------------------------------------------------------------------------------------- idle


@needs_linux
def test_idle_takes_no_time() -> None:
    """Imported, used on three threads, then left alone for a second: no worker spends CPU time.

    The sleeping caller is not counted: a virtual machine charges some milliseconds to it alone,
    with or without the library. The second begins when all workers have gone to sleep: one that a
    busy machine has kept waiting for a CPU since the work runs late, and for the work.
    """
    script = """
        import os, threading, time

        def workers():
            threads = {int(name) for name in os.listdir("/proc/self/task")}
            return threads - {threading.get_native_id()}

        def cpu_times():
            clocks = [(~worker << 3) | 6 for worker in workers()]  # as Linux numbers them
            return [time.clock_gettime(clock) for clock in clocks]

        def asleep(worker):
            with open(f"/proc/self/task/{worker}/stat") as stat:
                return stat.read().rpartition(") ")[2].startswith("S")

        work()
        give_up = time.monotonic() + 10
        while not all(map(asleep, workers())) and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(0.05)
        before = cpu_times()
        time.sleep(1)
        print(len(before), sum(before) > 0, sum(cpu_times()) - sum(before))
    """
    workers, worked, seconds = run_script(joined(script)).split()
    assert int(workers) >= 2
    assert worked == "True"
    assert float(seconds) == 0.0
    count("processes", "idle seconds")


# --------------------------------------------------------------------------------------- Ctrl-C

# Training is interrupted at some moment; the model must then be exactly that of as many whole
# steps as its optimizer has counted, and train on from there as if nothing had been.
INTERRUPTED = """
    import os, random, signal, sys, threading
    import numpy as np
    from networks import blobs, compiled, small
    from fastconv.callbacks import Callback

    # A shell's background jobs are told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    x, y = blobs(2000)

    class StopAt(Callback):
        def __init__(self, steps):
            self.steps = steps
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.model.optimizer.iterations >= self.steps

    def fit(model, epochs, **words):
        return model.fit(x, y, epochs=epochs, batch_size=8, verbose=0, **words)

    fit(compiled(small()), 1)
    random.seed(0)
    stopped = 0
    for _ in range(int(sys.argv[1])):
        model = compiled(small())
        delay = random.uniform(0, 0.15)
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            fit(model, 10**6)
        except KeyboardInterrupt:
            stopped += 1
        timer.join()
        steps = model.optimizer.iterations
        again = compiled(small())
        if steps:
            fit(again, 10**6, callbacks=[StopAt(steps)])
        assert again.optimizer.iterations == steps
        for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
            assert one.tobytes() == other.tobytes(), steps
        before, _ = model.evaluate(x, y, verbose=0)
        model.fit(x, y, epochs=1, verbose=0)
        after, _ = model.evaluate(x, y, verbose=0)
        assert np.isfinite(after) and after < before + 0.5
    print(stopped)
"""


def test_interrupted_training() -> None:
    """Ctrl-C at any moment of fit leaves the model of some whole number of steps, fit to go on."""
    times = 200 if os.environ.get("FASTCONV_TEST_PROFILE") == "long" else 10
    process = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(INTERRUPTED), str(times)],
        env={
            **os.environ,
            # No empty entry, which would mean the current folder.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) == times
    count("processes", "interrupted trainings", times)
