"""What is asked for, how networks are told, how it is relabelled, and how training resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mogen.errors import ConfigError
from mogen.objective import FunctionObjective, ObjectiveSet
from mogen.preference import Dirichlet, TabularGoals, WeightedSum
from samplers.environment.exact import l1_distance, target_distribution
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import UniformActor, masked, rollout
from samplers.gflownet.condition import (
    Condition,
    ConstantBeta,
    GammaBeta,
    Goals,
    Preferences,
    Unasked,
    encode,
    encoding_size,
    gamma_quantile,
)
from samplers.gflownet.loss import (
    DetailedBalance,
    FlowMatching,
    LogPartitionVariance,
    OrderPreserving,
    SubTrajectoryBalance,
    TrajectoryBalance,
    TrajectoryLoss,
)
from samplers.gflownet.networks.mlp import MLP
from samplers.gflownet.policy import LogitScale
from samplers.gflownet.replay import Replay
from samplers.gflownet.reward import Reward
from samplers.gflownet.sampler import GFlowNetSampler


def test_a_gamma_beta_has_its_moments_and_its_quantile() -> None:
    beta = GammaBeta(9.0, 2.0)
    drawn = beta.sample(40_000, generator=torch.Generator().manual_seed(0))
    assert drawn.mean().item() == pytest.approx(18.0, rel=0.02) and drawn.var().item() == pytest.approx(36.0, rel=0.05)
    assert (drawn < beta.highest).float().mean().item() == pytest.approx(0.95, abs=0.005)
    assert gamma_quantile(1.0, 0.5) == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-6)  # exponential


def test_encodings_end_with_beta() -> None:
    condition = Condition(torch.tensor([[0.25, 0.75]]), torch.tensor([4.0]))
    assert encode(condition, bins=5, highest=8.0, encoding="vanilla").tolist() == [[0.25, 0.75, 0.5]]
    told = encode(condition, bins=5, highest=8.0)
    assert told.shape == (1, encoding_size(2, 5)) and told[0, -3:].tolist() == [0.25, 0.75, 0.5]
    assert told[0, :5].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0] and told[0, 5:10].tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    for asking in (Preferences(), Preferences("vanilla"), Goals(), Unasked()):
        assert asking.encode(condition, bins=5, highest=8.0).shape == (1, asking.size(2, 5))
        assert asking.encode(condition, bins=5, highest=8.0)[0, -1].item() == 0.5
    with pytest.raises(ConfigError, match="thermometer or vanilla"):
        Preferences("plain")  # type: ignore[arg-type]


def test_logits_are_not_scaled_at_first() -> None:
    assert torch.allclose(LogitScale()(torch.rand(7, 3)), torch.ones(7, 1), atol=1e-5)


def test_goals_are_asked_for_by_the_direction_of_a_preference() -> None:
    asking = Goals(cosine=0.9)
    assert torch.allclose(asking.of(torch.tensor([[0.5, 0.5]])), torch.full((1, 2), 0.5**0.5))
    reward = Reward(asking.scalarization(WeightedSum()), -75.0)
    inside, outside = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.5]])
    condition = Condition(asking.of(torch.tensor([[0.5, 0.5]])), torch.tensor([2.0]))
    valid = torch.tensor([True])
    assert reward.of_utility(inside, valid, condition).item() == pytest.approx(2 * torch.tensor(0.5).log().item())
    assert reward.of_utility(outside, valid, condition).item() == -75.0


def test_hindsight_relabels_only_what_was_missed() -> None:
    asking = Goals(cosine=0.95)
    goal = asking.of(torch.tensor([[0.5, 0.5]]).expand(3, 2))
    utility = torch.tensor([[0.6, 0.6], [0.8, 0.0], [0.0, 0.0]])
    found = asking.relabelled(Condition(goal, torch.ones(3)), utility, 1.0).preference
    assert torch.allclose(found, torch.stack([goal[0], torch.tensor([1.0, 0.0]), goal[2]]))
    assert torch.equal(asking.relabelled(Condition(goal, torch.ones(3)), utility, 0.0).preference, goal)
    wished = torch.tensor([[0.5, 0.5]]).expand(1, 2)
    own = Preferences().relabelled(Condition(wished, torch.ones(1)), torch.tensor([[0.2, 0.6]]), 1.0).preference
    assert own[0].tolist() == pytest.approx([0.25, 0.75])


def test_replay_keeps_the_requests_trajectories_were_made_for() -> None:
    environment, seed = HyperGrid(2, 8), torch.Generator().manual_seed(0)
    replay = Replay(capacity=40, warmup=4, sharpness=50.0, condition="own")
    for turn in range(3):
        trajectories = rollout(environment, UniformActor(environment), 20, ends_early=True, generator=seed)
        condition = Condition(Dirichlet().sample(20, 2, generator=seed), torch.full((20,), float(turn + 1)))
        replay.add(trajectories, torch.rand(20, 2, generator=seed), torch.ones(20).bool(), condition, environment)
    assert replay.kept is not None and replay.kept.actions.shape == (40, environment.max_steps, 1)
    assert replay.kept.beta is not None and replay.kept.beta.tolist() == [2.0] * 20 + [3.0] * 20
    drawn = replay.draw_own(500, Reward(WeightedSum()), generator=seed)
    scalar = (replay.kept.preference * replay.kept.utility).sum(1)
    best = (drawn.condition.preference * drawn.utility).sum(1)
    assert best.mean() > scalar.mean() + 0.2 and best.max() == scalar.max()
    retold = drawn.retold(environment, generator=seed)
    assert environment.is_terminal(retold.final).all()


def grid_objectives() -> ObjectiveSet:
    return ObjectiveSet(
        [
            FunctionObjective(lambda point: point.coordinates[0], name="right", worst=-1.5, best=1),
            FunctionObjective(lambda point: point.coordinates[1], name="up", worst=-1.5, best=1),
        ]
    )


LOSSES: list[tuple[TrajectoryLoss, str]] = [
    (TrajectoryBalance(), "uniform"),
    (TrajectoryBalance(), "learned"),
    (SubTrajectoryBalance(0.9), "uniform"),
    (DetailedBalance(), "uniform"),
    (LogPartitionVariance(16), "uniform"),
    (FlowMatching(), "uniform"),
]


@pytest.mark.parametrize(("loss", "backward"), LOSSES, ids=[f"{type(a).__name__}-{b}" for a, b in LOSSES])
def test_every_loss_learns_the_exact_distribution(loss: TrajectoryLoss, backward: str) -> None:
    """L1 over all terminals of a small grid, from the policy's exact distribution."""
    environment, measure = HyperGrid(2, 4), grid_objectives()
    sampler: GFlowNetSampler = GFlowNetSampler(
        environment=environment,
        network=MLP(32, 2),
        loss=loss,
        beta=ConstantBeta(4.0),
        backward=backward,  # type: ignore[arg-type]
        steps=200,
        batch=64,
        learning_rate=1e-2,
        partition_rate=1e-1,
        decay_steps=35,
        epsilon=0.1,
        average=0.9,
        accelerator="cpu",
    )
    sampler.fit(lambda points, preference=None: measure(points), m=2, generator=torch.Generator().manual_seed(0))
    states, utility = environment.states(), measure(environment.decode(environment.terminals())).utility
    n, none = len(states.position), torch.zeros(len(states.position), 0, dtype=torch.long)
    policy = sampler.module.policy
    for preference in ([0.9, 0.1], [0.4, 0.6]):
        condition = Condition(torch.tensor([preference]), torch.tensor([4.0]))
        with torch.no_grad():
            told = tuple(part.expand(n, -1) for part in policy.tell(sampler.module.encoded(condition)))
            logits = policy.choose(policy.trunk(states, told), states, none, told)
        log_forward = masked(logits, environment.allowed(states, none)).log_softmax(-1)
        everything = torch.ones(len(utility), dtype=torch.bool)
        log_reward = sampler.reward.of_utility(utility, everything, condition.repeated(len(utility)))
        learned, target = environment.terminal_distribution(log_forward), target_distribution(log_reward)
        assert float(l1_distance(learned, target)) < 0.35
        assert float(l1_distance(torch.full_like(target, 1 / len(target)), target)) > 0.8


