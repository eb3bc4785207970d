"""V.U.N. of plain graphs against graphs whose kind is known."""

from __future__ import annotations

import math

import networkx as nx
import pytest
import torch

from mogen.dataset.generated import generated_graphs
from mogen.domain.graph import Graph
from mogen.errors import ConfigError
from mogen.metric.isomorphism import blocks, is_block_model, is_planar, vun


def from_networkx(graph: nx.Graph) -> Graph:
    return Graph(len(graph), tuple(sorted((min(i, j), max(i, j)) for i, j in graph.edges)))


def renamed(graph: Graph, seed: int) -> Graph:
    order = torch.randperm(graph.nodes, generator=torch.Generator().manual_seed(seed)).tolist()
    edges = [(order[i], order[j]) for i, j in graph.edges]
    return Graph(graph.nodes, tuple(sorted((min(i, j), max(i, j)) for i, j in edges)))


def test_planar_graphs_are_valid_and_others_are_not() -> None:
    assert all(is_planar(graph) for graph in generated_graphs("planar", 5))
    assert not is_planar(from_networkx(nx.complete_graph(5)))
    assert not is_planar(from_networkx(nx.complete_bipartite_graph(3, 3)))
    assert not is_planar(Graph(4, ((0, 1), (2, 3))))  # in two parts
    assert is_planar(Graph(1, ()))


def test_blocks_are_found_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    for sizes in ((20, 40), (25, 30, 35), (40, 20, 30, 22, 38)):
        truth = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        chance = torch.where(truth[:, None] == truth[None], 0.3, 0.005).double()
        upper = (torch.rand(chance.shape, generator=generator).double() < chance).double().triu(1)
        found = blocks(upper + upper.T)
        assert len(found.unique()) == len(sizes)
        same = found[:, None] == found[None]
        assert (same == (truth[:, None] == truth[None])).double().mean() > 0.98


def test_block_models_are_valid_and_others_are_not() -> None:
    graphs = generated_graphs("sbm", 8, seed=1)
    assert sum(is_block_model(graph) for graph in graphs) >= 7
    assert not is_block_model(from_networkx(nx.gnp_random_graph(60, 0.15, seed=0)))
    assert not is_block_model(from_networkx(nx.disjoint_union(nx.complete_graph(30), nx.complete_graph(30))))
    assert not is_block_model(generated_graphs("planar", 1)[0])


def test_uniqueness_and_novelty_are_up_to_names_of_nodes() -> None:
    first, second, third, fourth = generated_graphs("planar", 4, seed=3)
    crossed = from_networkx(nx.complete_graph(6))
    drawn = [first, renamed(first, 0), renamed(second, 1), third, crossed]
    found = vun(drawn, [second, fourth], "planar")
    assert (found.n, found.valid, found.unique, found.novel) == (5, 0.8, 0.8, 0.8)
    assert found.vun == pytest.approx(0.4)  # the first and the third
    assert math.isnan(vun([], [first], "planar").vun)
    with pytest.raises(ConfigError, match="planar or sbm"):
        vun(drawn, [], "grid")
