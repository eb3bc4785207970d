"""A loop that is killed at any moment ends as the one nobody killed, and pays for nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loop_toys import whole_run


def rows(run: Path) -> list[str]:
    """The rounds, without their seconds."""
    lines = (run / "checkpoints" / "rounds.csv").read_text().splitlines()
    place = lines[0].split(",").index("seconds")
    return [",".join(cell for i, cell in enumerate(line.split(",")) if i != place) for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    whole_run(folder / "run", folder / "calls.txt")
    return folder


@pytest.mark.parametrize("batches", [2, 4])
def test_killed_loop_ends_the_same_and_pays_nothing_twice(whole, tmp_path, batches):
    run, calls = tmp_path / "run", tmp_path / "calls.txt"
    command = [sys.executable, str(Path(__file__).with_name("loop_toys.py")), str(run), str(calls)]
    child = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    journal, end = run / "checkpoints" / "loop.json", time.monotonic() + 200
    while child.poll() is None and time.monotonic() < end:
        if journal.exists() and len(json.loads(journal.read_text())) >= batches:
            break
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert child.returncode == -signal.SIGKILL
    assert not (run / "summary.json").exists()
    whole_run(run, calls)
    assert rows(run) == rows(whole / "run")
    for name in ("front.csv", "hypervolume.csv"):
        assert (run / name).read_text() == (whole / "run" / name).read_text()
    ours, theirs = sorted(calls.read_text().split("\n")), sorted((whole / "calls.txt").read_text().split("\n"))
    measured_twice = len(ours) - len(set(ours))
    assert set(ours) == set(theirs) and measured_twice <= 2 * 4  # at most the batch that was being measured
