"""The paired driver without its peers: our own rates, and a reason for every ratio that is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).parents[2] / "experiments/benchmarks/gflownet_peers.py"


def test_a_run_without_peers_gives_our_rate_and_reasons(tmp_path: Path) -> None:
    out = tmp_path / "peers.json"
    given = ["--gfnx-python", sys.executable, "--rounds", "1", "--seconds", "0.05", "--threads", "1", "--reduced"]
    command = [sys.executable, str(DRIVER), "--json", str(out), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(out.read_text())
    assert result["torchgfn_16"] is None and result["gfnx_16"] is None
    assert "not given" in result["missing"]["torchgfn"] and "No module named 'gfnx'" in result["missing"]["gfnx"]
    assert result["rates"]["mogen_16"] > 1_000 and result["modes"]["mogen_16"] in ("torch", "compile")
    assert result["gemm_share"]["16"] * result["gemm_gflops"] > 0 and result["steps_of_a_trajectory"] == 38
