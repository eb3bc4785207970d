import json

import pytest
import torch

from mogen.metric import alignment, front_metrics
from mogen.pareto import is_non_dominated


def test_numbers_checked_with_a_pencil():
    utility = torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [0.1, 0.1]], dtype=torch.float64)
    before = utility.clone()
    figures = front_metrics(utility, true_front=torch.tensor([[1.0, 0.5]]))
    assert figures["hypervolume"] == 0.25 and figures["reference_point"] == [0.0, 0.0]
    assert figures["front_size"] == 3 and figures["zero_share"] == pytest.approx(1 / 3)
    assert figures["igd_plus"] == pytest.approx(0.5)
    assert set(figures["r2"]) == {"mean", "sum_norm"}
    assert torch.equal(utility, before)


def test_the_front_alone_has_the_same_figures():
    utility = torch.rand(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert front_metrics(utility) == front_metrics(utility[is_non_dominated(utility)])


@pytest.mark.parametrize("n", [0, 1])
def test_few_candidates_give_finite_figures(n):
    figures = front_metrics(torch.zeros(n, 8, dtype=torch.float64))
    assert figures["hypervolume"] == 0.0 and figures["front_size"] == n and figures["zero_share"] == float(n)
    json.dumps(figures, allow_nan=False)


def test_alignment_is_one_where_everyone_gets_what_they_asked():
    preference = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    assert alignment(preference, preference * 0.5 + 0.1) == pytest.approx(1.0)
    assert alignment(preference, 1 - preference) == pytest.approx(-1.0)


def test_alignment_leaves_out_what_does_not_vary_and_who_did_not_ask():
    preference = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [float("nan"), float("nan")]])
    utility = torch.tensor([[0.2, 0.3], [0.4, 0.3], [0.6, 0.3], [0.0, 0.0]])
    assert alignment(preference, utility) == pytest.approx(1.0)


def test_alignment_is_none_where_nothing_varies():
    assert alignment(torch.full((5, 2), 0.5), torch.rand(5, 2)) is None
    assert alignment(torch.zeros(0, 2), torch.zeros(0, 2)) is None
    assert alignment(torch.zeros(1, 2), torch.zeros(1, 2)) is None
