"""Every config of experiments/configs is accepted, and those that need no data run, in a reduced form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mogen.cli.main import main

CONFIGS = sorted((Path(__file__).parents[2] / "experiments/configs").glob("*.yaml"))
QUICK = ["hypergrid2_goals", "hypergrid2_ordered", "bigrams3_gflownet", "aptamers_short_gflownet", "qm9_small_gflownet"]


def content(path: Path) -> dict:
    """What a config says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


RUNS = [path for path in CONFIGS if "budget" in content(path)]


def test_there_is_a_config_per_task() -> None:
    told = {str(content(path).get("objectives")) for path in RUNS}
    tasks = {"hypergrid2", "hypergrid3", "bigrams2", "bigrams3", "bigrams4", "unigrams3", "aptamers", "aptamers_short"}
    assert tasks | {"qm9_small", "qm9_strings", "seh_qed", "seh_qed_sa", "seh_qed_sa_mw"} <= told


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_config_is_accepted(path: Path, capsys) -> None:
    assert main(["run", str(path), "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["budget"] == content(path)["budget"]


@pytest.mark.parametrize("name", QUICK)
def test_a_config_runs(name: str, tmp_path: Path, capsys) -> None:
    path = next(path for path in CONFIGS if path.stem == name)
    words = ["run", str(path), "--budget", "64", "--sampler.init_args.steps", "2", "--sampler.init_args.batch", "16"]
    assert main([*words, "--executor.workers", "0", "--baselines", "[random]", "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert 0 < summary["asked"] <= 64 and summary["baselines"]["random"]["asked"] <= summary["asked"]
    assert (tmp_path / "run/report.html").is_file() and (tmp_path / "run/front.csv").is_file()
