"""How far two sets of plain graphs are apart: maximum mean discrepancies of graph statistics.

MMD^2 is the V-statistic mean k(x, x') + mean k(y, y') - 2 mean k(x, y) with k = exp(-distance^2 / (2 sigma^2)). Two
families of distances between histograms are in use and must never be mixed: the earth mover's distance (You et al.
2018; GDSS) and the total variation (Liao et al. 2019). Orbits always have the plain Gaussian kernel. The kernels are
not positive definite (O'Bray et al. 2022), so an MMD^2 may be slightly negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.domain.graph import Graph
from mogen.errors import ConfigError, ShapeError

Kernel = Literal["emd", "tv"]
STATISTICS = ("degree", "clustering", "orbit", "spectral")
CLUSTERING_BINS = 100
SPECTRAL_BINS = 200


@dataclass(frozen=True)
class Discrepancy:
    """An MMD^2 with the 95 % interval of its bootstrap over both sets, and the values of the bootstrap."""

    value: float
    low: float
    high: float
    draws: tuple[float, ...] = ()


def graph_mmd(
    generated: Sequence[Graph],
    reference: Sequence[Graph],
    statistic: str,
    kernel: Kernel = "emd",
    *,
    resamples: int = 0,
    seed: int = 0,
) -> Discrepancy:
    """MMD^2 of one statistic; with `resamples` its bootstrap interval, else an interval of no width."""
    if statistic not in STATISTICS:
        raise ConfigError(f"expected one of {', '.join(STATISTICS)} as a statistic of graphs, got {statistic!r}")
    if kernel not in ("emd", "tv"):
        raise ConfigError(f"expected the kernel emd or tv, got {kernel!r}")
    if not generated or not reference:
        raise ShapeError(f"expected graphs in both sets, got {len(generated)} and {len(reference)}")
    x, y = histograms(generated, statistic), histograms(reference, statistic)
    width = max(x.shape[1], y.shape[1])
    x, y = (torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in (x, y))
    return discrepancy(gram(torch.cat([x, y]), statistic, kernel), len(x), resamples=resamples, seed=seed)


def discrepancy(whole: Float[Tensor, "n n"], first: int, *, resamples: int = 0, seed: int = 0) -> Discrepancy:
    """MMD^2 between the first items of a kernel matrix and the others."""
    value = mmd(whole, first)
    if not resamples:
        return Discrepancy(value, value, value)
    generator = torch.Generator().manual_seed(seed)
    n, m = first, len(whole) - first
    found = []
    for _ in range(resamples):
        a = torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n).double() / n
        b = torch.bincount(torch.randint(m, (m,), generator=generator), minlength=m).double() / m
        weight = torch.cat([a, -b])
        found.append(float(weight @ whole @ weight))
    low, high = np.quantile(found, [0.025, 0.975])
    return Discrepancy(value, float(low), float(high), tuple(found))


def mmd(whole: Float[Tensor, "n n"], first: int) -> float:
    """The V-statistic, diagonals included."""
    return float(whole[:first, :first].mean() + whole[first:, first:].mean() - 2 * whole[:first, first:].mean())


def gram(rows: Float[Tensor, "n d"], statistic: str, kernel: Kernel) -> Float[Tensor, "n n"]:
    """The kernel between all rows, with the published widths: degree 1, clustering .1, orbit 30, spectral 1."""
    sigma = {"degree": 1.0, "clustering": 0.1, "orbit": 30.0, "spectral": 1.0}[statistic]
    if statistic == "orbit":
        distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        share = rows / rows.sum(1, keepdim=True).clamp(min=1e-300)
        if kernel == "emd":
            # on a line the earth mover's distance is the area between the cumulative distributions
            scale = CLUSTERING_BINS if statistic == "clustering" else 1
            distance = torch.cdist(share.cumsum(1), share.cumsum(1), p=1) / scale
        else:
            distance = torch.cdist(share, share, p=1) / 2
    return (-(distance**2) / (2 * sigma**2)).exp()


def histograms(graphs: Sequence[Graph], statistic: str) -> Float[Tensor, "n d"]:
    """One row per graph: counts of degrees, of clustering coefficients, of eigenvalues; or mean orbit counts."""
    function: Callable[[Tensor], Tensor] = {
        "degree": degree_histogram,
        "clustering": clustering_histogram,
        "orbit": lambda adj: orbit_counts(adj).double().mean(0),
        "spectral": spectral_histogram,
    }[statistic]
    rows = [function(graph.adjacency.double()) for graph in graphs]
    width = max(len(row) for row in rows)
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])


def degree_histogram(adj: Float[Tensor, "v v"]) -> Float[Tensor, " d"]:
    """Nodes of degree 0, 1, ..."""
    return torch.bincount(adj.sum(1).long()).double()


def clustering_coefficients(adj: Float[Tensor, "v v"]) -> Float[Tensor, " v"]:
    """Triangles of a node over pairs of its neighbours; 0 below two neighbours."""
    degree = adj.sum(1)
    corners = ((adj @ adj) * adj).sum(1)
    return corners / (degree * (degree - 1)).clamp(min=1)


def clustering_histogram(adj: Float[Tensor, "v v"]) -> Float[Tensor, " d"]:
    """Nodes by clustering coefficient, in 100 bins on [0, 1]."""
    return torch.histc(clustering_coefficients(adj), CLUSTERING_BINS, 0.0, 1.0)


def spectral_histogram(adj: Float[Tensor, "v v"]) -> Float[Tensor, " d"]:
    """Eigenvalues of the normalised Laplacian, in 200 bins on [-1e-5, 2]; an isolated node has the eigenvalue 0."""
    degree = adj.sum(1)
    root = torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0.0)
    laplacian = torch.diag((degree > 0).double()) - root[:, None] * adj * root[None]
    return torch.histc(torch.linalg.eigvalsh(laplacian).clamp(-1e-5, 2.0), SPECTRAL_BINS, -1e-5, 2.0)


def orbit_counts(adj: Float[Tensor, "v v"]) -> Int[Tensor, "v 15"]:
    """How often each node is in each of the 15 orbits of connected graphs of 2 to 4 nodes (Hocevar and Demsar 2014).

    With d degrees, c(x, z) common neighbours, e = c on edges: sums over triangles (f12_14, f13_14, f10_13, f11_13),
    over induced paths with x in the middle (f7_11, f5_8) and at the end (f6_9, f9_12, f4_8, f8_12), and complete graphs
    (f14) make linear equations for the orbits. All sums are products of A and A^2.
    """
    d = adj.sum(1)
    common = adj @ adj
    e = adj * common
    apart = 1 - adj - torch.eye(len(adj), dtype=adj.dtype)
    triangles = e.sum(1) / 2
    square = (e * common).sum(1)
    through = adj @ e
    rest = d[:, None] - 1 - common
    f14 = cliques(adj)
    f12_14 = ((adj @ (adj * (common - 1))) * adj).sum(1) / 2
    f10_13 = ((adj @ (adj * (d[:, None] + d[None] - 2 - 2 * common))) * adj).sum(1) / 2
    f13_14 = square - 2 * triangles
    f11_13 = triangles * (2 * d - 2) - square
    paths = d * (d - 1) / 2 - triangles
    f7_11 = paths * (2 * d - 4) - (e * rest).sum(1)
    f5_8 = (adj * (d[None] - 1 - common) * rest).sum(1)
    f6_9 = (adj * (d[None] - 2 - common) * (d[None] - 1 - common)).sum(1)
    f9_12 = (through * apart).sum(1)
    f4_8 = ((common * (d[None] - 1) - through) * apart).sum(1)
    f8_12 = (common * (common - 1) * apart).sum(1)
    orbits = [
        d,
        (common * apart).sum(1),
        paths,
        triangles,
        2 * f12_14 + f4_8 - f8_12 - 6 * f14,
        2 * f12_14 + f5_8 - f8_12 - 6 * f14,
        (2 * f12_14 + f6_9 - f9_12 - 6 * f14) / 2,
        (f13_14 + f7_11 - f11_13 - 6 * f14) / 6,
        (f8_12 - 2 * f12_14 + 6 * f14) / 2,
        (f9_12 - 2 * f12_14 + 6 * f14) / 2,
        f10_13 - f13_14 + 6 * f14,
        (f11_13 - f13_14 + 6 * f14) / 2,
        f12_14 - 3 * f14,
        (f13_14 - 6 * f14) / 2,
        f14,
    ]
    return torch.stack(orbits, dim=1).round().long()


def cliques(adj: Float[Tensor, "v v"]) -> Float[Tensor, " v"]:
    """Complete graphs on 4 nodes each node is in: a third of the nodes beyond each of its triangles."""
    near = adj > 0
    first, second = adj.triu(1).nonzero(as_tuple=True)
    edge, third = (near[first] & near[second]).nonzero(as_tuple=True)
    corners = torch.stack([first[edge], second[edge], third], dim=1)
    corners = corners[third > corners[:, 1]]
    beyond = near[corners].all(1).sum(1).to(adj.dtype)
    count = torch.zeros(len(adj), dtype=adj.dtype)
    for column in corners.T:
        count.index_add_(0, column, beyond)
    return count / 3
