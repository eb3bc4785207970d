"""The throughput driver in its reduced form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).parents[2] / "experiments/benchmarks/gflownet_throughput.py"


def test_the_reduced_driver_prints_its_figures(tmp_path) -> None:
    out = tmp_path / "throughput.json"
    command = [sys.executable, str(DRIVER), "--reduced", "--json", str(out), "--threads", "1"]
    environment = {name: value for name, value in os.environ.items() if name != "MOGEN_DATA"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    assert result["batch_64"]["trajectories_per_second"] > 0
    assert result["batch_64"]["policy_parameters"] >= 1_000_000
    assert result["batch_64"]["mean_fragments"] >= 6
    assert result["gemm_gflops"] > 0 and "20-24" in result["published"]
