"""The HyperGrid against enumeration: terminals, paths, exact distributions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mogen.errors import ConfigError, ShapeError
from samplers.environment.contract import check_environment
from samplers.environment.exact import all_paths, backward_totals, l1_distance, target_distribution
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.rollout import UniformActor, last_state, rollout

EMPTY = torch.zeros(0, dtype=torch.long)


def policy(environment: HyperGrid, *, seed: int) -> torch.Tensor:
    """Random forward log-probabilities in every state."""
    states = environment.states()
    allowed = environment.allowed(states, EMPTY.expand(len(states.position), 0))
    logits = torch.randn(allowed.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)


@pytest.mark.parametrize(
    "environment",
    [
        HyperGrid(),
        HyperGrid(1, 2),
        HyperGrid(4, 20),
        HyperGrid(3, 4, False),
        HyperGrid(2, 2),
        HyperGrid(2, 4, False, length=5),
        HyperGrid(4, 20, False, length=38),
    ],
)
def test_the_contract_holds(environment: HyperGrid) -> None:
    check_environment(environment)


@pytest.mark.parametrize(
    "environment",
    [HyperGrid(2, 5), HyperGrid(3, 3), HyperGrid(2, 4, False), HyperGrid(3, 2), HyperGrid(2, 4, False, length=5)],
)
def test_backward_probabilities_of_all_paths_into_each_terminal_sum_to_one(environment: HyperGrid) -> None:
    totals = backward_totals(environment)
    assert set(totals) == {point.key for point in environment.decode(environment.terminals())}
    assert list(totals.values()) == pytest.approx([1.0] * len(totals), abs=1e-6)


@pytest.mark.parametrize("dimension, side", [(2, 32), (2, 64), (3, 5)])
def test_terminals_have_at_most_one_coordinate_at_the_edge(dimension: int, side: int) -> None:
    environment = HyperGrid(dimension, side)
    terminals = environment.terminals()
    assert bool(environment.is_terminal(terminals).all())
    assert len(terminals.position) == (side - 1) ** dimension + dimension * (side - 1) ** (dimension - 1)
    assert len(environment.states().position) == (side - 1) ** dimension


@pytest.mark.parametrize(
    "environment", [HyperGrid(2, 5), HyperGrid(3, 3), HyperGrid(2, 4, False), HyperGrid(2, 4, False, length=5)]
)
def test_the_exact_distribution_is_the_sum_over_all_paths(environment: HyperGrid) -> None:
    table, states, terminals = policy(environment, seed=0), environment.states(), environment.terminals()
    row = {tuple(place): index for index, place in enumerate(states.position.tolist())}
    paths = all_paths(environment)
    log_forward = torch.zeros(len(paths), dtype=torch.float64)
    for step in range(paths.shape[1]):
        state = last_state(environment, paths[:, :step])
        going = ~environment.is_terminal(state)
        at = torch.tensor([row.get(tuple(place), 0) for place in state.position.tolist()])
        log_forward += torch.where(going, table[at, paths[:, step, 0]], 0.0)
    ends = environment.decode(last_state(environment, paths))
    index = {point: i for i, point in enumerate(environment.decode(terminals))}
    expected = torch.zeros(len(index), dtype=torch.float64)
    expected.index_add_(0, torch.tensor([index[point] for point in ends]), log_forward.exp())
    found = environment.terminal_distribution(torch.stack([table, table]))
    assert found.shape == (2, len(index))
    assert torch.allclose(found, expected.expand(2, -1), atol=1e-12)


def test_rollouts_follow_the_exact_distribution() -> None:
    environment = HyperGrid(2, 4)
    states = environment.states()
    allowed = environment.allowed(states, EMPTY.expand(len(states.position), 0))
    exact = environment.terminal_distribution(allowed.double().log().log_softmax(-1))
    final = rollout(environment, UniformActor(environment), 20_000, generator=torch.Generator().manual_seed(0)).final
    index = {point: i for i, point in enumerate(environment.decode(environment.terminals()))}
    counts = torch.bincount(torch.tensor([index[point] for point in environment.decode(final)]), minlength=len(index))
    assert float(l1_distance(counts / 20_000, exact)) < 0.05


def test_paths_drawn_backward_follow_the_uniform_backward_policy() -> None:
    environment = HyperGrid(2, 4)
    target = environment.initial(20_000)
    target = type(target)(torch.tensor([[1, 2]]).expand(20_000, 2), torch.ones(20_000, dtype=torch.bool))
    actions = environment.unfold(target, generator=torch.Generator().manual_seed(0))
    assert torch.equal(last_state(environment, actions).position, target.position)
    # the last step but the stop came from either axis with probability 1/2; three increments in all
    assert float((actions[:, 2, 0] == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((actions[:, 0, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.02)


def test_a_policy_that_samples_in_proportion_to_reward_has_no_distance() -> None:
    """The forward policy made from exact flows under the uniform backward policy."""
    environment = HyperGrid(2, 6)
    states, terminals = environment.states(), environment.terminals()
    log_reward = torch.randn(len(terminals.position), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    flow = dict(zip([*map(tuple, terminals.position.tolist())], log_reward.exp().tolist(), strict=True))
    table = torch.zeros(len(states.position), 3, dtype=torch.float64)
    inner: dict[tuple, float] = {}
    for index in reversed(range(len(table))):
        x, y = states.position[index].tolist()
        table[index, 2] = flow[x, y]
        for axis, child in enumerate([(x + 1, y), (x, y + 1)]):
            is_edge = max(child) == environment.side - 1
            table[index, axis] = flow[child] if is_edge else inner[child] / sum(place > 0 for place in child)
        inner[x, y] = float(table[index].sum())
    found = environment.terminal_distribution((table / table.sum(-1, keepdim=True)).log())
    assert float(l1_distance(found, target_distribution(log_reward))) < 1e-12


def test_a_saved_grid_comes_back_the_same(tmp_path) -> None:
    environment = HyperGrid(3, 7, False)
    environment.write(tmp_path)
    again = HyperGrid.read(tmp_path, environment.describe()["init_args"])
    assert (again.dimension, again.side, again.edge_ends, again.sizes) == (3, 7, False, (4,))


def test_bad_sizes_and_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match="side >= 2"):
        HyperGrid(2, 1)
    with pytest.raises(ShapeError, match="961 states"):
        HyperGrid().terminal_distribution(torch.zeros(1024, 3))


@pytest.mark.parametrize("length", [1, 4, 7])
def test_walks_of_one_length_end_there_and_nowhere_else(length: int) -> None:
    environment = HyperGrid(2, 4, False, length)
    found = rollout(environment, UniformActor(environment), 64, generator=torch.Generator().manual_seed(0))
    assert bool(found.is_step.all()) and found.actions.shape == (64, length, 1)
    assert found.final.position.sum(-1).tolist() == [length - 1] * 64 and bool(found.final.is_stopped.all())
    assert HyperGrid.read(Path(), environment.describe()["init_args"]).length == length


@pytest.mark.parametrize("length, edge_ends", [(0, False), (8, False), (3, True)])
def test_a_length_no_walk_can_have_is_refused(length: int, edge_ends: bool) -> None:
    with pytest.raises(ConfigError, match="expected a length between 1 and"):
        HyperGrid(2, 4, edge_ends, length)