@pytest.mark.parametrize(
    "given",
    [
        {"asking": Goals(TabularGoals(8, 0.1, 0.6)), "replay": Replay(200, 16, hindsight=0.3, condition="own")},
        {"loss": OrderPreserving(), "replay": Replay(200, 16, sharpness=0.0)},
        {"loss": LogPartitionVariance(8), "replay": Replay(200, 16, rebuilt=0.5)},
    ],
    ids=["goals", "ordered", "variance"],
)
def test_training_goes_on_from_a_checkpoint_to_the_last_bit(given: dict, tmp_path: Path) -> None:
    """Twelve steps at once, and twelve steps of which eight are done again from the checkpoint after four."""

    def trained(folder: Path, stop: int | None) -> GFlowNetSampler:
        sampler: GFlowNetSampler = GFlowNetSampler(
            environment=HyperGrid(2, 6),
            network=MLP(16, 2),
            steps=12,
            batch=16,
            checkpoint_every=4,
            accelerator="cpu",
            **{name: type(part)(**arguments(part)) for name, part in given.items()},
        )
        calls, measure = [0], grid_objectives()

        def limited(points, preference=None):
            calls[0] += 1
            if stop is not None and calls[0] > stop:
                raise KeyboardInterrupt
            return measure(points)

        sampler.fit(limited, m=2, generator=torch.Generator().manual_seed(0), folder=folder)
        return sampler

    whole = trained(tmp_path / "whole", None)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path / "cut", 6)
    resumed = trained(tmp_path / "cut", None)
    first, second = whole.module.state_dict(), resumed.module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(whole.module.generator.get_state(), resumed.module.generator.get_state())


def arguments(part) -> dict:
    """What a fresh part of the same kind is made with."""
    if isinstance(part, Replay):
        return {name: value for name, value in vars(part).items() if name != "kept"}
    if isinstance(part, Goals):
        return {"goals": TabularGoals(8, 0.1, 0.6)}
    return {"group": part.group} if isinstance(part, LogPartitionVariance) else {}
