"""Every network: the rollout and the gradient pass agree, and a sampler of it trains, saves and loads."""

from __future__ import annotations

import pytest
import torch

from mogen.errors import ConfigError
from mogen.objective import FunctionObjective, ObjectiveSet
from samplers.environment.atom import AtomEnvironment
from samplers.environment.edit import SequenceEdit
from samplers.environment.environment import Environment
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import rollout
from samplers.environment.sequence import SequenceEnvironment
from samplers.environment.strings import StringEnvironment
from samplers.environment.vocabulary import Fragment
from samplers.gflownet.condition import Goals, LogUniformBeta, Preferences, Unasked
from samplers.gflownet.loss import (
    DetailedBalance,
    FlowMatching,
    LogPartitionVariance,
    OrderPreserving,
    SubTrajectoryBalance,
    TrajectoryBalance,
)
from samplers.gflownet.networks.atom import AtomTransformer
from samplers.gflownet.networks.default import default_network
from samplers.gflownet.networks.mlp import MLP
from samplers.gflownet.networks.sequence import CausalTransformer, EditTransformer
from samplers.gflownet.policy import FLOW, LogitScale, Network, Policy, PolicyActor, path_log_probs
from samplers.gflownet.replay import Replay
from samplers.gflownet.sampler import GFlowNetSampler

PAIRS: list[tuple[Environment, Network]] = [
    (HyperGrid(2, 5), MLP(16, 2)),
    (HyperGrid(3, 4, False), MLP(16, 3)),
    (StringEnvironment("abc", 3), MLP(16, 1)),
    (SequenceEnvironment("ACGT", 3, 6), CausalTransformer(16, 2, 2)),
    (SequenceEnvironment("ACGT", 3, 6), MLP(16, 2)),
    (SequenceEdit(["ACGTA", "CCG"], "ACGT", 3, 1), EditTransformer(16, 2, 2)),
    (SequenceEdit(["ACGTA"], "ACGT", 3, 0, [1, 2, 4]), EditTransformer(16, 1, 2)),
    (SequenceEdit(["ACGTA", "CCG"], "ACGT", 3, 1), MLP(16, 2)),
    (AtomEnvironment(max_atoms=4), AtomTransformer(16, 2, 2)),
    (AtomEnvironment(max_atoms=4), MLP(16, 2)),
]
NAMES = [f"{type(environment).__name__}-{type(network).__name__}" for environment, network in PAIRS]


class Recorder(PolicyActor):
    """Keeps the logits a rollout saw."""

    def __init__(self, policy: Policy, condition: torch.Tensor) -> None:
        super().__init__(policy, condition)
        self.seen: list[torch.Tensor] = []

    def logits(self, memory, state, chosen):
        logits = super().logits(memory, state, chosen)
        self.seen.append(logits)
        return logits


@pytest.mark.parametrize(("environment", "network"), PAIRS, ids=NAMES)
@pytest.mark.parametrize("is_scaled", [False, True])
def test_the_gradient_pass_sees_the_probabilities_of_the_rollout(environment, network: Network, is_scaled) -> None:
    torch.manual_seed(0)
    n = 40
    policy = network.build(environment, 6)
    if is_scaled:
        policy.scale = LogitScale()
        torch.nn.init.normal_(policy.scale.network[2].weight)
    condition = torch.rand(n, 6)
    actor = Recorder(policy, condition)
    trajectories = rollout(environment, actor, n, ends_early=True, generator=torch.Generator().manual_seed(0))
    path = path_log_probs(environment, policy, trajectories, condition, {FLOW})
    steps, choices = trajectories.actions.shape[1:]
    for step in range(steps):
        expected = torch.zeros(n)
        for choice in range(choices):
            allowed = trajectories.allowed[choice][:, step]
            logits = actor.seen[step * choices + choice].masked_fill(~allowed, -1e9)
            expected += logits.log_softmax(-1).gather(1, trajectories.actions[:, step, choice, None])[:, 0]
        torch.testing.assert_close(path.forward[:, step], expected, atol=1e-4, rtol=1e-4)
    assert (path.forward[~path.is_step] == 0).all() and (path.forward[path.is_step] < 1e-6).all()
    assert path.flow is not None and path.flow.shape == path.forward.shape
    path.log_forward.sum().backward()
    assert all(part.grad is not None for name, part in policy.named_parameters() if not name.startswith("flow"))


def test_a_rollout_that_ends_early_is_the_same_without_the_common_padding() -> None:
    environment, network = HyperGrid(2, 32), MLP(8, 1)
    policy = network.build(environment, 2)
    short, whole = (
        rollout(
            environment,
            PolicyActor(policy, torch.zeros(10, 2)),
            10,
            ends_early=ends_early,
            generator=torch.Generator().manual_seed(1),
        )
        for ends_early in (True, False)
    )
    steps = short.actions.shape[1]
    assert steps == int(whole.is_step.sum(1).max()) < environment.max_steps == whole.actions.shape[1]
    assert torch.equal(short.actions, whole.actions[:, :steps])
    assert torch.equal(short.log_backward, whole.log_backward[:, :steps]) and not whole.is_step[:, steps:].any()


