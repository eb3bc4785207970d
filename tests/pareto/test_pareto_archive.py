from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogen.errors import ShapeError
from mogen.objective import Evaluation
from mogen.pareto import ParetoArchive, is_non_dominated


@dataclass(frozen=True)
class Named:
    key: str


def evaluated(rows, valid=None):
    utility = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), -1)
    is_valid = torch.ones(len(rows), dtype=torch.bool) if valid is None else torch.tensor(valid)
    return Evaluation(utility, torch.zeros(utility.shape, dtype=torch.long), is_valid, utility, utility)


def named(text):
    return [Named(letter) for letter in text]


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(1, 3)), min_size=1, max_size=15)
)
def test_the_archive_is_the_front_of_all_valid_rows_in_any_batching(rows):
    """Every row another candidate; the last number splits them into batches."""
    archive, start = ParetoArchive(2), 0
    candidates = [Named(str(i)) for i in range(len(rows))]
    while start < len(rows):
        stop = start + rows[start][3]
        part = rows[start:stop]
        archive.add(candidates[start:stop], evaluated([r[:2] for r in part], [r[2] for r in part]))
        start = stop
    valid = [i for i, row in enumerate(rows) if row[2]]
    points = torch.tensor([rows[i][:2] for i in valid], dtype=torch.float64).reshape(-1, 2)
    expected = [candidates[i] for i, kept in zip(valid, is_non_dominated(points).tolist(), strict=True) if kept]
    assert archive.candidates == expected
    assert archive.utility.shape == (len(expected), 2)
    assert torch.equal(archive.evaluation.utility, archive.utility)


def test_invalid_candidates_never_enter():
    archive = ParetoArchive(2)
    entered = archive.add(named("abc"), evaluated([[1, 1], [0.5, 0.5], [float("nan"), 1]], [False, True, True]))
    assert entered.tolist() == [False, True, False]
    assert archive.candidates == named("b")


def test_a_key_is_kept_once_and_as_first_measured():
    archive = ParetoArchive(1)
    assert archive.add(named("aa"), evaluated([[0.5], [0.9]])).tolist() == [True, False]
    assert archive.add(named("a"), evaluated([[0.9]])).tolist() == [False]
    assert archive.utility.tolist() == [[0.5]]


def test_different_candidates_of_equal_utility_are_both_kept():
    archive = ParetoArchive(2)
    archive.add(named("a"), evaluated([[0.5, 0.5]]))
    assert archive.add(named("b"), evaluated([[0.5, 0.5]])).tolist() == [True]
    assert len(archive) == 2


def test_the_dominated_are_thrown_out():
    archive = ParetoArchive(2)
    archive.add(named("ab"), evaluated([[0.5, 0.5], [0.0, 1.0]]))
    assert archive.add(named("cd"), evaluated([[0.6, 0.6], [0.1, 0.1]])).tolist() == [True, False]
    assert archive.candidates == named("bc")
    assert archive.evaluation.raw.tolist() == [[0.0, 1.0], [0.6, 0.6]]


def test_an_empty_archive_has_no_evaluation_until_something_was_added():
    archive = ParetoArchive(2)
    assert len(archive) == 0 and archive.evaluation is None and archive.utility.shape == (0, 2)
    assert archive.add(named("a"), evaluated([[1, 1]], [False])).tolist() == [False]
    assert len(archive.evaluation) == 0


def test_members_cannot_be_changed_from_outside():
    archive = ParetoArchive(1)
    archive.add(named("a"), evaluated([[0.5]]))
    archive.utility.zero_()
    archive.candidates.clear()
    assert archive.utility.tolist() == [[0.5]] and len(archive) == 1


def test_utilities_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match="1 x 2"):
        ParetoArchive(2).add(named("a"), evaluated([[0.5]]))
