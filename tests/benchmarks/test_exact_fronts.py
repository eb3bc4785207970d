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
    words = ["exact_fronts.py", "--task", name, "--trajectories", "256", "--seed", "1", "--threads", "1"]
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
