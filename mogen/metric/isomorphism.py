"""Validity, uniqueness and novelty (V.U.N.) of plain graphs from recipes: planar ones, and stochastic block models.

Uniqueness and novelty are up to isomorphism. A graph is a valid planar one if it is connected and planar. It is a valid
stochastic block model (Martinkus et al. 2022) if it falls into 2 to 5 blocks of 20 to 40 nodes whose densities do not
differ from .3 within and .005 between by a Wald statistic (see `is_block_model`). The blocks are inferred here, by
spectral clustering and greedy moves, not by graph-tool, so that shares may differ slightly from published ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import networkx as nx
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.domain.graph import Graph
from mogen.errors import ConfigError

WITHIN, BETWEEN = 0.3, 0.005
FEWEST, MOST = 2, 5
SMALLEST, LARGEST = 20, 40


@dataclass(frozen=True)
class Vun:
    """Shares of n graphs: valid; first of their kind; unlike all of the training graphs; all three."""

    n: int
    valid: float
    unique: float
    novel: float
    vun: float


def vun(generated: Sequence[Graph], training: Sequence[Graph], kind: str) -> Vun:
    """V.U.N. of graphs that should be of a kind: planar or sbm."""
    if kind not in KINDS:
        raise ConfigError(f"expected {' or '.join(KINDS)} as a kind of graphs with a validity, got {kind!r}")
    if not generated:
        return Vun(0, *[math.nan] * 4)
    valid = torch.tensor([KINDS[kind](graph) for graph in generated])
    known = Classes(training)
    novel = torch.tensor([graph not in known for graph in generated])
    seen, unique = Classes([]), []
    for graph in generated:
        unique.append(graph not in seen)
        seen.add(graph)
    first = torch.tensor(unique)
    shares = [float(part.double().mean()) for part in (valid, first, novel, valid & first & novel)]
    return Vun(len(generated), *shares)


class Classes:
    """Graphs up to isomorphism.

    Args:
        graphs: the first ones.
    """

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.bins: dict[tuple[int, int, int], list[nx.Graph]] = defaultdict(list)
        for graph in graphs:
            self.add(graph)

    def add(self, graph: Graph) -> None:
        """One more."""
        if graph not in self:
            self.bins[signature(graph)].append(as_networkx(graph))

    def __contains__(self, graph: Graph) -> bool:
        near = self.bins.get(signature(graph), [])
        return any(nx.is_isomorphic(as_networkx(graph), other) for other in near)


def signature(graph: Graph, rounds: int = 3) -> tuple[int, int, int]:
    """What isomorphic graphs share: nodes, edges, and colours of nodes by those around them (Weisfeiler and Leman)."""
    near: list[list[int]] = [[] for _ in range(graph.nodes)]
    for i, j in graph.edges:
        near[i].append(j)
        near[j].append(i)
    colour = [0] * graph.nodes
    for _ in range(rounds):
        colour = [hash((colour[node], *sorted(colour[other] for other in near[node]))) for node in range(graph.nodes)]
    return graph.nodes, len(graph.edges), hash(tuple(sorted(colour)))


def as_networkx(graph: Graph) -> nx.Graph:
    """The graph for networkx."""
    made = nx.Graph()
    made.add_nodes_from(range(graph.nodes))
    made.add_edges_from(graph.edges)
    return made


def is_planar(graph: Graph) -> bool:
    """Connected, and drawn without crossings."""
    made = as_networkx(graph)
    return nx.is_connected(made) and nx.check_planarity(made)[0]


def is_block_model(graph: Graph) -> bool:
    """Blocks of the right number and sizes, whose densities q are near p by W = (q - p)^2 / (q (1 - q) + 1e-6).

    The mean over blocks and pairs of blocks of the probability that a chi-square of one degree exceeds W is to be above
    .9, as in the evaluation of Martinkus et al. 2022.
    """
    adj = graph.adjacency.double()
    label = blocks(adj)
    sizes = torch.bincount(label).double()
    if not FEWEST <= len(sizes) <= MOST or sizes.min() < SMALLEST or sizes.max() > LARGEST:
        return False
    member = torch.nn.functional.one_hot(label).double()
    density = (member.T @ adj @ member) / pairs(sizes)
    wanted = torch.where(torch.eye(len(sizes), dtype=torch.bool), WITHIN, BETWEEN)
    wald = (density - wanted) ** 2 / (density * (1 - density) + 1e-6)
    exceeds = torch.special.erfc((wald / 2).sqrt())
    return bool(exceeds[torch.ones_like(exceeds).triu().bool()].mean() > 0.9)


def pairs(sizes: Float[Tensor, " k"]) -> Float[Tensor, "k k"]:
    """Ordered pairs of different nodes within blocks and between them."""
    return sizes[:, None] * sizes[None] - torch.diag(sizes)


def blocks(adj: Float[Tensor, "v v"], most: int = MOST + 1) -> Int[Tensor, " v"]:
    """The blocks of nodes that make a graph likeliest, their number by the Bayesian information criterion."""
    best, label = math.inf, torch.zeros(len(adj), dtype=torch.long)
    for count in range(1, min(most, len(adj)) + 1):
        made = refined(adj, clustered(adj, count), count)
        cost = criterion(adj, made)
        if cost < best:
            best, label = cost, made
    return torch.unique(label, return_inverse=True)[1]


def clustered(adj: Float[Tensor, "v v"], count: int, rounds: int = 20) -> Int[Tensor, " v"]:
    """Groups of the rows of leading eigenvectors (regularised, each row of length 1), by k-means from far corners."""
    whole = adj + adj.mean()
    root = whole.sum(1).clamp(min=1e-12).rsqrt()
    rows = torch.linalg.eigh(root[:, None] * whole * root)[1][:, -count:]
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    chosen = [int(adj.sum(1).argmax())]
    while len(chosen) < count:
        chosen.append(int(torch.cdist(rows, rows[chosen]).amin(1).argmax()))
    centre = rows[chosen]
    label = torch.cdist(rows, centre).argmin(1)
    for _ in range(rounds):
        member = torch.nn.functional.one_hot(label, count).double()
        centre = member.T @ rows / member.sum(0).clamp(min=1)[:, None]
        label = torch.cdist(rows, centre).argmin(1)
    return label


def refined(adj: Float[Tensor, "v v"], label: Int[Tensor, " v"], count: int, rounds: int = 20) -> Int[Tensor, " v"]:
    """Nodes in the blocks where their edges are likeliest, again and again until none moves."""
    for _ in range(rounds):
        member = torch.nn.functional.one_hot(label, count).double()
        density = densities(adj, member)
        edges = adj @ member
        others = member.sum(0)[None] - member - edges
        moved = (edges @ density.log() + others @ (1 - density).log()).argmax(1)
        if torch.equal(moved, label):
            break
        label = moved
    return label


def densities(adj: Float[Tensor, "v v"], member: Float[Tensor, "v k"]) -> Float[Tensor, "k k"]:
    """The share of possible edges there are, half an edge added."""
    return (member.T @ adj @ member + 0.5) / (pairs(member.sum(0)) + 1)


def criterion(adj: Float[Tensor, "v v"], label: Int[Tensor, " v"]) -> float:
    """-2 log likelihood of edges and labels + (free densities) log(pairs of nodes)."""
    label = torch.unique(label, return_inverse=True)[1]
    member = torch.nn.functional.one_hot(label).double()
    k, v = member.shape[1], len(adj)
    density = densities(adj, member)
    edges = member.T @ adj @ member
    likelihood = (edges * density.log() + (pairs(member.sum(0)) - edges) * (1 - density).log()).sum() / 2
    return float(-2 * likelihood) + 2 * v * math.log(k) + k * (k + 1) / 2 * math.log(max(v * (v - 1) / 2, 1))


KINDS: dict[str, Callable[[Graph], bool]] = {"planar": is_planar, "sbm": is_block_model}
