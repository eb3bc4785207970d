"""The driver of exact fronts in a reduced form, and its exact parts against other answers."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mogen.objective import load_set
from mogen.pareto import hypervolume

DRIVER = Path(__file__).parents[2] / "experiments/benchmarks/exact_fronts.py"


@pytest.fixture(scope="module")
def driver() -> ModuleType:
    """The driver as a module."""
    spec = importlib.util.spec_from_file_location("exact_fronts", DRIVER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exact_fronts"] = module
    spec.loader.exec_module(module)
    return module


EXACT = {"hypergrid2": 0.98214, "hypergrid3": 0.85448, "bigrams2": 0.629630}


@pytest.mark.parametrize("name", ["hypergrid2", "bigrams2"])
def test_the_driver_prints_its_figures(driver: ModuleType, name: str, tmp_path, monkeypatch) -> None:
    out = tmp_path / "figures.json"
    words = [
        "exact_fronts.py",
        "--task",
        name,
        "--trajectories",
        "256",
        "--seed",
        "1",
        "--threads",
        "1",
        "--every",
        "128",
    ]
    monkeypatch.setattr(sys, "argv", [*words, "--json", str(out)])
    monkeypatch.setattr(driver, "TASKS", {name: driver.TASKS[name]})
    driver.main()
    figures = json.loads(out.read_text())
    assert set(driver.KEYS) <= set(figures)
    assert figures["exact_hypervolume"] == pytest.approx(EXACT[name], abs=1e-5)
    assert figures["ratio"] == pytest.approx(figures["hypervolume"] / figures["exact_hypervolume"])
    assert 0 <= figures["ratio"] <= 1 and 0 <= figures["random_ratio"] <= 1
    assert figures["trajectories"] == 256 and figures["seconds"] > 0
    assert (figures["l1"] is None) == (name == "bigrams2")
    assert figures["l1"] is None or 0 < figures["l1"] < 2
    assert [row["trajectories"] for row in figures["curve"]] == [128, 256]
    assert figures["curve"][-1]["ratio"] == figures["ratio"], "looking does not disturb"
    assert figures["reached"]["ratio"]["first"] is None


def test_looking_at_the_policy_does_not_change_training(driver: ModuleType) -> None:
    def trained(every: int | None) -> torch.Tensor:
        sampler = driver.made(driver.TASKS["hypergrid2"], trajectories=512, beta=16.0)
        driver.train("hypergrid2", sampler, load_set("hypergrid2"), seed=3, every=every)
        return torch.cat([value.flatten() for value in sampler.module.policy.parameters()])

    assert torch.equal(trained(None), trained(128))


def test_when_a_target_was_reached(driver: ModuleType) -> None:
    rows = [(100, 0.5, 0.9), (200, 0.97, 0.3), (300, 0.96, 0.2)]
    curve = [{"trajectories": n, "seconds": n / 10, "ratio": ratio, "l1": l1} for n, ratio, l1 in rows]
    found = driver.reached(curve, {"ratio": 0.97, "l1": 0.1})
    assert found["ratio"] == {"target": 0.97, "first": {"trajectories": 200, "seconds": 20.0}}
    assert found["l1"]["first"] is None


@pytest.mark.parametrize("name", ["hypergrid2", "bigrams3", "strings"])
def test_every_change_of_a_setting_is_one_that_the_sampler_takes(driver: ModuleType, name: str) -> None:
    task = driver.TASKS[name]
    plain = driver.made(task, trajectories=1280, beta=task.beta)
    for change in driver.CHANGES:
        if change == "uniform_replay" and plain.replay is None:
            continue
        sampler = driver.made(task, trajectories=1280, beta=task.beta, changes=[change])
        assert sampler.steps // sampler.updates == plain.steps // plain.updates


def test_the_exact_hypervolume_of_three_grid_objectives(driver: ModuleType) -> None:
    task = driver.TASKS["hypergrid3"]
    front = driver.exact_front(task.environment(), lambda points: load_set(task.objectives)(points).value)
    assert len(front) == 88 and hypervolume(front) == pytest.approx(EXACT["hypergrid3"], abs=1e-5)


def test_a_metropolis_hastings_chain_comes_near_its_distribution(driver: ModuleType) -> None:
    weight = torch.rand(27, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    short, long = (driver.metropolis_hastings_l1(weight, 3, 3, steps, 0) for steps in (300, 60_000))
    assert long < 0.05 < short


def test_points_are_chosen_one_after_another(driver: ModuleType) -> None:
    points = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.2, 0.2]], dtype=torch.float64)
    assert driver.chosen(points, 1) == pytest.approx(0.25)
    assert driver.chosen(points, 16) == pytest.approx(hypervolume(points))
