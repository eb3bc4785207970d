import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogen.errors import ShapeError
from mogen.pareto import epsilon, gd_plus, igd, igd_plus, r2


@st.composite
def two_fronts(draw):
    m = draw(st.integers(1, 3))
    rows = st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), min_size=1, max_size=7)
    return tuple(torch.tensor(draw(rows), dtype=torch.float64) / 4 for _ in range(2))


def shortfall(p, a):
    return math.sqrt(sum(max(x - y, 0) ** 2 for x, y in zip(p, a, strict=True)))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@settings(deadline=None, derandomize=True)
@given(two_fronts())
def test_indicators_agree_with_naive_twins(fronts):
    front, truth = fronts
    before = front.clone(), truth.clone()
    a, p = front.tolist(), truth.tolist()
    assert igd(front, truth) == pytest.approx(mean(min(math.dist(x, y) for y in a) for x in p), abs=1e-12)
    assert igd_plus(front, truth) == pytest.approx(mean(min(shortfall(x, y) for y in a) for x in p), abs=1e-12)
    assert gd_plus(front, truth) == pytest.approx(mean(min(shortfall(x, y) for x in p) for y in a), abs=1e-12)
    gaps = max(min(max(u - v for u, v in zip(x, y, strict=True)) for y in a) for x in p)
    assert epsilon(front, truth) == pytest.approx(gaps, abs=1e-12)
    distances = [min(max(w * (1 - v) for w, v in zip(x, y, strict=True)) for y in a) for x in p]
    assert r2(front, truth) == pytest.approx(mean(distances), abs=1e-12)
    if truth.norm() > 0:
        assert r2(front, truth, kind="sum_norm") == pytest.approx(sum(distances) / truth.norm().item(), abs=1e-12)
    assert torch.equal(front, before[0]) and torch.equal(truth, before[1])


def test_numbers_checked_with_a_pencil():
    front, truth = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.5], [0.5, 0.25]])
    assert igd(front, truth) == pytest.approx((0.5 + 0.25) / 2)
    assert igd_plus(front, truth) == pytest.approx(0.25)
    assert gd_plus(front, truth[:1]) == pytest.approx(0.5)
    assert epsilon(front, truth) == pytest.approx(0.5)
    lattice = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    assert r2(front, lattice) == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert r2(front, lattice, kind="sum_norm") == pytest.approx(1.25 / math.sqrt(2.5))


def test_the_true_front_is_at_no_distance_from_itself():
    front = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert igd(front, front) == igd_plus(front, front) == gd_plus(front, front) == epsilon(front, front) == 0.0


def test_no_candidates_count_as_the_origin_and_nan_rows_as_none():
    origin, truth = torch.zeros(1, 2), torch.tensor([[1.0, 0.5]])
    for empty in (torch.zeros(0, 2), torch.full((1, 2), float("nan"))):
        for figure in (igd, igd_plus, gd_plus, epsilon, r2):
            assert figure(empty, truth) == figure(origin, truth)


@pytest.mark.wrong_types
def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ShapeError, match="at least 1 x 2"):
        igd(torch.zeros(1, 2), torch.zeros(0, 2))
    with pytest.raises(ShapeError, match="at least 1 x 2"):
        r2(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="kind of R2"):
        r2(torch.zeros(1, 2), torch.ones(1, 2), kind="median")  # type: ignore[arg-type]
