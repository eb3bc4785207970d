"""A killed parent leaves no worker behind, whatever its workers are at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from oracle_objectives import Word, stuck

from mogen.objective import Status
from mogen.oracle import ProcessExecutor

PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from oracle_objectives import Word, stuck
from mogen.oracle import ProcessExecutor
if __name__ == "__main__":
    executor = ProcessExecutor(workers=3, chunk=1, timeout=None)
    executor.run([stuck], [Word(f"fine{index}") for index in range(6)])
    print(*(worker.process.pid for worker in executor._pool), flush=True)
    executor.run([stuck], [Word("hang"), Word("locked"), Word(f"litter {sys.argv[2]}")])
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(is_true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not is_true() and time.monotonic() < end:
        time.sleep(0.02)
    return is_true()


def test_killed_parent_leaves_nothing_behind(tmp_path):
    noted = tmp_path / "pid.txt"
    command = [sys.executable, "-c", PARENT, str(Path(__file__).parent), str(noted)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert wait_until(lambda: noted.exists() and noted.read_text().endswith("\n"), 10)
    pids.append(int(noted.read_text()))
    time.sleep(0.2)
    assert len(pids) == 4 and all(is_alive(pid) for pid in pids)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), 5)
    left = [pid for pid in pids if is_alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def test_an_objective_that_hangs_in_c_costs_its_candidate_only():
    with ProcessExecutor(workers=1, chunk=4, timeout=1.0) as executor:
        rows = executor.run([stuck], [Word("fine0"), Word("locked"), Word("fine2")])
        pids = [worker.process.pid for worker in executor._pool]
    assert [row[0].status for row in rows] == [Status.MEASURED, Status.FAILED, Status.MEASURED]
    assert "timeout" in rows[1][0].message
    assert not any(is_alive(pid) for pid in pids)
