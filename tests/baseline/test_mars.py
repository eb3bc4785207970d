"""MARS: at a constant temperature its chains have the distribution they should have."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from mogen.objective import FunctionObjective, ObjectiveSet
from samplers.baseline.learner import told_preference
from samplers.baseline.mars import MARS, is_accepted, moved, rebuild
from samplers.environment.edit import SequenceEdit
from samplers.environment.exact import all_paths, backward_totals
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import UniformActor, last_state, rollout
from samplers.environment.sequence import SequenceEnvironment
from samplers.environment.strings import StringEnvironment
from samplers.environment.vocabulary import Fragment
from samplers.gflownet.networks.mlp import MLP

ENVIRONMENTS: dict[str, Any] = {
    "grid": HyperGrid(2, 4, edge_ends=False),
    "edge": HyperGrid(2, 5),
    "sequence": SequenceEnvironment("ab", 1, 3),
    "strings": StringEnvironment("ab", 3),
    # two parents that reach the same sequences
    "edit": SequenceEdit(["ab", "bb"], "ab", max_edits=2, min_edits=0),
    # molecules with symmetries, built along several paths, of fragments of different sizes
    "fragment": FragmentEnvironment.of(
        [Fragment("C1CC1", (0, 1, 2)), Fragment("N", (0, 0)), Fragment("F", (0,))], 3, 1
    ),
}


def weights(environment: Any) -> dict[str, float]:
    """Every candidate with its reward, times the number of states that are decoded to it."""
    totals = backward_totals(environment)
    reward = torch.rand(len(totals), generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.05
    return {key: value * round(totals[key]) for key, value in zip(sorted(totals), reward.tolist(), strict=True)}


def chains(environment: Any, policy: Any, reward: dict[str, float], *, n: int, steps: int, depth: int) -> Any:
    """Where n chains are after some steps from random candidates."""
    totals = backward_totals(environment)
    generator = torch.Generator().manual_seed(11)
    told = told_preference(torch.tensor([[0.5, 0.5]]), 4).expand(n, -1)
    state: Any = rollout(environment, UniformActor(environment), n, generator=generator).final

    def log_reward(where: Any) -> Tensor:
        keys = [item.key for item in environment.decode(where)]
        return torch.tensor([reward[key] / round(totals[key]) for key in keys], dtype=torch.float64).log()

    for _ in range(steps):
        move = rebuild(environment, policy, told, state, depth, generator=generator)
        taken = is_accepted(move.log_ratio, log_reward(state), log_reward(move.new.final), generator=generator)
        state = moved(state, move.new.final, taken)
    return state


def fits(environment: Any, state: Any, reward: dict[str, float]) -> float:
    """The p-value of where chains are, against the exact distribution."""
    count = Counter(item.key for item in environment.decode(state))
    assert set(count) <= set(reward)
    n, total = sum(count.values()), sum(reward.values())
    return float(chisquare([count[key] for key in reward], [n * value / total for value in reward.values()]).pvalue)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_chains_with_a_uniform_proposal_are_exact(name: str) -> None:
    environment, reward = ENVIRONMENTS[name], weights(ENVIRONMENTS[name])
    n, steps = (400, 12) if name == "fragment" else (2000, 20)
    state = chains(environment, None, reward, n=n, steps=steps, depth=environment.max_steps)
    assert fits(environment, state, reward) > 1e-3


@pytest.mark.parametrize("name", ["grid", "strings", "edit"])
def test_chains_with_any_policy_and_few_steps_back_are_exact(name: str) -> None:
    environment, reward = ENVIRONMENTS[name], weights(ENVIRONMENTS[name])
    with torch.random.fork_rng():
        torch.manual_seed(2)
        policy = MLP(8, 1).build(environment, 10)
        for part in policy.parameters():
            torch.nn.init.normal_(part, std=0.2)
    state = chains(environment, policy, reward, n=1000, steps=60, depth=3)
    assert fits(environment, state, reward) > 1e-3


def test_without_the_proposal_ratio_chains_are_wrong() -> None:
    """The check above can fail: random candidates themselves do not have the distribution."""
    environment, reward = ENVIRONMENTS["grid"], weights(ENVIRONMENTS["grid"])
    start: Any = rollout(environment, UniformActor(environment), 2000, generator=torch.Generator().manual_seed(0)).final
    assert fits(environment, start, reward) < 1e-6


def test_moves_keep_the_beginnings_of_paths_and_go_back_no_deeper_than_asked() -> None:
    environment = HyperGrid(2, 6, edge_ends=False)
    state: Any = rollout(environment, UniformActor(environment), 300, generator=torch.Generator().manual_seed(0)).final
    move = rebuild(environment, None, torch.zeros(300, 1), state, 3, generator=torch.Generator().manual_seed(1))
    steps = torch.arange(environment.max_steps)
    same = (move.old.actions == move.new.actions)[..., 0] | (steps >= move.kept[:, None])
    assert bool(same.all())
    gone = move.old.is_step.sum(1) - move.kept
    assert gone.min() == 1 and gone.max() == 3
    too_deep = move.new.is_step.sum(1) - move.kept > 3
    assert too_deep.any() and bool((move.log_ratio[too_deep] == -torch.inf).all())


def test_annealing_is_geometric() -> None:
    mars: MARS = MARS(HyperGrid(2, 4), length=5, first_beta=1.0, last_beta=16.0, is_learned=False)
    assert [mars.beta(step) for step in range(5)] == pytest.approx([1, 2, 4, 8, 16])


def test_invalid_candidates_are_left_and_never_entered() -> None:
    mars: MARS = MARS(HyperGrid(2, 4), is_learned=False)
    log_score = mars._log_score(torch.zeros(2, 2), torch.tensor([True, False]), torch.full((2, 2), 0.5))
    generator = torch.Generator().manual_seed(0)
    into = is_accepted(torch.zeros(500), log_score[:1].expand(500), log_score[1:].expand(500), generator=generator)
    out = is_accepted(torch.zeros(500), log_score[1:].expand(500), log_score[:1].expand(500), generator=generator)
    assert not into.any() and out.all()


def test_a_learned_proposal_builds_as_in_the_moves_that_gained() -> None:
    """Only one end is worth anything: after annealing the policy goes there by itself more often than at random."""
    environment = HyperGrid(2, 6)

    def near(candidate: Any) -> float:
        x, y = candidate.coordinates
        return 1.0 - abs(x - 0.6) / 2 - abs(y + 0.2) / 2

    objectives: ObjectiveSet[Any] = ObjectiveSet([FunctionObjective(near, name="near", worst=0, best=1)])
    mars: MARS = MARS(environment, 40, MLP(16, 1), length=30, learning_rate=1e-2)
    generator = torch.Generator().manual_seed(0)
    search = mars.search(generator, 1)
    proposal = next(search)
    early, late = [], []
    for step in range(60):
        found = objectives(proposal.candidates)
        (early if step < 5 else late if step >= 50 else []).append(found.utility.mean())
        proposal = search.send((found.utility, found.is_valid))
    assert torch.stack(late).mean() > torch.stack(early).mean() + 0.1


def test_paths_of_the_listed_environments_end_in_what_is_weighted() -> None:
    for environment in ENVIRONMENTS.values():
        ends = environment.decode(last_state(environment, all_paths(environment)))
        assert {item.key for item in ends} == set(weights(environment))
