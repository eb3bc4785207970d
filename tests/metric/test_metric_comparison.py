"""Means over seeds and paired differences against scipy.stats, and what they show."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mogen.metric import Estimate, differences, estimates, paired, signed_rank


@pytest.mark.parametrize("n", [2, 3, 5, 10, 40])
def test_the_interval_is_that_of_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(3, 2, n)
    found = Estimate.of(values.tolist())
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert found.count == n and found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.standard_deviation == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.8, -2.0])
def test_a_paired_difference_is_the_paired_t_test(shift: float) -> None:
    random = np.random.default_rng(7)
    theirs = random.normal(0, 5, 8)
    ours = theirs + random.normal(shift, 1, 8)
    found, expected = paired(ours.tolist(), theirs.tolist()), stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    shown = "not shown" if expected.pvalue > 0.05 else "beats" if shift > 0 else "loses"
    assert found.verdict() == shown


def test_one_value_says_nothing_about_its_spread() -> None:
    one = Estimate.of([0.5])
    assert one == Estimate(1, 0.5, 0.0, -math.inf, math.inf) and one.verdict() == "too few seeds"
    assert one.to_dict(is_interval=True) == one.to_dict() == {"mean": 0.5, "standard_deviation": 0.0}
    two = Estimate.of([0.5, 1.5]).to_dict(is_interval=True)
    assert two["mean"] == 1.0 and two["low"] < 0.5 < 1.5 < two["high"]


@pytest.mark.parametrize(
    ("low", "high", "count", "said"),
    [
        (0.1, 0.2, 5, "beats"),
        (-0.2, -0.1, 5, "loses"),
        (-0.1, 0.1, 9, "not shown"),
        (0.0, 0.1, 5, "not shown"),
        (0.1, 0.2, 4, "too few seeds"),
    ],
)
def test_beats_needs_five_seeds_and_an_interval_off_zero(low: float, high: float, count: int, said: str) -> None:
    apart = Estimate(count, (low + high) / 2, 0.1, low, high)
    assert apart.verdict() == said
    assert apart.verdict("above", "below") == {"beats": "above", "loses": "below"}.get(said, said)


def test_only_what_all_rows_have_is_compared() -> None:
    ours = [{"b": 1.0, "a": 2.0, "x": 9.0}, {"a": 4.0, "b": 2.0}]
    theirs = [{"a": 1.0, "b": 5.0}, {"a": 1.0, "c": 0.0}]
    assert list(estimates(ours)) == ["a", "b"] and estimates(ours)["b"].mean == 1.5
    assert differences(ours, theirs) == {"a": Estimate.of([1.0, 3.0])}
    with pytest.raises(ValueError, match="shorter"):
        differences(ours, theirs[:1])


def test_signed_ranks_are_those_of_all_signs() -> None:
    """Against enumeration: the share of the 2^6 sign patterns whose positive ranks sum to at least as much."""
    apart = [0.3, -0.1, 0.8, 0.5, -0.2, 0.9]
    ranks = [sorted(map(abs, apart)).index(abs(value)) + 1 for value in apart]
    seen = sum(rank for rank, value in zip(ranks, apart, strict=True) if value > 0)
    patterns = list(itertools.product((0, 1), repeat=6))
    share = sum(sum(s * r for s, r in zip(signs, ranks, strict=True)) >= seen for signs in patterns) / len(patterns)
    assert signed_rank(apart, [0.0] * 6) == pytest.approx(share)
    assert signed_rank([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert signed_rank(apart, [0.0] * 6, is_two_sided=True) == pytest.approx(2 * share)
