"""Exact policies, fronts and distances of environments that can be listed."""

from __future__ import annotations

import pytest
import torch

from mogen.errors import ShapeError
from samplers.environment.exact import (
    Enumerable,
    all_paths,
    exact_front,
    exact_policy,
    l1_distance,
    target_distribution,
)
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import retrace
from samplers.environment.strings import StringEnvironment

LISTED = [HyperGrid(2, 32), HyperGrid(3, 4), HyperGrid(2, 5, False), StringEnvironment("abc", 4)]


def rewards(environment: Enumerable, *shape: int) -> torch.Tensor:
    count = len(environment.decode(environment.terminals()))
    return 5 * torch.randn(*shape, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("environment", LISTED)
def test_the_exact_policy_samples_in_proportion_to_reward(environment: Enumerable) -> None:
    log_reward = rewards(environment, 2)
    log_forward, log_flow = exact_policy(environment, log_reward)
    found = environment.terminal_distribution(log_forward)
    assert float(l1_distance(found, target_distribution(log_reward)).max()) < 1e-12
    assert torch.allclose(log_flow[:, 0], log_reward.logsumexp(-1), atol=1e-12)


@pytest.mark.parametrize("environment", [HyperGrid(2, 5), StringEnvironment("ab", 3)])
def test_the_exact_policy_balances_every_trajectory(environment) -> None:
    """log Z + sum log P_F = log R + sum log P_B along every path."""
    log_reward = rewards(environment)
    log_forward, log_flow = exact_policy(environment, log_reward)
    trajectories = retrace(environment, all_paths(environment))
    state_row = {_text(environment, environment.states(), row): row for row in range(len(log_flow))}
    reward = dict(zip(environment.decode(environment.terminals()), log_reward.tolist(), strict=True))
    for path in range(len(trajectories.actions)):
        total = float(log_flow[0])
        for step in range(trajectories.actions.shape[1]):
            state = trajectories.states[step]
            if not bool(environment.is_terminal(state)[path]):
                row = state_row[_text(environment, state, path)]
                total += float(log_forward[row, trajectories.actions[path, step, 0]])
        end = environment.decode(trajectories.final)[path]
        assert total == pytest.approx(reward[end] + float(trajectories.log_backward[path].sum()), abs=1e-5)


def _text(environment, state, row: int) -> str:
    return str([value[row].tolist() for value in vars(state).values()])


def test_distances_and_distributions() -> None:
    p = target_distribution(torch.tensor([0.0, 0.0, -torch.inf]))
    assert p.tolist() == [0.5, 0.5, 0.0]
    assert float(l1_distance(p, torch.tensor([0.0, 0.0, 1.0]))) == 2.0
    assert float(l1_distance(p, p)) == 0.0
    with pytest.raises(ShapeError, match="24 terminals"):
        exact_policy(HyperGrid(2, 5), torch.zeros(25))


def test_the_exact_front_of_a_grid() -> None:
    """Of x + y = 1 or less, the front is the anti-diagonal within the terminals."""

    def utility(points):
        return torch.tensor([[(1 + x) / 2, (1 - x) / 2] for x, _ in (point.coordinates for point in points)])

    front = exact_front(HyperGrid(2, 6), utility)
    assert len(front) == 6 and torch.allclose(front.sum(-1), torch.ones(6))
