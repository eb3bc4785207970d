"""Rewards are floored once; replay prefers what a preference likes."""

from __future__ import annotations

import pytest
import torch

from mogen.errors import ConfigError
from mogen.objective import FunctionObjective, ObjectiveSet
from mogen.preference import Tchebycheff, WeightedSum
from samplers.gflownet.condition import (
    Condition,
    ConstantBeta,
    LogUniformBeta,
    UniformBeta,
    encode,
    encoding_size,
)
from samplers.gflownet.loss import TrajectoryBalance
from samplers.gflownet.policy import PathLogProbs
from samplers.gflownet.replay import Replay
from samplers.gflownet.reward import Reward


def evaluation(raw: list[list[float]]):
    objective = FunctionObjective(lambda candidate: 0.0, name="a", worst=0, best=1)
    other = FunctionObjective(lambda candidate: 0.0, name="b", worst=0, best=1)
    return ObjectiveSet([objective, other]).evaluation(torch.tensor(raw))


def condition(n: int, beta: float = 2.0) -> Condition:
    return Condition(torch.tensor([[0.25, 0.75]]).expand(n, 2), torch.full((n,), beta))


def test_log_reward_is_beta_times_the_log_of_the_scalar() -> None:
    log_reward = Reward(WeightedSum())(evaluation([[0.4, 0.8]]), condition(1))
    assert log_reward.item() == pytest.approx(2 * torch.tensor(0.7).log().item(), rel=1e-5)


@pytest.mark.parametrize("scalarization", [WeightedSum(), Tchebycheff()])
def test_an_invalid_candidate_gets_the_floor_whatever_its_values(scalarization) -> None:
    log_reward = Reward(scalarization, -20.0)(evaluation([[1.0, float("nan")], [0.0, 0.0]]), condition(2, 50.0))
    assert log_reward.tolist() == [-20.0, -20.0]


def test_a_floor_must_be_negative() -> None:
    with pytest.raises(ConfigError, match="below 0"):
        Reward(WeightedSum(), 1.0)


def test_replay_keeps_the_newest_and_prefers_what_is_asked_for() -> None:
    replay = Replay(capacity=3, warmup=2, sharpness=200.0)
    actions = torch.arange(4)[:, None, None].expand(4, 1, 2)
    utility = torch.tensor([[1.0, 1.0], [0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    assert not replay.is_ready
    replay.add(actions[:2], utility[:2])
    replay.add(actions[2:], utility[2:])
    assert len(replay) == 3 and replay.is_ready
    drawn, values = replay.draw(condition(64), Reward(WeightedSum()), generator=torch.Generator().manual_seed(0))
    assert (drawn[:, 0, 0] == 2).float().mean() > 0.9
    assert torch.equal(values[0], utility[drawn[0, 0, 0]])
    again = Replay(3)
    again.restore(replay.state())
    assert torch.equal(again.actions, replay.actions) and torch.equal(again.utility, replay.utility)


def test_an_empty_replay_restores_to_an_empty_one() -> None:
    replay = Replay()
    replay.restore(Replay().state())
    assert len(replay) == 0


@pytest.mark.parametrize("beta", [ConstantBeta(8.0), UniformBeta(2.0, 8.0), LogUniformBeta(2.0, 8.0)])
def test_betas_stay_in_their_range(beta) -> None:
    values = beta.sample(500, generator=torch.Generator().manual_seed(0))
    assert values.shape == (500,) and values.max() <= 8.0 + 1e-4 and values.min() >= 2.0 - 1e-4


def test_the_encoding_has_the_promised_width() -> None:
    assert encode(condition(5), bins=7, highest=4.0).shape == (5, encoding_size(2, 7))


def test_huber_changes_the_size_of_large_residuals_only() -> None:
    def path(residual: float) -> PathLogProbs:
        return PathLogProbs(torch.tensor([[residual]]), torch.zeros(1, 1), torch.zeros(1))

    zero = torch.zeros(1)
    assert TrajectoryBalance(2.0)(path(1.0), zero, zero).item() == pytest.approx(1.0)
    assert TrajectoryBalance(2.0)(path(5.0), zero, zero).item() == pytest.approx(2.0 * (10 - 2))
    assert TrajectoryBalance()(path(5.0), zero, zero).item() == pytest.approx(25.0)
