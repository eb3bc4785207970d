import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogen.errors import ShapeError
from mogen.pareto import is_non_dominated


@st.composite
def tied_utilities(draw, largest=12):
    """Rows on a coarse grid, so that ties and duplicates are common; sometimes none or one."""
    m = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(st.integers(0, 4), min_size=m, max_size=m), max_size=largest))
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, m) / 4


def naive(utility):
    def beats(a, b):
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))

    rows = utility.tolist()
    return [not any(beats(other, this) for other in rows) for this in rows]


@settings(deadline=None, derandomize=True)
@given(tied_utilities())
def test_front_agrees_with_the_naive_twin(utility):
    before = utility.clone()
    assert is_non_dominated(utility).tolist() == naive(utility)
    assert torch.equal(utility, before)


def test_equal_candidates_are_both_kept():
    assert is_non_dominated(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.4, 0.5]])).tolist() == [True, True, False]


def test_a_row_with_nan_is_never_on_the_front_and_beats_nobody():
    utility = torch.tensor([[float("nan"), 1.0], [0.1, 0.1]])
    assert is_non_dominated(utility).tolist() == [False, True]


def test_no_candidates_give_no_front():
    assert is_non_dominated(torch.zeros(0, 3)).shape == (0,)


@pytest.mark.wrong_types
def test_utilities_that_are_no_matrix_are_refused():
    with pytest.raises(ShapeError, match="n x m"):
        is_non_dominated(torch.zeros(3))
