"""Figures of generated molecules against naive twins and the reference implementation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from rdkit import Chem

from mogen.errors import DataError
from mogen.metric import generation
from mogen.metric.generation import (
    BUCKETS,
    around,
    frechet,
    mean_features,
    nspdk_features,
    nspdk_interval,
    nspdk_mmd,
    share_interval,
    shares,
)

SMILES = ["CCO", "c1ccccc1O", "CC(=O)N", "C1CC1C#N", "O", "OC(F)(F)C1CC2CC1N2", "CCCCCCCCC", "C.CCO"]
MASK = 2**64 - 1


def mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def naive(smiles: str) -> dict[int, float]:
    """NSPDK features by breadth-first search in the graph whose bonds are nodes, with Python's integers."""
    mol = Chem.MolFromSmiles(smiles)
    graph = nx.Graph()
    code = {}
    for atom in mol.GetAtoms():
        graph.add_node(atom.GetIdx())
        code[atom.GetIdx()] = mix(atom.GetAtomicNum() * 1024 + atom.GetDegree())
    for bond in mol.GetBonds():
        node = ("bond", bond.GetIdx())
        graph.add_edges_from([(bond.GetBeginAtomIdx(), node), (node, bond.GetEndAtomIdx())])
        code[node] = mix(int(bond.GetBondTypeAsDouble()) + 2**32)
    atoms = range(mol.GetNumAtoms())
    away = dict(nx.all_pairs_shortest_path_length(graph))
    hashes = {}
    for root in atoms:
        value = mix(code[root])
        hashes[root, 0] = value
        for radius in range(1, 5):
            bonds = sum(code[node] for node, far in away[root].items() if far == 2 * radius - 1) & MASK
            shell = sum(code[node] for node, far in away[root].items() if far == 2 * radius) & MASK
            value = mix((mix((value + mix(bonds)) & MASK) + mix((shell + 7) & MASK)) & MASK)
            hashes[root, radius] = value
    total: Counter[int] = Counter()
    for radius in range(5):
        for apart in range(5):
            block: Counter[int] = Counter()
            place = mix(radius * 64 + apart)
            for u in atoms:
                for v in atoms:
                    if away[u].get(v) != 2 * apart:
                        continue
                    one, two = sorted((hashes[u, radius], hashes[v, radius]))
                    block[((mix((mix((one + 3) & MASK) + mix(two) + place) & MASK)) & MASK) % BUCKETS] += 1
                    block[mix(hashes[u, radius] ^ place) % BUCKETS] += 1
            length = sum(count**2 for count in block.values()) ** 0.5
            for key, count in block.items():
                total[key] += count / length  # type: ignore[assignment]
    length = sum(count**2 for count in total.values()) ** 0.5
    return {key: count / length for key, count in total.items()}


def test_features_agree_with_the_naive_twin() -> None:
    rows, buckets, values = nspdk_features(SMILES)
    for row, smiles in enumerate(SMILES):
        found = dict(zip(buckets[rows == row].tolist(), values[rows == row].tolist(), strict=True))
        expected = naive(smiles)
        assert found.keys() == expected.keys()
        assert all(found[key] == pytest.approx(expected[key]) for key in expected)


def test_features_do_not_depend_on_the_order_of_atoms_or_on_the_neighbours_in_a_batch() -> None:
    one, two = mean_features(["CC(=O)Nc1ccccc1"]), mean_features(["c1ccccc1NC(C)=O"])
    assert np.allclose(one, two)
    assert np.allclose(mean_features(SMILES), np.mean([mean_features([text]) for text in SMILES], axis=0))


def test_nspdk_is_the_mmd_of_its_kernel_matrix() -> None:
    one, two = SMILES[:4], SMILES[4:]
    rows = np.stack([mean_features([text]) for text in SMILES])
    kernel = rows @ rows.T
    expected = kernel[:4, :4].mean() + kernel[4:, 4:].mean() - 2 * kernel[:4, 4:].mean()
    assert nspdk_mmd(one, two) == pytest.approx(expected)
    assert nspdk_mmd(one, one) == 0


def test_shares_count_over_everything_generated() -> None:
    found = shares(["CCO", "OCC", None, "C", "not one", "C[C@H](N)O", "C[C@@H](N)O"], ["C"])
    assert found.n == 7
    assert found.valid == pytest.approx(5 / 7)
    assert found.unique == pytest.approx(3 / 5)
    assert found.novel == pytest.approx(2 / 3)


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, 5)
    mean = rng.normal(size=5)
    expected = (mean**2).sum() + ((scale - 1) ** 2).sum()
    assert frechet((np.zeros(5), np.eye(5)), (mean, np.diag(scale**2))) == pytest.approx(expected)


def test_fcd_agrees_with_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcd = pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path))
    one = ["C" * k + "O" for k in range(1, 30)]
    two = ["C" * k + "N" for k in range(1, 30)]
    rows = [fcd.get_predictions(fcd.load_ref_model(), part, n_jobs=0) for part in (one, two)]
    expected = fcd.utils.calculate_frechet_distance(
        rows[0].mean(0), np.cov(rows[0].T), rows[1].mean(0), np.cov(rows[1].T)
    )
    assert generation.fcd(one, two) == pytest.approx(expected, rel=1e-3)
    assert generation.fcd(one, two) == pytest.approx(generation.fcd(one, two))


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(DataError, match="at least 2"):
        generation.fcd(["C"], ["C"])
    with pytest.raises(DataError, match="not one"):
        mean_features(["not one"])


def test_intervals_lie_around_their_figures_and_shrink_with_more_molecules() -> None:
    found = nspdk_interval(SMILES, SMILES[:3], resamples=60)
    assert found.value == pytest.approx(nspdk_mmd(SMILES, SMILES[:3]))
    assert found.low < found.value < found.high
    more = nspdk_interval(SMILES * 16, SMILES[:3], resamples=60)
    assert more.value == pytest.approx(found.value)
    assert 2.5 < (found.high - found.low) / (more.high - more.low) < 6.5  # the square root of 16
    nothing = around(0.5, [])
    assert nothing.low == nothing.value == nothing.high == 0.5


def test_the_interval_of_a_share_is_that_of_wilson() -> None:
    found = share_interval(0.9, 10)
    assert (found.low, found.high) == pytest.approx((0.5958, 0.9821), abs=1e-3)
    assert share_interval(1.0, 5).high == pytest.approx(1.0)
