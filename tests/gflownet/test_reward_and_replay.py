"""Rewards are floored once; replay prefers what a preference likes."""

from __future__ import annotations

import pytest
import torch

from mogen.errors import ConfigError
from mogen.objective import FunctionObjective, ObjectiveSet
from mogen.preference import Tchebycheff, WeightedSum
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.rollout import Trajectories, UniformActor, rollout
from samplers.environment.vocabulary import Fragment
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
from samplers.gflownet.replay import Kept, Replay
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


def remembered(actions: torch.Tensor) -> Trajectories:
    n = len(actions)
    return Trajectories(actions, (), [], torch.zeros(n, actions.shape[1]), torch.arange(n).float())


def test_replay_keeps_the_newest_valid_ones_and_prefers_what_is_asked_for() -> None:
    replay = Replay(capacity=3, warmup=2, sharpness=200.0)
    actions = torch.arange(5)[:, None, None].expand(5, 1, 2)
    utility = torch.tensor([[1.0, 1.0], [0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [1.0, 1.0]])
    assert not replay.is_ready
    replay.add(remembered(actions[:2]), utility[:2], torch.tensor([True, True]))
    replay.add(remembered(actions[2:]), utility[2:], torch.tensor([True, True, False]))
    assert len(replay) == 3 and replay.is_ready
    reward, seed = Reward(WeightedSum()), torch.Generator().manual_seed(0)
    drawn = replay.draw(condition(64), reward, generator=seed)
    assert (drawn.actions[:, 0, 0] == 2).float().mean() > 0.9
    assert torch.equal(drawn.utility[0], utility[drawn.actions[0, 0, 0]])
    flat = replay.draw(condition(900), reward, sharpness=0.0, generator=seed)
    shares = flat.actions[:, 0, 0].bincount(minlength=4) / 900
    assert shares.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.05)
    again = Replay(3)
    again.restore(replay.state())
    assert again.kept is not None
    assert all(torch.equal(getattr(again.kept, name), value) for name, value in replay.state().items())


def fragments() -> FragmentEnvironment:
    parts = [Fragment("c1ccccc1", (0, 3)), Fragment("C1CC1", (0, 1, 2)), Fragment("F", (0,))]
    return FragmentEnvironment.of(parts, 4, 1)


def test_retold_trajectories_build_the_same_molecules_in_other_orders() -> None:
    environment = fragments()
    seed = torch.Generator().manual_seed(0)
    trajectories = rollout(environment, UniformActor(environment), 200, generator=seed)
    kept = Kept(trajectories.actions, trajectories.log_symmetry, torch.zeros(200, 2))
    retold = kept.retold(environment, generator=seed)
    assert environment.decode(retold.final) == environment.decode(trajectories.final)
    assert (retold.actions != trajectories.actions).any(-1).any(-1).float().mean() > 0.3
    assert torch.allclose(retold.log_symmetry, environment.log_symmetry(retold.final).float(), atol=1e-5)


def test_a_rollout_goes_on_from_known_beginnings() -> None:
    environment = fragments()
    seed = torch.Generator().manual_seed(0)
    known = rollout(environment, UniformActor(environment), 100, generator=seed).actions
    kept = torch.arange(100) % 5
    new = rollout(environment, UniformActor(environment), 100, begun=(known, kept), generator=seed).actions
    step = torch.arange(4)
    assert torch.equal(new[step < kept[:, None]], known[step < kept[:, None]])
    assert (new != known).any(-1).any(-1)[kept == 0].float().mean() > 0.5


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
