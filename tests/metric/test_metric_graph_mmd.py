"""Graph statistics against brute force, networkx and naive twins."""

from __future__ import annotations

import itertools
import os

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from mogen.dataset.molecules import load_graphs
from mogen.domain.graph import Graph
from mogen.errors import ConfigError, DataError, ShapeError
from mogen.metric.graph import (
    clustering_coefficients,
    discrepancy,
    gram,
    graph_mmd,
    histograms,
    mmd,
    orbit_counts,
    spectral_histogram,
)


def drawn(n: int, p: float, seed: int) -> nx.Graph:
    return nx.gnp_random_graph(n, p, seed=seed)


def as_graph(graph: nx.Graph) -> Graph:
    return Graph(len(graph), tuple(sorted((min(e), max(e)) for e in graph.edges)))


# one representative of every orbit, in the order of Przulj 2007: (edges, nodes of the orbit)
ORBITS = [
    ([(0, 1)], [[0, 1]]),
    ([(0, 1), (1, 2)], [[0, 2], [1]]),
    ([(0, 1), (1, 2), (0, 2)], [[0, 1, 2]]),
    ([(0, 1), (1, 2), (2, 3)], [[0, 3], [1, 2]]),
    ([(0, 1), (0, 2), (0, 3)], [[1, 2, 3], [0]]),
    ([(0, 1), (1, 2), (2, 3), (3, 0)], [[0, 1, 2, 3]]),
    ([(0, 1), (1, 2), (2, 0), (2, 3)], [[3], [0, 1], [2]]),
    ([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)], [[1, 3], [0, 2]]),
    ([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], [[0, 1, 2, 3]]),
]


def brute_force(graph: nx.Graph) -> np.ndarray:
    """Orbits by looking at every induced subgraph."""
    count = np.zeros((len(graph), 15), dtype=int)
    start = 0
    for edges, orbits in ORBITS:
        pattern = nx.Graph(edges)
        for nodes in itertools.combinations(graph.nodes, len(pattern)):
            matcher = nx.isomorphism.GraphMatcher(pattern, graph.subgraph(nodes))
            if matcher.is_isomorphic():
                for place, node in matcher.mapping.items():
                    orbit = next(k for k, members in enumerate(orbits) if place in members)
                    count[node, start + orbit] += 1
        start += len(orbits)
    return count


@pytest.mark.parametrize("seed", range(12))
def test_orbits_agree_with_brute_force(seed: int) -> None:
    graph = drawn(4 + seed % 5, 0.3 + 0.05 * seed, seed)
    adj = torch.from_numpy(nx.to_numpy_array(graph))
    assert np.array_equal(orbit_counts(adj).numpy(), brute_force(graph))


@pytest.mark.parametrize("seed", range(5))
def test_clustering_and_spectrum_agree_with_networkx(seed: int) -> None:
    graph = drawn(15, 0.3, seed)
    adj = torch.from_numpy(nx.to_numpy_array(graph))
    assert np.allclose(clustering_coefficients(adj).numpy(), list(nx.clustering(graph).values()))
    values = np.clip(nx.normalized_laplacian_spectrum(graph), -1e-5, 2)
    expected = np.histogram(values, bins=200, range=(-1e-5, 2))[0]
    assert np.abs(np.cumsum(spectral_histogram(adj).numpy() - expected)).max() <= 1  # a value on a bin's edge


@pytest.mark.parametrize("statistic", ["degree", "clustering", "spectral"])
def test_the_earth_movers_kernel_agrees_with_scipy(statistic: str) -> None:
    rows = histograms([as_graph(drawn(10 + k, 0.3, k)) for k in range(6)], statistic)
    found = gram(rows, statistic, "emd")
    sigma, scale = {"degree": (1, 1), "clustering": (0.1, 100), "spectral": (1, 1)}[statistic]
    place = np.arange(rows.shape[1])
    for i, j in itertools.product(range(6), repeat=2):
        distance = wasserstein_distance(place, place, rows[i].numpy(), rows[j].numpy()) / scale
        assert found[i, j] == pytest.approx(np.exp(-(distance**2) / (2 * sigma**2)), abs=1e-10)


@pytest.mark.parametrize("kernel", ["emd", "tv"])
@pytest.mark.parametrize("statistic", ["degree", "clustering", "orbit", "spectral"])
def test_mmd_agrees_with_its_naive_twin(statistic: str, kernel: str) -> None:
    one = [as_graph(drawn(8 + k, 0.3, k)) for k in range(5)]
    two = [as_graph(drawn(8 + k, 0.5, 50 + k)) for k in range(7)]
    rows = histograms(one + two, statistic)
    whole = gram(rows, statistic, kernel)  # type: ignore[arg-type]
    naive = sum(float(whole[i, j]) for i in range(5) for j in range(5)) / 25
    naive += sum(float(whole[i, j]) for i in range(5, 12) for j in range(5, 12)) / 49
    naive -= 2 * sum(float(whole[i, j]) for i in range(5) for j in range(5, 12)) / 35
    found = graph_mmd(one, two, statistic, kernel, resamples=50)  # type: ignore[arg-type]
    assert found.value == pytest.approx(naive, abs=1e-12)
    assert found.low <= found.high


def test_total_variation_of_disjoint_histograms_is_one() -> None:
    whole = gram(torch.eye(2, dtype=torch.float64), "degree", "tv")
    assert whole[0, 1] == pytest.approx(np.exp(-0.5))


def test_equal_sets_are_not_apart_and_others_are() -> None:
    one = [as_graph(drawn(12, 0.2, k)) for k in range(10)]
    two = [as_graph(drawn(12, 0.6, k)) for k in range(10)]
    for statistic in ("degree", "clustering", "orbit", "spectral"):
        assert abs(graph_mmd(one, one, statistic).value) < 1e-12
        assert graph_mmd(one, two, statistic).value > 1e-3


def test_the_bootstrap_covers_the_value_it_resamples() -> None:
    whole = gram(torch.rand(60, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), "degree", "tv")
    found = discrepancy(whole, 30, resamples=200)
    assert found.low < found.high
    assert found.high > found.value


def test_mistakes_are_one_sentence() -> None:
    graph = as_graph(drawn(5, 0.5, 0))
    with pytest.raises(ConfigError, match="expected one of degree"):
        graph_mmd([graph], [graph], "colour")
    with pytest.raises(ShapeError, match="got 0 and 1"):
        graph_mmd([], [graph], "degree")


def test_real_ego_graphs_are_as_far_apart_as_their_known_floor() -> None:
    # 40 training graphs of ego-small against its 40 test graphs: .025 +- .010 over draws
    if not os.environ.get("MOGEN_DATA"):
        pytest.skip("MOGEN_DATA is not set, so ego_small is not here")
    try:
        graphs = load_graphs("ego_small")
    except DataError:
        pytest.skip("ego_small is not in MOGEN_DATA")
    rows = {name: histograms(graphs, name) for name in ("degree", "clustering", "orbit")}
    found = []
    for seed in range(10):
        drawn = 40 + torch.randperm(160, generator=torch.Generator().manual_seed(seed))[:40]
        parts = [mmd(gram(torch.cat([row[drawn], row[:40]]), name, "emd"), 40) for name, row in rows.items()]
        found.append(sum(parts) / 3)
    assert 0.01 < np.mean(found) < 0.04
