"""The flagship driver in its reduced form."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from pathlib import Path

import pytest
import torch

from mogen.domain.molecule import Molecule
from mogen.objective import load_set
from mogen.pareto.indicator import igd

DRIVER = Path(__file__).parents[2] / "experiments/benchmarks/fragments_moo.py"
MOGEN_DATA = os.environ.get("MOGEN_DATA")
needs_data = pytest.mark.skipif(
    not MOGEN_DATA or not (Path(MOGEN_DATA) / "oracles/seh_proxy_bengio2021.npz").is_file(),
    reason="needs the sEH proxy and the published fragments (oracles) in the folder MOGEN_DATA",
)


@pytest.fixture(scope="module")
def driver():
    spec = importlib.util.spec_from_file_location("fragments_moo", DRIVER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = ["--repeats", "3", "--batch", "16", "--updates", "1", "--threads", "1"]


@needs_data
@pytest.mark.parametrize(("asking", "objectives"), [("preference", "seh,qed"), ("goal", "seh,qed,sa,mw")])
def test_the_reduced_driver_trains_and_reports(driver, tmp_path: Path, capsys, asking: str, objectives: str) -> None:
    out = tmp_path / "moo.json"
    words = ["--objectives", objectives, "--asking", asking, "--trajectories", "48", *SMALL, "--json", str(out)]
    assert driver.main(words) == 0
    said = capsys.readouterr().out
    found, m = json.loads(out.read_text()), objectives.count(",") + 1
    assert found["trajectories"] == 48 and found["samples"] == 45 and found["settings"] == "ours"
    assert found["pc_ent_bound"] == pytest.approx(math.log(min(45, 10**m - 9**m)))
    for row in (found, found["random"]):
        assert 0 < row["pc_ent"] <= row["pc_ent_bound"] and 0 < row["hypervolume"] < 1
        assert 0 < row["igd"] < 1 and 0 < row["r2"] < 1 and 0 < row["diversity"] < 1 and -1 <= row["avg_pcc"] <= 1
    assert found["igd"] != found["random"]["igd"] and found["published"]["pc_ent"] == {2: 2.166, 4: 6.320}[m]
    assert "random policy" in said and f"{found['igd']:.3f}" in said and "at most" in said


@needs_data
def test_a_stopped_training_goes_on_where_it_was(driver, tmp_path: Path) -> None:
    words = [*SMALL, "--paper", "--folder", str(tmp_path / "run"), "--checkpoint-every", "1"]
    first = driver.run(driver.parsed([*words, "--trajectories", "32"]))
    assert (first["trajectories"], first["resumed_at"], first["settings"]) == (32, 0, "published")
    second = driver.run(driver.parsed([*words, "--trajectories", "48"]))
    assert (second["trajectories"], second["resumed_at"]) == (48, 32)


def test_without_data_it_is_one_sentence(driver, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path))
    monkeypatch.delenv("MOGEN_DATA", raising=False)
    assert driver.main(["--trajectories", "8"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "mogen data import seh_proxy_bengio2021 FILE" in said[0]


def test_centres_lie_on_the_simplex_and_spread(driver) -> None:
    asked = driver.asked_preferences(3, 4, torch.Generator().manual_seed(0))
    assert asked.shape == (60, 3) and torch.allclose(asked.sum(1), torch.ones(60), atol=1e-5) and (asked >= 0).all()
    assert len(asked.unique(dim=0)) == 15 and torch.equal(asked[:4], asked[:1].repeat(4, 1))
    assert (asked.amax(0) > 0.65).all()


def test_figures_by_their_formulas(driver) -> None:
    objectives = load_set("druglike")
    texts = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCCCCC", "OCC(O)CO", "c1ccc2ccccc2c1"]
    molecules = [Molecule.from_smiles(text) for text in texts] * 5
    evaluation = objectives(molecules)
    preference = driver.asked_preferences(3, 2, torch.Generator().manual_seed(1))
    found = driver.figures(preference, molecules, evaluation, "preference")
    axis = [value / 9 for value in range(10)]
    grid = [(a, b, c) for a in axis for b in axis for c in axis if 1 in (a, b, c)]
    rows = evaluation.utility.tolist()
    near = [[math.dist(point, row) for row in rows] for point in grid]
    assert len(grid) == 271 and found["igd"] == pytest.approx(sum(map(min, near)) / 271)
    nearest = [min(range(271), key=lambda k, row=row: round(math.dist(grid[k], row), 12)) for row in rows]
    share = [nearest.count(k) / 30 for k in set(nearest)]
    assert found["pc_ent"] == pytest.approx(-sum(p * math.log(p) for p in share))
    correlation = [
        torch.corrcoef(torch.stack([preference[:, k].double(), evaluation.utility[:, k]]))[0, 1].item()
        for k in range(3)
        if evaluation.utility[:, k].max() - evaluation.utility[:, k].min() > 1e-9
    ]
    assert found["avg_pcc"] == pytest.approx(sum(correlation) / len(correlation), abs=1e-5)
    assert found["unique"] == 6 and found["samples"] == 30
    assert found["igd"] == pytest.approx(igd(evaluation.utility, torch.tensor(grid, dtype=torch.float64)))
