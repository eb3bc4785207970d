"""Plain graphs made by recipe: community, grid, planar and stochastic-block-model graphs, from a generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mogen.domain.graph import Graph
from mogen.errors import DataError

Recipe = Callable[[torch.Generator], Graph]


def generated_graphs(name: str, n: int, seed: int = 0) -> list[Graph]:
    """n graphs of a recipe; the same seed gives the same graphs.

    `community`: two communities (12 to 20 nodes in all), edges within with probability .7, between with .05, one bridge
    at least, every draw free (the published community_small has fixed seeds, so that only 5 pairs of communities
    occur). `grid_generated`: 10 to 19 nodes a side (the published set is called grid). `planar`: Delaunay
    triangulations of 64 uniform points. `sbm`: 2 to 5 blocks of 20 to 40 nodes, .3 within and .005 between (Martinkus
    et al. 2022).
    """
    if name not in RECIPES:
        raise DataError(f"expected one of {', '.join(sorted(RECIPES))} as a recipe of graphs, got {name!r}")
    generator = torch.Generator().manual_seed(seed)
    return [RECIPES[name](generator) for _ in range(n)]


def community(generator: torch.Generator) -> Graph:
    """Two communities and bridges between them."""
    half = whole(12, 20, generator) // 2
    probability = torch.full((2 * half, 2 * half), 0.05)
    probability[:half, :half] = probability[half:, half:] = 0.7
    adj = drawn(probability, generator)
    if not adj[:half, half:].any():
        adj[whole(0, half - 1, generator), half + whole(0, half - 1, generator)] = True
    return as_graph(adj)


def grid(generator: torch.Generator) -> Graph:
    """A rectangle of nodes, each tied to its neighbours."""
    rows, columns = whole(10, 19, generator), whole(10, 19, generator)
    place = torch.arange(rows * columns).view(rows, columns)
    across = torch.stack([place[:, :-1].flatten(), place[:, 1:].flatten()], 1)
    down = torch.stack([place[:-1].flatten(), place[1:].flatten()], 1)
    edges = torch.cat([across, down]).tolist()
    return Graph(rows * columns, tuple(sorted((i, j) for i, j in edges)))


def planar(generator: torch.Generator) -> Graph:
    """The Delaunay triangulation of 64 uniform points."""
    from scipy.spatial import Delaunay

    corners = torch.as_tensor(Delaunay(torch.rand(64, 2, generator=generator).double().numpy()).simplices).long()
    adj = torch.zeros(64, 64, dtype=torch.bool)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        adj[corners[:, first], corners[:, second]] = True
    return as_graph((adj | adj.T).triu(1))


def sbm(generator: torch.Generator) -> Graph:
    """Blocks of nodes that are tied more often within than between."""
    sizes = [whole(20, 40, generator) for _ in range(whole(2, 5, generator))]
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return as_graph(drawn(torch.where(block[:, None] == block[None], 0.3, 0.005), generator))


RECIPES: dict[str, Recipe] = {"community": community, "grid_generated": grid, "planar": planar, "sbm": sbm}
COUNT, SEED = 200, 0
"""of the data set that has the name of a recipe"""


def whole(least: int, most: int, generator: torch.Generator) -> int:
    """A whole number from least to most, both included."""
    return int(torch.randint(least, most + 1, (1,), generator=generator))


def drawn(probability: Tensor, generator: torch.Generator) -> Tensor:
    """Independent edges above the diagonal."""
    return (torch.rand(probability.shape, generator=generator) < probability).triu(1)


def as_graph(upper: Tensor) -> Graph:
    """The graph of a triangle of edges."""
    return Graph(len(upper), tuple((i, j) for i, j in upper.nonzero().tolist()))
