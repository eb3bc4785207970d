"""The table of what settings bought, in a reduced form."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "experiments/benchmarks/gflownet_tuning.py"


def test_a_row_per_change_with_its_difference(tmp_path: Path, monkeypatch, capsys) -> None:
    out = tmp_path / "tuning.json"
    words = ["gflownet_tuning.py", "--task", "hypergrid2", "--trajectories", "256", "--seeds", "2", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--changes", "vanilla", "slow_rate", "--json", str(out)])
    monkeypatch.syspath_prepend(str(DRIVER.parent))
    runpy.run_path(str(DRIVER), run_name="__main__")
    content = json.loads(out.read_text())
    assert [row["change"] for row in content["rows"]] == ["default", "vanilla", "slow_rate"]
    for row in content["rows"][1:]:
        runs, plain = content["runs"][row["change"]], content["runs"]["default"]
        mean = sum(a["l1"] - b["l1"] for a, b in zip(runs, plain, strict=True)) / 2
        assert row["difference"]["l1"]["mean"] == pytest.approx(mean)
        assert row["figures"]["l1"]["mean"] == pytest.approx(sum(run["l1"] for run in runs) / 2)
        assert mean != 0
    assert "slow_rate" in capsys.readouterr().out
