"""The comparison of the two policies in its reduced form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "experiments/benchmarks/gflownet_policies.py"


def test_the_reduced_driver_compares_both_policies(tmp_path) -> None:
    out = tmp_path / "policies.json"
    sizes = ["--seeds", "2", "--budget", "160", "--updates", "1", "--threads", "1", "--workers", "1"]
    command = [sys.executable, str(DRIVER), *sizes, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    assert [len(rows) for rows in result["runs"].values()] == [2, 2]
    found = result["comparison"]["hypervolume"]
    assert found["difference"] == pytest.approx(found["history"] - found["tree"])
    assert 0 < found["history"] < 1 and found["pooled_standard_deviation"] > 0
