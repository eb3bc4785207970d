"""What baselines learn on a hypergrid whose every place is known, beside random candidates."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from mogen.errors import BudgetExhausted
from mogen.objective import FunctionObjective, ObjectiveSet
from mogen.pareto import hypervolume
from mogen.preference import simplex_lattice
from samplers.baseline.a2c import MOA2C
from samplers.baseline.envelope_q import EnvelopeQ
from samplers.baseline.evolution import NSGA2Baseline
from samplers.baseline.mars import MARS
from samplers.baseline.random import RandomPolicy
from samplers.baseline.reinforce import MOReinforce
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import UniformActor, rollout
from samplers.environment.sequence import SequenceEnvironment
from samplers.gflownet.networks.mlp import MLP

GRID = HyperGrid(2, 8)
PREFERENCE = simplex_lattice(2, 10).float().repeat_interleave(8, 0)


def bowl(candidate: Any, x: float, y: float) -> float:
    a, b = candidate.coordinates
    return -((a - x) ** 2) - (b - y) ** 2


OBJECTIVES: ObjectiveSet[Any] = ObjectiveSet(
    [
        FunctionObjective(bowl, name="right", worst=-3, best=0, parameters={"x": 0.7, "y": -0.2}),
        FunctionObjective(bowl, name="up", worst=-3, best=0, parameters={"x": -0.2, "y": 0.8}),
    ]
)


def worth(candidates: list[Any]) -> float:
    """The mean weighted sum of one candidate per preference."""
    return float((OBJECTIVES(candidates).utility.float() * PREFERENCE).sum(1).mean())


@cache
def bounds() -> tuple[float, float]:
    """What random candidates are worth, and what the best ones of all are."""
    path = rollout(GRID, UniformActor(GRID), len(PREFERENCE), generator=torch.Generator().manual_seed(1))
    ends = OBJECTIVES(GRID.decode(GRID.terminals())).utility.float()
    return worth(GRID.decode(path.final)), float((PREFERENCE @ ends.T).amax(1).mean())


@pytest.mark.parametrize(
    ("build", "share"),
    [
        (lambda: MOReinforce(GRID, MLP(32, 2), steps=120, batch=32, learning_rate=5e-3, bins=6), 0.75),
        (lambda: MOA2C(GRID, MLP(32, 2), steps=120, batch=32, learning_rate=5e-3, bins=6), 0.75),
        (lambda: EnvelopeQ(GRID, MLP(32, 2), steps=150, batch=8, learning_rate=5e-3, bins=6, homotopy=100.0), 0.75),
        (lambda: MARS(GRID, 24, MLP(16, 1), length=20), 0.95),
    ],
    ids=["reinforce", "a2c", "envelope_q", "mars"],
)
def test_samples_are_worth_far_more_than_random_ones(build: Any, share: float) -> None:
    """The share is of the way from random candidates to the best ones of all."""
    baseline: Any = build()
    baseline.fit(OBJECTIVES, m=2, generator=torch.Generator().manual_seed(0))
    found = worth(baseline.sample(PREFERENCE, generator=torch.Generator().manual_seed(2)).candidates)
    random, best = bounds()
    assert found > random + share * (best - random)
    assert found <= best + 1e-6


def test_a_preference_is_listened_to() -> None:
    baseline: Any = MOReinforce(GRID, MLP(32, 2), steps=150, batch=32, learning_rate=5e-3, bins=6)
    baseline.fit(OBJECTIVES, m=2, generator=torch.Generator().manual_seed(0))
    corners = torch.eye(2).repeat_interleave(20, 0)
    utility = OBJECTIVES(baseline.sample(corners, generator=torch.Generator().manual_seed(2)).candidates).utility
    assert utility[:20, 0].mean() > utility[20:, 0].mean() + 0.05
    assert utility[20:, 1].mean() > utility[:20, 1].mean() + 0.05


class Counted:
    """Charges for unique candidates up to a budget."""

    def __init__(self, objectives: Any, budget: int) -> None:
        self.objectives, self.budget = objectives, budget
        self.utility: dict[Any, Tensor] = {}

    def __call__(self, candidates: Any, *, preference: Tensor | None = None) -> Any:
        found = self.objectives(candidates)
        for item, row in zip(candidates, found.utility, strict=True):
            if item not in self.utility and len(self.utility) == self.budget:
                raise BudgetExhausted("enough")
            self.utility[item] = row
        return found

    def hypervolume(self) -> float:
        return float(hypervolume(torch.stack(list(self.utility.values()))))


def pairs(candidate: Any, pair: str) -> float:
    return candidate.key.count(pair)


@pytest.mark.parametrize(
    "build",
    [
        lambda world: NSGA2Baseline(world, 50),
        lambda world: MARS(world, 50, MLP(32, 1), length=30),
    ],
    ids=["nsga2", "mars"],
)
def test_searches_of_sequences_find_a_better_front_than_random_ones(build: Any) -> None:
    """Bigrams AC and DE among sequences of ten of five letters, with as many unique candidates."""
    world = SequenceEnvironment("ACDEF", 10, 10)
    objectives: ObjectiveSet[Any] = ObjectiveSet(
        [FunctionObjective(pairs, name=pair, worst=0, best=5, parameters={"pair": pair}) for pair in ("AC", "DE")]
    )
    found = []
    for kind in (RandomPolicy, build):
        measure = Counted(objectives, 1500)
        kind(world).fit(measure, m=2, generator=torch.Generator().manual_seed(0))
        assert len(measure.utility) == 1500
        found.append(measure.hypervolume())
    assert found[1] > 1.4 * found[0]
