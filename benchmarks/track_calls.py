"""The process that callgrind watches: each call named on the command line, twice.

Everything is prepared before the first of them, so that the last marks are those behind the calls
that count, the second of each pair with the workspace already there.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # At the end of the path: fastconv is that of PYTHONPATH.
    sys.path[0:1] = []
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.peer_fastconv import Engine
from benchmarks.peers import Task
from benchmarks.problems import make_problem
from benchmarks.shapes import BY_NAME


def main(words: list[str]) -> None:
    """Run the tasks that `track.encoded` wrote."""
    gc.disable()
    engine, calls = Engine(), []
    for word in words:
        name, n, pass_name, dtype, data_format = word.split(",")
        task = Task(BY_NAME[name].with_batch(int(n)), pass_name, dtype, data_format, threads=1)
        calls.append(engine.prepare(task, make_problem(task.layer, dtype)).run)
    for call in calls:
        for _ in range(2):
            call()
            os.getppid()  # `track.MARK`


if __name__ == "__main__":
    main(sys.argv[1:])
