"""Whole runs of a tiny sampler: figures, accounts, and going on after any kind of end."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from toy_points import Coordinate, Point, Walk, experiment

from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted, ConfigError, LedgerError, RunError
from mogen.experiment import Experiment, FinalSampling
from mogen.objective import ObjectiveSet, objective

BATCH = 32
"""candidates that a killed process may have measured without having stored them"""
KEYS = {
    "hypervolume",
    "reference_point",
    "front_size",
    "zero_share",
    "r2",
    "igd_plus",
    "diversity",
    "alignment",
    "asked",
    "paid",
}
REST = {"sampler", "budget", "seconds", "seed", "versions", "objective_set", "objectives", "baselines"}


def lasting(summary: dict) -> dict:
    """A summary without its times."""
    kept = {key: value for key, value in summary.items() if key not in ("seconds", "versions")}
    kept["baselines"] = {
        name: {key: value for key, value in found.items() if key != "seconds"}
        for name, found in kept["baselines"].items()
    }
    return kept


def assert_same_outcome(folder: Path, expected: Path) -> None:
    assert (folder / "front.csv").read_text() == (expected / "front.csv").read_text()
    assert (folder / "hypervolume.csv").read_text() == (expected / "hypervolume.csv").read_text()
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "candidates.parquet"), pd.read_parquet(expected / "candidates.parquet")
    )
    summaries = [json.loads((place / "summary.json").read_text()) for place in (folder, expected)]
    assert lasting(summaries[0]) == lasting(summaries[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    experiment(folder).run()
    return folder


def test_summary_has_every_figure_for_every_method(whole):
    summary = json.loads((whole / "summary.json").read_text())
    assert set(summary) == KEYS | REST
    assert {name: set(found) for name, found in summary["baselines"].items()} == {
        name: KEYS | {"seconds"} for name in ("walk", "slow")
    }
    assert set(summary["seconds"]) == {"train", "final", "baselines", "report", "total"}
    assert summary["diversity"] is None
    assert summary["objective_set"]["name"] == "points"
    assert summary["objectives"][1] == {"name": "c1", "unit": "", "worst": 100.0, "best": 0.0}
    assert -1 <= summary["alignment"] <= 1
    assert {"python", "torch", "platform", "threads", "gpu"} <= set(summary["versions"])


def test_budget_is_honest(whole):
    summary = json.loads((whole / "summary.json").read_text())
    table = pd.read_parquet(whole / "candidates.parquet")
    asked = summary["asked"]
    assert 185 < asked <= 200
    assert table.groupby("method").size().to_dict() == {"mogen": asked, "walk": asked, "slow": asked}
    assert not table.duplicated(["method", "candidate"]).any()
    assert summary["budget"] == 200
    assert summary["paid"] == asked
    assert {found["asked"] for found in summary["baselines"].values()} == {asked}
    assert sum(found["paid"] for found in [summary, *summary["baselines"].values()]) == table["candidate"].nunique()
    main = table[table["method"] == "mogen"]
    assert (main["stage"] == "train").sum() == 200 - 15
    assert main["position"].tolist() == list(range(asked))
    assert set(main["status"]) == {"measured"}


def test_baselines_get_what_the_main_method_really_asked(tmp_path):
    class Short(Walk):
        def fit(self, measure, **options):
            super().fit(measure.limited(40), **options)

    run = experiment(tmp_path / "run")
    run.sampler = Short()
    summary = run.run().summary
    assert 40 < summary["asked"] <= 40 + 5 * 3
    assert {found["asked"] for found in summary["baselines"].values()} == {summary["asked"]}


def test_front_of_the_result_is_the_front_of_the_table(whole, tmp_path):
    result = experiment(tmp_path / "run").run()
    front = pd.read_csv(result.folder / "front.csv")
    assert [candidate.key for candidate in result.archive.candidates] == front["candidate"].tolist()
    assert all(isinstance(candidate, Point) for candidate in result.archive.candidates)
    main = pd.read_parquet(result.folder / "candidates.parquet").query("method == 'mogen'")
    rows = main[["utility_c0", "utility_c1"]].to_numpy()
    naive = [
        key
        for key, row in zip(main["candidate"], rows, strict=True)
        if not ((rows >= row).all(1) & (rows > row).any(1)).any()
    ]
    assert set(front["candidate"]) <= set(naive)
    assert {tuple(row) for row in front[["utility_c0", "utility_c1"]].to_numpy()} == {
        tuple(row) for key, row in zip(main["candidate"], rows, strict=True) if key in naive
    }
    assert_same_outcome(result.folder, whole)


def test_hypervolume_grows_to_the_summary(whole):
    curve = pd.read_csv(whole / "hypervolume.csv")
    summary = json.loads((whole / "summary.json").read_text())
    for method, rows in curve.groupby("method"):
        figures = summary if method == "mogen" else summary["baselines"][method]
        assert rows["hypervolume"].is_monotonic_increasing
        assert len(rows) == 100
        assert rows["asked"].iloc[-1] == figures["asked"]
        assert math.isclose(rows["hypervolume"].iloc[-1], figures["hypervolume"], rel_tol=1e-12)


def test_metrics_follow_every_stage(whole):
    metrics = pd.read_csv(whole / "metrics.csv")
    assert list(metrics.columns) == ["stage", "asked", "front_size", "hypervolume", "seconds"]
    assert set(metrics["stage"]) == {"train", "final", "baseline walk", "baseline slow"}


@pytest.mark.parametrize("after", [3, 60, 150, 190, 230, 330])
def test_resume_after_an_interruption_ends_the_same(whole, tmp_path, after, capsys):
    folder = tmp_path / "run"
    first = experiment(folder, stop_after=after)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert f"mogen resume {folder}" in capsys.readouterr().err
    assert not (folder / "summary.json").exists()
    second = experiment(folder)
    second.run()
    assert_same_outcome(folder, whole)
    paid = [first.objectives.objectives[1].measured, second.objectives.objectives[1].measured]
    assert not set(paid[0]) & set(paid[1])
    metrics = pd.read_csv(folder / "metrics.csv")
    assert metrics[metrics["stage"] == "train"]["asked"].is_monotonic_increasing


@pytest.mark.parametrize("after", [100, 260])
def test_resume_after_kill_ends_the_same(whole, tmp_path, after):
    folder, log = tmp_path / "run", tmp_path / "measured.txt"
    command = [sys.executable, str(Path(__file__).parent / "toy_points.py"), str(folder), str(after), str(log)]
    killed = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -9
    resumed = experiment(folder)
    resumed.run()
    assert_same_outcome(folder, whole)
    assert len(log.read_text().split("\n")) - 1 == after
    assert len(set(log.read_text().splitlines()) & set(resumed.objectives.objectives[1].measured)) <= BATCH


def test_resume_after_killing_twice_ends_the_same(whole, tmp_path):
    folder = tmp_path / "run"
    for after in (50, 70, 20, 100):
        with pytest.raises(KeyboardInterrupt):
            experiment(folder, stop_after=after).run()
    experiment(folder).run()
    assert_same_outcome(folder, whole)


def test_a_trainer_that_turns_ctrl_c_into_an_exit_is_still_an_interruption(tmp_path):
    class Exiting(Walk):
        def fit(self, measure, **options):
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                sys.exit(1)

    run = experiment(tmp_path / "run")
    run.sampler = Exiting()
    with pytest.raises(KeyboardInterrupt):
        run.run()


def test_finished_run_is_refused_unless_overwritten(tmp_path):
    folder = tmp_path / "run"
    experiment(folder, budget=40, baselines={}).run()
    with pytest.raises(RunError, match="finished"):
        experiment(folder, budget=40, baselines={}).run()
    before = (folder / "front.csv").read_text()
    experiment(folder, budget=40, baselines={}).run(overwrite=True)
    assert (folder / "front.csv").read_text() == before


def test_another_config_is_refused(tmp_path):
    folder = tmp_path / "run"
    experiment(folder, budget=40, config={"budget": 40}).run()
    assert yaml.safe_load((folder / "config.yaml").read_text()) == {"budget": 40}
    with pytest.raises(RunError, match="budget"):
        experiment(folder, budget=40, config={"budget": 41}).run()
    with pytest.raises(RunError, match="seed"):
        experiment(folder, budget=40, seed=1, config={"budget": 40}).run()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="other files"):
        experiment(tmp_path, budget=40).run(overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("budget", [0, -3, 1.5, True])
def test_budget_must_be_a_positive_number(tmp_path, budget):
    with pytest.raises(ConfigError, match="budget"):
        experiment(tmp_path, budget=budget)


def test_seeds_change_the_run(whole, tmp_path):
    experiment(tmp_path / "run", seed=1, baselines={}).run()
    assert (tmp_path / "run" / "front.csv").read_text() != (whole / "front.csv").read_text()


def test_one_candidate_is_enough_of_a_budget(tmp_path):
    summary = experiment(tmp_path / "run", budget=1, baselines={}).run().summary
    assert summary["asked"] == 1


def test_failures_cost_their_candidates_only(tmp_path):
    class Picky(Coordinate):
        def evaluate(self, candidates):
            values = super().evaluate(candidates)
            return torch.where(values > 50, torch.nan, values)

    run = experiment(tmp_path / "run", budget=60, baselines={})
    run.objectives.objectives = (Picky(0), Coordinate(1))
    summary = run.run().summary
    table = pd.read_parquet(tmp_path / "run" / "candidates.parquet")
    assert summary["asked"] == 60
    assert set(table["status"]) == {"measured", "failed"}
    assert (table["valid"] == (table["status"] == "measured")).all()


def test_final_sampling_covers_the_lattice():
    final = FinalSampling(partitions=4, per_preference=3)
    rows = final.preferences(3, torch.Generator().manual_seed(0))
    assert rows.shape == (45, 3)
    assert len(rows.unique(dim=0)) == 15
    assert torch.allclose(rows.sum(1), torch.ones(45))
    assert final.reserve(3, 10_000) == 45
    assert final.reserve(3, 100) == 10


class Counted(Walk):
    """A walk that tells how many candidates were drawn from it at a time."""

    def sample(self, preference, *, generator=None):
        drawn.append(len(preference))
        return super().sample(preference, generator=generator)


drawn: list[int] = []


@pytest.mark.parametrize(("budget", "expected"), [(60, 16), (3000, 256)])
def test_little_is_drawn_where_little_may_be_asked_for(tmp_path, budget, expected):
    drawn.clear()
    objectives = ObjectiveSet([Coordinate(0), Coordinate(1)], name="points")
    final = FinalSampling(partitions=99, per_preference=3)
    Experiment(
        objectives, Counted(), budget=budget, out=tmp_path / "run", final=final, progress=False, render=False
    ).run()
    assert drawn[0] == expected


class Alcohols(Walk):
    """Straight alcohols of some carbons and oxygens instead of points."""

    def draw(self, n, generator, shift=None):
        return [
            Molecule("C" * (1 + x // 5) + "O" * (y // 50))
            for x, y in (point.place for point in super().draw(n, generator, shift))
        ]

    def fit(self, measure, *, m, generator=None, folder=None):
        for _ in range(10):
            try:
                measure(self.draw(7, generator))
            except BudgetExhausted:
                return


def test_molecules_get_diversity_and_a_report(tmp_path):
    @objective(worst=0, best=20)
    def carbons(molecule: Molecule) -> float:
        return molecule.smiles.count("C")

    @objective(worst=20, best=0)
    def atoms(molecule: Molecule) -> float:
        return len(molecule.smiles)

    result = Experiment(
        ObjectiveSet([carbons, atoms]),
        Alcohols(),
        budget=30,
        baselines={"random": Alcohols()},
        out=tmp_path / "run",
        progress=False,
    ).run()
    for figures in (result.summary, result.summary["baselines"]["random"]):
        assert set(figures["diversity"]) == {"intdiv", "circles", "vendi", "top_k"}
        assert figures["diversity"]["intdiv"] > 0
    assert all(isinstance(candidate, Molecule) for candidate in result.archive.candidates)
    names = {item.name for item in result.folder.iterdir()}
    assert {"report.html", "front.png", "hypervolume.png", "front.sdf", "log.txt", "model", "ledger.sqlite"} <= names
    assert len(result.sampler.sample(torch.full((3, 2), 0.5), generator=torch.Generator())) == 3


def test_baselines_start_from_the_same_seed_and_the_main_method_from_another(whole):
    table = pd.read_parquet(whole / "candidates.parquet")
    keys = {method: rows["candidate"].tolist()[:20] for method, rows in table.groupby("method")}
    assert keys["walk"] == keys["slow"]
    assert keys["mogen"] != keys["walk"]


@pytest.mark.parametrize("room", [2_000, 60_000, 150_000])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(whole, tmp_path, room):
    folder, log = tmp_path / "run", tmp_path / "measured.txt"
    command = [sys.executable, str(Path(__file__).parent / "toy_points.py"), str(folder), str(10**9), str(log)]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    stopped = subprocess.run(command, env=environment, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert stopped.returncode == 1
    assert stopped.stderr.strip().splitlines()[-1].startswith(("mogen.errors.LedgerError: ", "mogen.errors.RunError: "))
    experiment(folder).run()
    assert_same_outcome(folder, whole)


def test_what_cannot_be_written_is_told_with_the_way_on(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = experiment(tmp_path / "run", budget=40, baselines={})
    monkeypatch.setattr(run, "tables", full)
    with pytest.raises(RunError, match=r"No space left.*mogen resume"):
        run.run()
    monkeypatch.setattr(run, "tables", lambda *_: Path("nowhere/at/all").read_text())
    with pytest.raises(FileNotFoundError):
        run.run()


def test_a_ledger_that_was_lost_is_not_paid_for_again_in_silence(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        experiment(folder, stop_after=230).run()
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    again = experiment(folder)
    with pytest.raises(RunError, match="not this run's ledger"):
        again.run()
    assert again.objectives.objectives[0].measured == []


def test_a_checkpoint_of_another_ledger_is_refused(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        experiment(folder, stop_after=100).run()
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(LedgerError, match="not the one that was used before"):
        experiment(folder).run()
    shutil.rmtree(folder / "checkpoints")
    experiment(folder).run()
