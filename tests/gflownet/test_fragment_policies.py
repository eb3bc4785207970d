"""Rollout and gradient pass agree; the tree policy is blind to the order of construction."""

from __future__ import annotations

import pytest
import torch

from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.rollout import rollout
from samplers.environment.vocabulary import Fragment
from samplers.gflownet.networks.fragment import HistoryTransformer, TreeTransformer, tree_distance
from samplers.gflownet.policy import Network, Policy, PolicyActor, path_log_probs


def environment() -> FragmentEnvironment:
    fragments = [
        Fragment("c1ccccc1", (0, 3)),
        Fragment("CCO", (0, 2)),
        Fragment("C1CC1", (0, 1, 2)),
        Fragment("F", (0,)),
    ]
    return FragmentEnvironment.of(fragments, 5, 2)


class Recorder(PolicyActor):
    """Keeps the logits a rollout saw."""

    def __init__(self, policy: Policy, condition: torch.Tensor) -> None:
        super().__init__(policy, condition)
        self.seen: list[torch.Tensor] = []

    def logits(self, memory, state, chosen):
        logits = super().logits(memory, state, chosen)
        self.seen.append(logits)
        return logits


NETWORKS = [HistoryTransformer(32, 2, 4), TreeTransformer(32, 2, 4)]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradient_pass_sees_the_probabilities_of_the_rollout(network: Network) -> None:
    torch.manual_seed(0)
    world = environment()
    policy = network.build(world, 6)
    condition = torch.rand(64, 6)
    actor = Recorder(policy, condition)
    trajectories = rollout(world, actor, 64, generator=torch.Generator().manual_seed(0))
    path = path_log_probs(world, policy, trajectories, condition)
    choices = len(world.sizes)
    for step in range(world.max_steps):
        expected = torch.zeros(64)
        for choice in range(choices):
            allowed = trajectories.allowed[choice][:, step]
            logits = actor.seen[step * choices + choice].masked_fill(~allowed, -1e9)
            expected += logits.log_softmax(-1).gather(1, trajectories.actions[:, step, choice, None])[:, 0]
        torch.testing.assert_close(path.forward[:, step], expected, atol=1e-4, rtol=1e-4)


def test_padding_has_probability_one() -> None:
    torch.manual_seed(0)
    world = environment()
    policy = HistoryTransformer(16, 1, 2).build(world, 4)
    condition = torch.rand(64, 4)
    trajectories = rollout(world, PolicyActor(policy, condition), 64, generator=torch.Generator().manual_seed(0))
    path = path_log_probs(world, policy, trajectories, condition)
    padding = torch.stack([world.is_terminal(state) for state in trajectories.states[:-1]], 1)
    assert padding.any()
    assert (path.forward[padding] == 0).all() and (path.backward[padding] == 0).all()


def test_the_tree_policy_does_not_see_the_order_of_construction() -> None:
    """benzene-cyclopropane-F built from either end: the same tree, the same summary."""
    torch.manual_seed(0)
    world = environment()
    policy = TreeTransformer(16, 2, 2).build(world, 4)
    pair = world.pair_index

    def site(node: int, index: int) -> int:
        return 1 + node * world.max_sites + index

    forward = torch.tensor([[[1, pair[0, 0]], [site(0, 1), pair[2, 0]], [site(1, 2), pair[3, 0]]]])
    backward = torch.tensor([[[1, pair[3, 0]], [site(0, 0), pair[2, 2]], [site(1, 0), pair[0, 1]]]])
    summaries = []
    for actions in (forward, backward):
        state = world.initial(1)
        for step in range(3):
            state = world.step(state, actions[:, step])
        summary, nodes = policy._encode(state, policy.condition(torch.ones(1, 4)))
        summaries.append((summary, nodes[:, :3].sum(1)))
    torch.testing.assert_close(summaries[0][0], summaries[1][0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(summaries[0][1], summaries[1][1], atol=1e-5, rtol=1e-5)


def test_tree_distances_of_a_path_and_a_star() -> None:
    path = tree_distance(torch.tensor([[-1, 0, 1, -1]]))
    assert path[0, :3, :3].tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    star = tree_distance(torch.tensor([[-1, 0, 0, 0]]))
    assert star[0, 1].tolist() == [1, 0, 2, 2]
