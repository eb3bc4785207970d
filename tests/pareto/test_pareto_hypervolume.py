import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogen.errors import ShapeError
from mogen.pareto import hypervolume, hypervolume_contributions, hypervolume_curve, is_non_dominated


@st.composite
def grid_utilities(draw, largest=10):
    m = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), max_size=largest))
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, m) / 4


def counted_cells(utility):
    """On a grid of quarters, the dominated volume is a number of cells."""
    m = utility.shape[1]
    cells = itertools.product(range(1, 5), repeat=m)
    return (
        sum(any(all(4 * u >= c for u, c in zip(row, cell, strict=True)) for row in utility.tolist()) for cell in cells)
        / 4**m
    )


@settings(deadline=None, derandomize=True)
@given(grid_utilities())
def test_hypervolume_agrees_with_counting_cells(utility):
    before = utility.clone()
    assert hypervolume(utility) == pytest.approx(counted_cells(utility), abs=1e-12)
    assert torch.equal(utility, before)


@settings(deadline=None, derandomize=True)
@given(grid_utilities())
def test_contributions_agree_with_leaving_one_out(utility):
    front = is_non_dominated(utility)
    expected = []
    for row in range(len(utility)):
        rest = front.clone()
        rest[row] = False
        lost = counted_cells(utility[front]) - counted_cells(utility[rest])
        expected.append(lost if front[row] else 0.0)
    assert hypervolume_contributions(utility).tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, derandomize=True)
@given(grid_utilities(), st.lists(st.integers(0, 12), max_size=6))
def test_the_curve_agrees_with_prefixes(utility, counts):
    assert hypervolume_curve(utility, counts) == pytest.approx([hypervolume(utility[:k]) for k in counts], abs=1e-12)


def test_a_number_checked_with_a_pencil():
    utility = torch.tensor([[0.5, 1.0], [1.0, 0.5], [0.75, 0.75]], dtype=torch.float64)
    assert hypervolume(utility) == pytest.approx(0.5 + 0.25 * 0.75 + 0.25 * 0.5)
    assert hypervolume_contributions(utility).tolist() == pytest.approx([0.125, 0.125, 0.0625])


def test_agrees_with_botorch():
    botorch = pytest.importorskip("botorch.utils.multi_objective.hypervolume")
    utility = torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    front = utility[is_non_dominated(utility)]
    theirs = botorch.Hypervolume(torch.full((3,), 0.1, dtype=torch.float64)).compute(front)
    assert hypervolume(utility, torch.full((3,), 0.1)) == pytest.approx(theirs, rel=1e-6)


def test_rows_with_nan_or_below_the_reference_add_nothing():
    utility = torch.tensor([[0.5, 0.5], [float("nan"), 1.0], [-1.0, 0.9], [0.0, 1.0]], dtype=torch.float64)
    assert hypervolume(utility) == 0.25
    assert hypervolume_contributions(utility).tolist() == [0.25, 0, 0, 0]
    assert hypervolume_curve(utility, [0, 1, 4]) == [0.0, 0.25, 0.25]


def test_nothing_has_no_volume():
    assert hypervolume(torch.zeros(0, 3)) == 0.0
    assert hypervolume_contributions(torch.zeros(0, 3)).shape == (0,)
    assert hypervolume_curve(torch.zeros(0, 3), [0, 5]) == [0.0, 0.0]


def test_duplicates_contribute_nothing():
    assert hypervolume_contributions(torch.full((2, 2), 0.5)).tolist() == [0.0, 0.0]


def test_above_six_objectives_the_volume_is_near_and_repeatable():
    box = torch.full((1, 7), 0.9, dtype=torch.float64)
    assert hypervolume(box) == pytest.approx(0.9**7, rel=0.01)
    assert hypervolume(box) == hypervolume(box)
    assert hypervolume_contributions(box).tolist() == [hypervolume(box)]


@pytest.mark.wrong_types
def test_a_reference_of_another_length_is_refused():
    with pytest.raises(ShapeError, match="2 values"):
        hypervolume(torch.zeros(1, 2), torch.zeros(3))
    with pytest.raises(ShapeError, match="negative"):
        hypervolume_curve(torch.zeros(1, 2), [-1])
