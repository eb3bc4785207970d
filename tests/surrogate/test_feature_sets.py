"""Members that sets share: the sparse and the dense product against counting by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import mogen.surrogate.features as features
from mogen.surrogate.features import FeatureSets


def sets(count: int, among: int, size: int, seed: int) -> list[np.ndarray]:
    made = np.random.default_rng(seed)
    return [np.sort(made.integers(0, among, made.integers(0, size))).astype(np.uint32) for _ in range(count)]


@pytest.mark.parametrize("dense", [0, 30, 1e12])
@pytest.mark.parametrize("among", [6, 5000])
def test_shared_members_are_counted_whichever_product_is_used(monkeypatch, dense, among):
    monkeypatch.setattr(features, "DENSE", dense)
    left, right = sets(17, among, 40, 0), sets(9, among, 40, 1)
    found = FeatureSets.of(left).shared(FeatureSets.of(right))
    for i, one in enumerate(left):
        for j, two in enumerate(right):
            here, there = Counter(one.tolist()), Counter(two.tolist())
            assert found[i, j] == sum(count * there[member] for member, count in here.items())


def test_nothing_is_shared_with_empty_sets():
    empty = FeatureSets.of([np.zeros(0, dtype=np.uint32)] * 2)
    assert empty.shared(FeatureSets.of(sets(3, 5, 4, 0))).tolist() == [[0.0] * 3] * 2
    assert FeatureSets.of(sets(3, 5, 4, 0)).shared(empty).tolist() == [[0.0] * 2] * 3
