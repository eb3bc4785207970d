"""Envelope Q-learning against value iteration by listing every path."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mogen.objective import FunctionObjective, ObjectiveSet
from samplers.baseline.envelope_q import (
    Decisions,
    EnvelopeQ,
    GreedyActor,
    Memory,
    VectorQ,
    envelope_loss,
    envelope_targets,
)
from samplers.environment.edit import SequenceEdit
from samplers.environment.exact import all_paths
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import retrace, rollout
from samplers.environment.sequence import SequenceEnvironment
from samplers.gflownet.networks.mlp import MLP


def listed(environment: Any) -> tuple[Decisions, Tensor, list[list[tuple[int, ...]]]]:
    """The decisions of every path, random utilities of every end, and the choices made before each decision."""
    trajectories = retrace(environment, all_paths(environment))
    decisions = Decisions.of(trajectories)
    keys = [item.key for item in environment.decode(trajectories.final)]
    unique = sorted(set(keys))
    table = torch.rand(len(unique), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = [[tuple(row[:d]) for d in range(len(row))] for row in decisions.taken.tolist()]
    return decisions, table[[unique.index(key) for key in keys]], before


def best_ends(decisions: Decisions, utility: Tensor, weight: Tensor, prefix: tuple[int, ...]) -> Tensor:
    """The utilities of the best end, to a weight, of all paths that begin with some choices."""
    rows = [i for i, row in enumerate(decisions.taken.tolist()) if tuple(row[: len(prefix)]) == prefix]
    return utility[rows][(utility[rows] @ weight).argmax()]


@pytest.mark.parametrize(
    "environment",
    [
        SequenceEnvironment("abc", 1, 3),
        HyperGrid(2, 3, edge_ends=False),
        SequenceEdit(["ab", "ca"], "abc", max_edits=2, min_edits=0),
    ],
    ids=lambda item: type(item).__name__,
)
def test_the_operator_ends_at_the_values_of_value_iteration(environment: Any) -> None:
    decisions, utility, before = listed(environment)
    preference = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)
    places = {prefix: i for i, prefix in enumerate(sorted({prefix for row in before for prefix in row}))}
    index = torch.tensor([[places[prefix] for prefix in row] for row in before])
    _, d, a = decisions.allowed.shape
    table = torch.zeros(3, len(places), a, 2, dtype=torch.float64)
    for _ in range(d + 1):
        target = envelope_targets(table[:, index], decisions.allowed, decisions.is_last, utility, preference)
        real = decisions.is_real
        table[:, index[real], decisions.taken[real]] = target[:, real]
    again = envelope_targets(table[:, index], decisions.allowed, decisions.is_last, utility, preference)
    assert torch.equal(table[:, index[real], decisions.taken[real]], again[:, real])
    for v, weight in enumerate(preference):
        for row, column in decisions.is_real.nonzero().tolist():
            choice = int(decisions.taken[row, column])
            exact = best_ends(decisions, utility, weight, (*before[row][column], choice))
            found = table[v, index[row, column], choice]
            # two ends may be worth the same to a weight, but none is worth more
            assert torch.allclose(found @ weight, exact @ weight, atol=1e-12)


def test_another_preference_shows_a_better_way() -> None:
    """The maximum goes over preferences too: what Q knows under w' serves w."""
    value = torch.zeros(2, 1, 2, 2, 2)  # preferences, paths, decisions, options, objectives
    value[0, 0, 1, 0] = torch.tensor([0.1, 0.1])
    value[1, 0, 1, 1] = torch.tensor([0.6, 0.3])
    is_last = torch.tensor([[False, True]])
    allowed = torch.ones(1, 2, 2, dtype=torch.bool)
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    target = envelope_targets(value, allowed, is_last, torch.tensor([[0.2, 0.9]]), preference, 0.5)
    assert torch.allclose(target[:, 0, 0], torch.tensor([[0.3, 0.15], [0.3, 0.15]]))
    assert torch.allclose(target[:, 0, 1], torch.tensor([[0.2, 0.9], [0.2, 0.9]]))
    allowed[0, 1, 1] = False
    target = envelope_targets(value, allowed, is_last, torch.tensor([[0.2, 0.9]]), preference)
    assert torch.allclose(target[0, 0, 0], torch.tensor([0.1, 0.1]))