def test_every_environment_has_a_network() -> None:
    fragments = FragmentEnvironment.of([Fragment("CC", (0, 1)), Fragment("F", (0,))], 3, 1)
    for environment in [*(environment for environment, _ in PAIRS), fragments]:
        policy = default_network(environment).build(environment, 4)
        actor = PolicyActor(policy, torch.zeros(3, 4))
        assert bool(environment.is_terminal(rollout(environment, actor, 3).final).all())


def objectives() -> ObjectiveSet:
    """How long a candidate's key is, and how early in the alphabet."""

    def length(candidate) -> float:
        return len(candidate.key)

    def early(candidate) -> float:
        return sum(letter < "D" for letter in candidate.key) / max(1, len(candidate.key))

    return ObjectiveSet(
        [
            FunctionObjective(length, name="length", worst=0, best=12),
            FunctionObjective(early, name="early", worst=-0.1, best=1),
        ]
    )


def fitted(**given) -> GFlowNetSampler:
    given = {"steps": 4, "batch": 8, "accelerator": "cpu"} | given
    sampler = GFlowNetSampler(**given)
    sampler.fit(objectives(), m=2, generator=torch.Generator().manual_seed(3))
    return sampler


def drawn(sampler: GFlowNetSampler) -> list:
    preference = torch.tensor([[0.3, 0.7]]).expand(20, 2)
    return sampler.sample(preference, generator=torch.Generator().manual_seed(4)).candidates


@pytest.mark.parametrize(("environment", "network"), PAIRS, ids=NAMES)
def test_samplers_of_every_environment_come_back_the_same(environment, network: Network, tmp_path) -> None:
    sampler = fitted(environment=environment, network=network, backward="uniform")
    sampler.save(tmp_path)
    assert drawn(GFlowNetSampler.load(tmp_path)) == drawn(sampler)


VARIANTS = {
    "subtb": {"loss": SubTrajectoryBalance()},
    "db": {"loss": DetailedBalance()},
    "vargrad": {"loss": LogPartitionVariance(4), "replay": Replay(100, 8, share=1.3)},
    "fm": {"loss": FlowMatching()},
    "ordered": {"loss": OrderPreserving(), "replay": Replay(100, 8, sharpness=0.0)},
    "goals": {"asking": Goals(), "replay": Replay(100, 8, sharpness=0.0, hindsight=0.3, condition="own")},
    "vanilla": {"asking": Preferences("vanilla", hindsight=0.5), "beta": LogUniformBeta(1.0, 8.0)},
    "learned": {"backward": "learned", "scales_logits": True, "beta": LogUniformBeta(1.0, 8.0)},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_train_and_come_back_the_same(name: str, tmp_path) -> None:
    sampler = fitted(environment=HyperGrid(2, 5), network=MLP(16, 2), steps=6, **VARIANTS[name])
    before = sampler.build(2, generator=torch.Generator().manual_seed(3)).policy.state_dict()
    after = sampler.module.policy.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    if name == "learned":
        assert not torch.equal(before["backward.weight"], after["backward.weight"])
        assert not torch.equal(before["scale.network.2.weight"], after["scale.network.2.weight"])
    sampler.save(tmp_path)
    assert drawn(GFlowNetSampler.load(tmp_path)) == drawn(sampler)


def test_what_does_not_fit_together_is_one_sentence() -> None:
    grid, sequence = HyperGrid(2, 5), SequenceEnvironment("AC", 2, 3)
    wrong = [
        ({"environment": sequence, "loss": FlowMatching()}, "policy of the state"),
        ({"environment": sequence, "backward": "learned"}, "learned backward policy"),
        ({"environment": AtomEnvironment(max_atoms=3), "backward": "learned"}, "learned backward policy"),
        ({"environment": grid, "loss": LogPartitionVariance(3)}, "divides"),
        ({"environment": grid, "loss": OrderPreserving(), "asking": Preferences()}, "Unasked"),
        ({"environment": grid, "loss": FlowMatching(), "scales_logits": True}, "scales_logits"),
        ({"environment": grid, "backward": "free"}, "uniform or a learned"),
    ]
    for given, part in wrong:
        with pytest.raises(ConfigError, match=part):
            fitted(**given)
    edit = SequenceEdit(["ACG"], "ACGT", 2, 1)
    with pytest.raises(ConfigError, match="one choice"):
        fitted(environment=edit, loss=FlowMatching())
    assert isinstance(GFlowNetSampler(environment=grid, loss=OrderPreserving()).asking, Unasked)
    assert isinstance(GFlowNetSampler(environment=grid).loss, TrajectoryBalance)
