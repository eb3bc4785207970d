"""Kernels against plain twins, and positive semi-definite."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.surrogate import CountFingerprints, Linear, Overlap, Tanimoto, TokenCounts, TokenPlaces, TokenWords

SMILES = (
    "CCO", "CCCCCCCC", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "C", "CCN(CC)CC", "O=C(O)c1ccccc1OC(C)=O", "CCCCCCCCCCCC",
    "C1CCCCC1", "Clc1ccccc1Cl", "NCC(=O)O", "CCCCO", "OCC(O)CO", "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
)  # fmt: skip
TEXTS = ("AVVCA", "AVCAVCAVC", "A", "CCCC", "AVVCAA", "WYWYWY", "VA", "AVCAVC", "CAVCAVCAV")


@pytest.fixture
def molecules() -> list[Molecule]:
    return [Molecule.from_smiles(text) for text in SMILES]


@pytest.fixture
def sequences() -> list[TokenSequence]:
    return [TokenSequence(text) for text in TEXTS]


def smallest_eigenvalue(matrix: torch.Tensor) -> float:
    assert torch.allclose(matrix, matrix.T, atol=1e-14)
    return float(torch.linalg.eigvalsh(matrix).min())


def test_tanimoto_of_counts_is_rdkits(molecules):
    """RDKit's own Tanimoto similarity of sparse count vectors is sum of minima over sum of maxima."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3)
    prints = [generator.GetSparseCountFingerprint(item.mol) for item in molecules]
    expected = torch.tensor([[DataStructs.TanimotoSimilarity(a, b) for b in prints] for a in prints])
    kernel = Tanimoto()
    sets = kernel.features(molecules)
    assert torch.allclose(kernel.base(sets, sets), expected.double(), atol=1e-12)
    part = kernel.base(sets[2:5], sets)
    assert torch.allclose(part, expected.double()[2:5], atol=1e-12)


def counted(text: str, longest: int) -> Counter[str]:
    return Counter(text[at : at + size] for size in range(1, longest + 1) for at in range(len(text) - size + 1))


def test_tanimoto_of_words_is_the_plain_one(sequences):
    expected = torch.zeros(len(TEXTS), len(TEXTS), dtype=torch.float64)
    for i, a in enumerate(TEXTS):
        for j, b in enumerate(TEXTS):
            left, right = counted(a, 3), counted(b, 3)
            expected[i, j] = (left & right).total() / (left | right).total()
    kernel = Tanimoto(TokenCounts(longest=3))
    sets = kernel.features(sequences)
    assert torch.allclose(kernel.base(sets, sets), expected, atol=1e-12)


def test_overlap_counts_places_that_differ(sequences):
    kernel, scale = Overlap(), torch.tensor(0.7, dtype=torch.float64)
    sets = kernel.features(sequences)
    found = kernel(kernel.base(sets, sets), scale)
    for i, a in enumerate(TEXTS):
        for j, b in enumerate(TEXTS):
            differ = sum(x != y for x, y in zip(a.ljust(20), b.ljust(20), strict=True))
            assert float(found[i, j]) == pytest.approx(math.exp(-differ / (8 * 0.7)), abs=1e-12)


def test_sums_over_words_are_products_of_counts(sequences):
    kernel = Linear(TokenWords(2))
    sets = kernel.features(sequences)
    each = [counted(text, 2) for text in TEXTS]
    expected = [[float(sum(a[word] * b[word] for word in a)) for b in each] for a in each]
    assert kernel.base(sets, sets).tolist() == expected
    assert kernel.own(sets).tolist() == [expected[k][k] for k in range(len(TEXTS))]
    assert kernel.own(sets[2:4]).tolist() == [expected[k][k] for k in (2, 3)]


def test_kernels_are_positive_semi_definite(molecules, sequences):
    kernel = Tanimoto()
    sets = kernel.features(molecules)
    assert smallest_eigenvalue(kernel.base(sets, sets)) > -1e-12
    made = np.random.default_rng(0)
    many = [TokenSequence("".join(made.choice(list("ACG"), size=made.integers(1, 9)))) for _ in range(80)]
    for kind in (Tanimoto(TokenCounts(2)), Overlap(TokenPlaces())):
        own = kind.features(many)
        for scale in (0.05, 1.0, 20.0):
            value = kind(kind.base(own, own), torch.tensor(scale, dtype=torch.float64))
            assert smallest_eigenvalue(value) > -1e-10
            assert torch.allclose(torch.diagonal(value), torch.ones(len(many), dtype=torch.float64))


def test_features_are_computed_once(molecules, monkeypatch):
    features, calls = CountFingerprints(), []
    describe = features.describe
    monkeypatch.setattr(features, "describe", lambda item: calls.append(item.key) or describe(item))
    first, again = features(molecules), features(molecules[::-1])
    assert sorted(calls) == sorted(item.key for item in molecules)
    assert np.array_equal(first[3:4].members, again[len(molecules) - 4 : len(molecules) - 3].members)
