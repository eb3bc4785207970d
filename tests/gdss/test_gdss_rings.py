"""What transformers hear of rings: walks counted one by one, spanning trees listed, Bayes' rule by densities."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from mogen.errors import ConfigError
from samplers.gdss.rings import Likely, ring_features, spared
from samplers.gdss.training import Transformer


def random_graph(v: int, seed: int, share: float = 0.4) -> Tensor:
    """Edges of a graph, 0 or 1."""
    upper = (torch.rand(v, v, generator=torch.Generator().manual_seed(seed)) < share).double().triu(1)
    return upper + upper.T


def ring(n: int) -> Tensor:
    """Edges of a lone ring."""
    step = torch.eye(n).roll(1, 0)
    return step + step.T


def walks(edges: Tensor, steps: int) -> Tensor:
    """Walks of so many steps that never go straight back, counted one by one."""
    v = len(edges)
    found = torch.zeros(v, v, dtype=torch.float64)

    def go(path: list[int]) -> None:
        if len(path) == steps + 1:
            found[path[0], path[-1]] += 1
            return
        for there in range(v):
            if edges[path[-1], there] and (len(path) < 2 or there != path[-2]):
                go([*path, there])

    for start in range(v):
        go([start])
    return found


def trees(edges: Tensor) -> Tensor:
    """The share of all spanning trees that holds an edge, by listing every set of v - 1 edges."""
    v = len(edges)
    pairs = [(i, j) for i, j in combinations(range(v), 2) if edges[i, j]]
    found, total = torch.zeros(v, v, dtype=torch.float64), 0
    for chosen in combinations(pairs, v - 1):
        part = list(range(v))
        for i, j in chosen:
            old, new = part[i], part[j]
            part = [new if one == old else one for one in part]
        if len(set(part)) == 1:
            total += 1
            for i, j in chosen:
                found[i, j] += 1
                found[j, i] += 1
    return found / total


@pytest.mark.parametrize("seed", range(3))
def test_walks_that_never_turn_back_are_those_counted_one_by_one(seed: int) -> None:
    edges = random_graph(7, seed)
    found = ring_features(edges.unsqueeze(0), torch.ones(1, 7, dtype=torch.float64), 7)[0, ..., :-2]
    for steps in range(2, 8):
        expected = walks(edges, steps)
        assert torch.allclose(found[..., steps - 2], expected / (1 + expected)), steps


def test_gradients_of_counted_walks_are_those_of_differences() -> None:
    mask = torch.ones(1, 5, dtype=torch.float64)
    upper = torch.rand(1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.6
    given = upper.triu(1) + upper.triu(1).mT  # every node has more than one edge, away from the bend at one
    given.requires_grad_()
    assert torch.autograd.gradcheck(lambda edges: ring_features(edges, mask, 5)[..., :-2], (given,))


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_a_spanning_tree_spares_edges_as_often_as_a_list_of_all_says(seed: int) -> None:
    edges = random_graph(6, seed, share=0.6)
    found = spared(edges.unsqueeze(0), torch.ones(1, 6, dtype=torch.float64))[0, ..., 0]
    away = 1 - torch.eye(6)
    assert torch.allclose(found * away, edges * (1 - trees(edges)), atol=3e-3)


@pytest.mark.parametrize("n", [3, 6, 12])
def test_edges_of_a_ring_of_n_are_spared_by_one_tree_in_n(n: int) -> None:
    mask = torch.ones(1, n + 2)
    mask[0, -1] = 0
    edges = torch.zeros(1, n + 2, n + 2)
    edges[0, :n, :n] = ring(n)
    edges[0, 0, n] = edges[0, n, 0] = 1  # a bridge to one more node; the last does not exist
    found = spared(edges, mask)
    assert found[0, 0, 1, 0] == pytest.approx(1 / n, abs=3e-3) and found[0, 0, n, 0] == pytest.approx(0, abs=3e-3)
    assert found[0, 0, 1, 1] == pytest.approx((n - 1) / (2 * n - 1), abs=3e-3)
    assert found[0, 0, 0, 0] == pytest.approx(2 / n, abs=0.01)
    assert found[0, -1].abs().max() == 0
    assert torch.allclose(found[0, : n + 1, : n + 1], spared(edges[:, :-1, :-1], mask[:, :-1])[0], atol=1e-5)


def test_parts_without_an_edge_between_them_are_far_apart() -> None:
    edges = torch.zeros(2, 6, 6)
    edges[0, :3, :3], edges[0, 3:, 3:] = ring(3), ring(3)
    found = spared(edges, torch.ones(2, 6))
    assert found.isfinite().all()
    assert (found[0, :3, 3:, 1] > 0.99).all() and found[0, 0, 1, 1] == pytest.approx(0.4, abs=1e-3)
    assert found[1, ..., 0].abs().max() == 0


def test_how_likely_an_edge_is_follows_from_densities() -> None:
    prior, scale, std = torch.tensor([0.8, 0.15, 0.05]), 0.9, 0.4
    likely = Likely(3, 4)
    with torch.no_grad():
        likely.odds.bias.copy_(torch.cat([torch.tensor([scale / std**2]).log(), prior.log()]))
    value = torch.randn(5, 5, 3, generator=torch.Generator().manual_seed(0))
    value = value + value.transpose(0, 1)
    # three independent numbers, one per class, whose mean is `scale` for the class that is true
    density = torch.stack(
        [Normal(scale * torch.eye(3)[one], std).log_prob(value).sum(-1).exp() * prior[one] for one in range(3)], dim=-1
    )
    found = likely(value.unsqueeze(0), torch.zeros(1, 4))[0]
    assert torch.allclose(found, 1 - density[..., 0] / density.sum(-1), atol=1e-5)


def test_paths_of_one_step_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected paths of 0 or at least 2, got 1"):
        Transformer(paths=1)