def test_the_loss_goes_from_all_objectives_to_the_one_asked_for() -> None:
    value, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.3, -0.1], [9.0, 9.0]]]])
    preference, is_real = torch.tensor([[0.25, 0.75]]), torch.tensor([[True, False]])
    assert envelope_loss(value, target, preference, is_real, 0.0) == pytest.approx(0.09 + 0.01)
    assert envelope_loss(value, target, preference, is_real, 1.0) == pytest.approx(0.0, abs=1e-7)
    assert envelope_loss(value, target, preference, is_real, 0.5) == pytest.approx(0.05)


def test_decisions_end_where_paths_end() -> None:
    environment = SequenceEdit(["ab"], "abc", max_edits=2, min_edits=0)
    trajectories = retrace(environment, all_paths(environment))
    decisions = Decisions.of(trajectories)
    assert torch.equal(decisions.is_last.sum(1), torch.ones(len(decisions.is_last), dtype=torch.long))
    assert torch.equal(decisions.is_real.sum(1), 2 * trajectories.is_step.sum(1))
    assert bool(decisions.allowed.gather(2, decisions.taken[..., None]).all())


def test_memory_keeps_the_newest() -> None:
    memory = Memory(3)
    for value in range(5):
        actions = torch.full((1, 4, 1), value)
        memory.add(actions, torch.tensor([value % 2 + 1]), torch.full((1, 2), float(value)))
    actions, utility = memory.draw(200, torch.Generator().manual_seed(0))
    assert sorted(set(utility[:, 0].tolist())) == [2.0, 3.0, 4.0]
    assert actions.shape == (200, 2, 1) and torch.equal(actions[:, 0, 0].float(), utility[:, 0])


def test_the_greedy_actor_takes_the_largest_weighted_value() -> None:
    environment = HyperGrid(2, 5)
    learner = EnvelopeQ(environment, MLP(8, 1), bins=4)
    learner.build(2, generator=torch.Generator().manual_seed(0))
    preference = torch.tensor([[1.0, 0.0], [0.3, 0.7], [0.0, 1.0]]).repeat(5, 1)
    told = learner.told(preference)
    with torch.no_grad():
        path = rollout(environment, GreedyActor(learner.model, preference, told), 15)
        value = torch.einsum("ndam,nm->nda", learner.model(path, told), preference)
    value = value.masked_fill(~path.allowed[0], -torch.inf)
    right = value.argmax(-1) == path.actions[..., 0]
    assert bool(right[path.is_step].all())


def test_values_learn_what_can_be_reached() -> None:
    environment = HyperGrid(2, 4)

    def utilities(candidates: Any, axis: int) -> float:
        x, y = candidates.coordinates
        return (x + 1) / 2 * (0.4 if y > 0 else 1.0) if axis == 0 else (y + 1) / 2

    objectives: ObjectiveSet[Any] = ObjectiveSet(
        [FunctionObjective(utilities, name=f"u{i}", worst=0, best=1, parameters={"axis": i}) for i in range(2)]
    )
    learner: EnvelopeQ = EnvelopeQ(environment, MLP(32, 2), steps=160, batch=8, weights=5, learning_rate=3e-3, bins=4)
    learner.fit(objectives, m=2, generator=torch.Generator().manual_seed(0))
    preference = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    ends = objectives(environment.decode(environment.terminals())).utility.float()
    best = (preference @ ends.T).amax(1)
    start = retrace(environment, all_paths(environment)[:3])
    assert isinstance(learner.model, VectorQ)
    with torch.no_grad():
        first = learner.model(start, learner.told(preference))[:, 0, :2]
    believed = torch.einsum("nam,nm->na", first, preference).amax(1)
    reached = objectives(learner.sample(preference).candidates).utility.float()
    assert torch.allclose(believed, best, atol=0.1)
    assert torch.allclose((reached * preference).sum(1), best, atol=0.1)
