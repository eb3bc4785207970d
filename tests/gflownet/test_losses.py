"""Every loss is zero at the exact flow of an enumerated problem, and nowhere near it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mogen.errors import ConfigError
from samplers.environment.exact import all_paths, exact_policy
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import Trajectories, UniformActor, retrace, rollout
from samplers.environment.strings import StringEnvironment
from samplers.gflownet.loss import (
    DetailedBalance,
    FlowMatching,
    LogPartitionVariance,
    OrderPreserving,
    SubTrajectoryBalance,
    TrajectoryBalance,
    TrajectoryLoss,
    potentials,
)
from samplers.gflownet.policy import EDGES, FLOW, PathLogProbs, StatePolicy, path_log_probs

WORLDS = [HyperGrid(2, 4), HyperGrid(3, 3, False), StringEnvironment("ab", 3)]
NAMES = [type(world).__name__ + str(world.max_steps) for world in WORLDS]


class Table(StatePolicy):
    """Edge flows and state flows written in a table of all states, in float64."""

    def __init__(self, environment, log_reward: torch.Tensor) -> None:
        super().__init__(environment)
        log_forward, log_flow = exact_policy(environment, log_reward)
        self.log_partition = log_flow[0]
        self.rows = {self._text(environment.states(), row): row for row in range(len(log_flow))}
        edges = (log_flow[:, None] + log_forward).masked_fill(log_forward.isinf(), 0.0)
        self.edges = nn.Parameter(edges)
        self.values = nn.Parameter(log_flow - log_flow[0])
        self.flow = nn.Identity()
        self.double()

    @staticmethod
    def _text(state, row: int) -> str:
        return str([value[row].tolist() for value in vars(state).values()])

    def tell(self, condition):
        return (condition,)

    def trunk(self, state, told):
        index = torch.tensor([self.rows[self._text(state, row)] for row in range(len(told[0]))])
        return self.values[index][:, None], index

    def choose(self, trunk, state, chosen, told):
        return self.edges[trunk[1]]


def everything(environment, seed: int = 0) -> tuple[Table, Trajectories, torch.Tensor]:
    """The exact policy of random rewards, all paths, and the log-reward of each, in float64."""
    count = len(environment.decode(environment.terminals()))
    rewards = 2 * torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    trajectories = retrace(environment, all_paths(environment))
    backward = -(-trajectories.log_backward).exp().round().double().log()  # float32 counts, made exact
    trajectories = replace(trajectories, log_backward=backward, log_symmetry=trajectories.log_symmetry.double())
    worth = dict(zip(environment.decode(environment.terminals()), rewards.tolist(), strict=True))
    log_reward = torch.tensor([worth[item] for item in environment.decode(trajectories.final)], dtype=torch.float64)
    return Table(environment, rewards), trajectories, log_reward


def value(loss: TrajectoryLoss, environment, policy: Table, trajectories, log_reward) -> torch.Tensor:
    n = len(log_reward) // loss.group * loss.group
    kept = replace(
        trajectories,
        actions=trajectories.actions[:n],
        allowed=tuple(mask[:n] for mask in trajectories.allowed),
        states=[type(s)(**{k: v[:n] for k, v in vars(s).items()}) for s in trajectories.states],
        log_backward=trajectories.log_backward[:n],
        log_symmetry=trajectories.log_symmetry[:n],
        moves=trajectories.is_step[:n],
    )
    path = path_log_probs(environment, policy, kept, torch.zeros(n, 1, dtype=torch.float64), loss.needs)
    return loss(path, policy.log_partition.expand(n), log_reward[:n])


LOSSES = [
    TrajectoryBalance(),
    TrajectoryBalance(huber=1.0),
    SubTrajectoryBalance(0.9),
    SubTrajectoryBalance(2.0),
    DetailedBalance(),
    LogPartitionVariance(4),
    FlowMatching(),
]


@pytest.mark.parametrize("environment", WORLDS, ids=NAMES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_loss_is_zero_at_the_exact_flow_and_not_off_it(environment, loss: TrajectoryLoss) -> None:
    policy, trajectories, log_reward = everything(environment)
    at_zero = value(loss, environment, policy, trajectories, log_reward)
    assert at_zero.item() < 1e-20
    at_zero.backward()
    assert policy.edges.grad is not None and policy.edges.grad.abs().max() < 1e-8
    noise = torch.randn(policy.edges.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        policy.edges += noise
    assert value(loss, environment, policy, trajectories, log_reward).item() > 1e-2
    with torch.no_grad():
        policy.edges -= noise
    other = log_reward + torch.randn(len(log_reward), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert value(loss, environment, policy, trajectories, other).item() > 1e-3


@pytest.mark.parametrize("loss", [SubTrajectoryBalance(0.9), DetailedBalance()], ids=lambda loss: type(loss).__name__)
def test_state_flows_are_held_to_account(loss: TrajectoryLoss) -> None:
    policy, trajectories, log_reward = everything(WORLDS[0])
    with torch.no_grad():
        policy.values += torch.linspace(0, 1, len(policy.values), dtype=torch.float64)
    assert value(loss, WORLDS[0], policy, trajectories, log_reward).item() > 1e-3


def random_path(n: int = 6, steps: int = 5) -> tuple[PathLogProbs, torch.Tensor, torch.Tensor]:
    seed = torch.Generator().manual_seed(3)
    length = torch.randint(1, steps + 1, (n, 1), generator=seed)
    moves = torch.arange(steps) < length
    forward, backward, flow = torch.randn(3, n, steps, generator=seed, dtype=torch.float64) * moves
    symmetry, log_partition, log_reward = torch.randn(3, n, generator=seed, dtype=torch.float64)
    return PathLogProbs(forward, backward, symmetry, moves, flow=flow), log_partition, log_reward


@pytest.mark.parametrize("decay", [0.3, 1.0, 1.7])
def test_sub_trajectory_balance_is_the_double_sum_over_parts(decay: float) -> None:
    path, log_partition, log_reward = random_path()
    assert path.flow is not None
    total = 0.0
    for i in range(len(log_reward)):
        length = int(path.is_step[i].sum())
        flows = [float(log_partition[i])] + [float(log_partition[i] + path.flow[i, t]) for t in range(1, length)]
        flows.append(float(log_reward[i] + path.symmetry[i]))
        above = below = 0.0
        for a in range(length + 1):
            for b in range(a + 1, length + 1):
                steps = float((path.forward[i, a:b] - path.backward[i, a:b]).sum())
                above += decay ** (b - a) * (flows[a] + steps - flows[b]) ** 2
                below += decay ** (b - a)
        total += above / below
    found = SubTrajectoryBalance(decay)(path, log_partition, log_reward).item()
    assert found == pytest.approx(total / len(log_reward), rel=1e-10)


def test_the_ends_of_the_potentials_are_trajectory_balance() -> None:
    path, log_partition, log_reward = random_path()
    values = potentials(path, log_partition, log_reward)
    whole = (values[:, 0] - values[:, -1]).square().mean().item()
    assert whole == pytest.approx(TrajectoryBalance()(path, log_partition, log_reward).item(), rel=1e-10)


def test_the_variance_is_taken_within_groups() -> None:
    zero = torch.zeros(4, 1)
    path = PathLogProbs(torch.tensor([[1.0], [3.0], [10.0], [10.0]]), zero, zero[:, 0])
    loss = LogPartitionVariance(2)
    assert loss(path, torch.full((4,), 99.0), zero[:, 0]).item() == pytest.approx((1.0 + 0.0) / 2)


def test_order_preserving_training_shares_everything_among_the_non_dominated() -> None:
    loss, zero = OrderPreserving(), torch.zeros(4)
    utility = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.4, 0.4]])

    def path(values: list[float]) -> PathLogProbs:
        return PathLogProbs(torch.tensor(values)[:, None], torch.zeros(4, 1), zero)

    even = loss(path([0.0] * 4), zero, zero, utility=utility).item()
    assert even == pytest.approx(torch.tensor(4 / 3).log().item(), abs=1e-6)
    assert loss(path([0.0, 0.0, 0.0, -60.0]), zero, zero, utility=utility).item() == pytest.approx(0.0, abs=1e-6)
    assert loss(path([5.0, 0.0, 0.0, -60.0]), zero, zero, utility=utility).item() > 0.5
    with pytest.raises(ConfigError, match="utilities"):
        loss(path([0.0] * 4), zero, zero)


def test_losses_say_what_they_miss() -> None:
    path, zero = PathLogProbs(torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2)), torch.zeros(2)
    for loss, missing in ((DetailedBalance(), "state flows"), (FlowMatching(), "edge flows")):
        with pytest.raises(ConfigError, match=missing):
            loss(path, zero, zero)
    with pytest.raises(ConfigError, match="decay above 0"):
        SubTrajectoryBalance(0.0)
    with pytest.raises(ConfigError, match="at least 2"):
        LogPartitionVariance(1)


def test_edge_flows_into_a_state_come_from_all_its_parents() -> None:
    """Against the sum over all edges of the enumerated graph."""
    environment = StringEnvironment("ab", 3)  # two actions may join the same two strings
    policy, trajectories, _ = everything(environment)
    with torch.no_grad():
        policy.edges.copy_(torch.randn(policy.edges.shape, generator=torch.Generator().manual_seed(2)))
    inflow = policy.edge_flows(trajectories, torch.zeros(len(trajectories.actions), 1, dtype=torch.float64))
    states = environment.states()
    total: dict[str, float] = {}
    for row in range(len(policy.rows)):
        state = type(states)(**{name: part[row : row + 1] for name, part in vars(states).items()})
        for action in environment.allowed(state, torch.zeros(1, 0, dtype=torch.long))[0].nonzero()[:, 0].tolist():
            end = policy._text(environment.step(state, torch.tensor([[action]])), 0)
            total[end] = total.get(end, 0.0) + policy.edges[row, action].exp().item()
    for path in range(len(inflow)):
        for step in range(inflow.shape[1]):
            end = policy._text(trajectories.states[step + 1], path)
            assert inflow[path, step].exp().item() == pytest.approx(total[end], rel=1e-9)


def test_flows_and_edges_are_only_computed_where_wanted() -> None:
    environment = HyperGrid(2, 4)
    policy, _, _ = everything(environment)
    trajectories = rollout(environment, UniformActor(environment), 5, generator=torch.Generator().manual_seed(0))
    told = torch.zeros(5, 1, dtype=torch.float64)
    plain = path_log_probs(environment, policy, trajectories, told)
    assert plain.flow is None and plain.inflow is None and plain.outflow is None
    full = path_log_probs(environment, policy, trajectories, told, {FLOW, EDGES})
    assert full.flow is not None and full.inflow is not None and full.outflow is not None
    torch.testing.assert_close(full.forward, plain.forward)
    assert (full.inflow[~full.is_step] == 0).all()
