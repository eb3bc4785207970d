import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogen.errors import ShapeError
from mogen.metric import circles, intdiv, pc_entropy, top_k_diversity, vendi, vendi_of_features
from mogen.preference import cube_faces


def similarities(n, seed):
    rows = torch.rand(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((rows + rows.T) / 2).fill_diagonal_(1)


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 50))
def test_diversities_agree_with_naive_twins(n, seed):
    similarity = similarities(n, seed)
    before, s = similarity.clone(), similarity.tolist()
    assert intdiv(similarity) == pytest.approx(1 - sum(map(sum, s)) / n**2)
    kept = []
    for i in range(n):
        if all(1 - s[i][j] > 0.5 for j in kept):
            kept.append(i)
    assert circles(1 - similarity, 0.5) == len(kept)
    score = torch.arange(n) % 3
    best = sorted(range(n), key=lambda i: -(i % 3))[:4]
    pairs = [s[i][j] for i in best for j in best if i != j]
    assert top_k_diversity(similarity, score, 4) == pytest.approx(1 - sum(pairs) / len(pairs) if pairs else 0.0)
    assert torch.equal(similarity, before)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_vendi_counts_what_is_different(n):
    assert vendi(torch.ones(n, n)) == pytest.approx(1.0)
    assert vendi(torch.eye(n)) == pytest.approx(n)
    assert vendi_of_features(torch.ones(n, 3)) == pytest.approx(1.0)
    assert vendi_of_features(torch.eye(n)) == pytest.approx(n)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_both_forms_of_vendi_agree(shape):
    rows = torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = rows / rows.norm(dim=1, keepdim=True)
    shares = np.linalg.eigvalsh((unit @ unit.T).numpy() / len(rows))
    expected = math.exp(-sum(p * math.log(p) for p in shares if p > 1e-12))
    assert vendi(unit @ unit.T) == pytest.approx(expected)
    assert vendi_of_features(rows) == pytest.approx(expected)


def test_circles_are_farther_than_the_threshold():
    distance = torch.tensor([[0.0, 0.75, 0.8], [0.75, 0.0, 0.9], [0.8, 0.9, 0.0]])
    assert circles(distance, 0.75) == 2
    assert circles(distance, 0.74) == 3


def test_no_candidates_have_no_diversity():
    none = torch.zeros(0, 0)
    assert intdiv(none) == vendi(none) == circles(none) == top_k_diversity(none, torch.zeros(0)) == 0
    assert vendi_of_features(torch.zeros(0, 4)) == 0 and pc_entropy(torch.zeros(0, 2)) == 0


@pytest.mark.parametrize("d", [1, 2, 3])
def test_entropy_is_greatest_on_the_whole_reference(d):
    faces = cube_faces(d)
    assert len(faces) == 10**d - 9**d
    assert pc_entropy(faces) == pytest.approx(math.log(10**d - 9**d), abs=1e-9)
    assert pc_entropy(faces[:1].repeat(5, 1)) == 0


def test_entropy_checked_with_a_pencil():
    reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    utility = torch.tensor([[0.9, 0.0], [0.8, 0.1], [0.1, 0.8], [float("nan"), 0.0], [0.7, 0.2]])
    assert pc_entropy(utility, reference) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


@pytest.mark.wrong_types
def test_what_has_no_pairs_or_directions_is_refused():
    with pytest.raises(ShapeError, match="one row and one column"):
        intdiv(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="zero in a whole row"):
        vendi_of_features(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="million"):
        cube_faces(7)
