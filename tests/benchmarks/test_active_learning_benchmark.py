"""The active-learning drivers in their reduced form: real tasks, real methods, files the table reads."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"
needs_data = pytest.mark.skipif(not os.environ.get("MOGEN_DATA"), reason="needs the data that MOGEN_DATA names")


def driver(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def learning() -> ModuleType:
    return driver("active_learning")


@pytest.mark.parametrize("method", ["random", "nsga2", "genetic", "ucb", "qlognehvi"])
def test_bigrams_by_every_method(learning, tmp_path, method):
    out = tmp_path / "out.json"
    argv = ["--task", "bigrams3", "--method", method, "--seed", "1", "--rounds", "1", "--reduced", "--json", str(out)]
    assert learning.main(argv) == 0
    found = json.loads(out.read_text())
    assert [item["asked"] for item in found["curve"]] == [64, 80] and found["budget"] == 80 == found["asked"]
    assert found["reference_point"] == [0.0] * 3 and len(found["oracle"]) == 16
    assert found["ratio"] == pytest.approx(found["hypervolume"] / found["exact"])
    volumes = [item["hypervolume"] for item in found["curve"]]
    assert found["auc"] == pytest.approx(sum(volumes) / 2) and 0 < volumes[0] <= volumes[1] <= found["exact"]
    assert (found["curve"][1]["nlpd"] is None) == (method in ("random", "nsga2", "genetic"))


@pytest.mark.parametrize(("task", "method"), [("ehrlich2", "qlognehvi"), ("ehrlich3", "genetic")])
def test_ehrlich_functions_fail_where_transitions_are_banned(learning, tmp_path, task, method):
    out = tmp_path / "out.json"
    assert learning.main(["--task", task, "--method", method, "--rounds", "2", "--reduced", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["asked"] == found["budget"] == 60 and len(found["regret"]) == int(task[-1])
    assert all(0.5 < value <= 1 for value in found["regret"]) and found["exact"] is None
    assert found["curve"][-1]["hypervolume"] >= found["curve"][0]["hypervolume"] > 0


@needs_data
def test_a_gflownet_edits_proteins_in_the_loop(learning, tmp_path):
    out = tmp_path / "out.json"
    argv = ["--task", "rfp_standin", "--method", "gflownet", "--reduced", "--steps", "2", "--json", str(out)]
    assert learning.main([*argv, "--rounds", "1"]) == 0
    found = json.loads(out.read_text())
    assert found["asked"] == found["budget"] == 40 and found["held_out"]["rfp_sasa"]["r2"] > 0.9
    assert found["curve"][1]["hypervolume"] >= found["curve"][0]["hypervolume"] > 0


def test_the_exact_hypervolume_of_the_bigrams_is_the_published_one(learning):
    assert learning.task_of("bigrams3", 0).exact == pytest.approx(0.409294, abs=1e-6)


def test_the_start_is_the_same_for_every_method(learning):
    task = learning.task_of("bigrams3", 0, reduced=True)
    starts = [task.start(20, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert starts[0] == starts[1] and all(8 <= len(item) <= 10 for item in starts[0])


@needs_data
@pytest.mark.parametrize(
    ("task", "method"),
    [
        ("tfbind8", "random"),
        ("gb1", "nsga2"),
        ("fexofenadine", "ei"),
        ("perindopril", "qlognehvi"),
        ("gsk3b_jnk3", "nsga2"),
        ("rfp_standin", "genetic"),
    ],
)
def test_tasks_with_data(learning, tmp_path, task, method):
    out = tmp_path / "out.json"
    argv = ["--task", task, "--method", method, "--rounds", "1", "--reduced", "--json", str(out)]
    assert learning.main(argv) == 0
    found = json.loads(out.read_text())
    assert len(found["curve"]) == 2 and found["asked"] == found["budget"]
    if found["exact"] is not None:
        assert 0 < found["hypervolume"] <= found["exact"] and 0 < found["random"] < found["exact"]


def test_the_area_is_the_mean_of_the_curve(learning):
    curve = [{"asked": 0, "hypervolume": 0.0}, {"asked": 10, "hypervolume": 1.0}, {"asked": 40, "hypervolume": 1.0}]
    assert learning.area(curve) == pytest.approx((5 + 30) / 40)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--task", "bigram", "--method", "random"], "there is no task 'bigram'"),
        (["--task", "bigrams3", "--method", "luck"], "there is no method 'luck'"),
        (["--task", "bigrams3", "--method", "ei"], "needs a task with a pool"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(learning, capsys, argv, said):
    assert learning.main([*argv, "--reduced"]) == 2
    text = capsys.readouterr().err
    assert said in text and text.count("\n") == 1


def result(method: str, seed: int, volume: float, **change) -> dict:
    curve = [{"asked": 10, "hypervolume": 0.1}, {"asked": 20, "hypervolume": volume}]
    return {
        "task": "toy", "method": method, "seed": seed, "curve": curve, "oracle": "x", "budget": 20, "start": 10,
        "batch": 10, "reference_point": [0, 0], "hypervolume": volume, "auc": (0.1 + volume) / 2, "exact": 1.0,
        "ratio": volume, "gap_closed": None, "seconds": 1.0,
    } | change  # fmt: skip


def test_the_table_compares_pairs_of_seeds(tmp_path, capsys):
    table = driver("active_learning_table")
    for seed in range(5):
        for method, gain in (("good", 0.3 + 0.01 * seed), ("bad", 0.1)):
            path = tmp_path / f"{method}-{seed}.json"
            path.write_text(json.dumps(result(method, seed, 0.2 * seed / 5 + gain)))
    assert table.main([str(tmp_path), "--figure", str(tmp_path / "curves.png")]) == 0
    text = capsys.readouterr().out
    assert "| good minus | +0.1100 [+0.1002, +0.1198] above |" in text and "below" in text
    assert (tmp_path / "curves.png").stat().st_size > 5000
    (tmp_path / "other.json").write_text(json.dumps(result("good", 9, 0.5, oracle="y")))
    assert table.main([str(tmp_path)]) == 2
    assert "another oracle" in capsys.readouterr().err


@needs_data
def test_the_speed_driver_splits_a_round(tmp_path):
    speed = driver("acquisition_speed")
    out = tmp_path / "speed.json"
    assert speed.main(["--pools", "150", "--objectives", "2", "--measured", "60", "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["pool"] == 150 == row["scored"] and row["peak_gib"] > 0
    parts = {"fit", "fingerprints", "posterior", "prepare", "posterior and reduction", "acquisition", "batch"}
    assert set(row["stages"]) == parts
    assert row["seconds"] == pytest.approx(sum(v["seconds"] for k, v in row["stages"].items() if k != "posterior"))
