"""Is one method better than another? Means over seeds, paired differences, and what they show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

ENOUGH = 5
"""seeds below which no difference counts as shown"""


@dataclass(frozen=True)
class Estimate:
    """The mean of n values, their standard deviation s (n - 1; 0 of one value), and a 95 % t-interval of the mean.

    The interval is mean +- t s / sqrt(n), t the 97.5 % quantile of Student's distribution with n - 1 degrees of
    freedom; one value leaves it unbounded.
    """

    count: int
    mean: float
    standard_deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """From at least one value."""
        count, mean = len(values), statistics.fmean(values)
        if count < 2:
            return cls(count, mean, 0.0, -math.inf, math.inf)
        deviation = statistics.stdev(values)
        half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
        return cls(count, mean, deviation, mean - half, mean + half)

    def verdict(self, above: str = "beats", below: str = "loses") -> str:
        """What a paired difference shows: one of these only where its interval over at least 5 seeds excludes zero."""
        if self.count < ENOUGH:
            return "too few seeds"
        return above if self.low > 0 else below if self.high < 0 else "not shown"

    def to_dict(self, *, is_interval: bool = False) -> dict[str, float]:
        """For JSON: mean and standard deviation; the interval if wanted, where it is bounded."""
        found = {"mean": self.mean, "standard_deviation": self.standard_deviation}
        return found | ({"low": self.low, "high": self.high} if is_interval and self.count > 1 else {})


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Ours minus theirs, pair by pair (the same seeds in the same order)."""
    return Estimate.of([a - b for a, b in zip(ours, theirs, strict=True)])


def signed_rank(ours: Sequence[float], theirs: Sequence[float], *, is_two_sided: bool = False) -> float:
    """Wilcoxon's p-value of ours above theirs, or of a difference either way; 1 where no pair differs."""
    from scipy.stats import wilcoxon

    apart = [a - b for a, b in zip(ours, theirs, strict=True)]
    return float(wilcoxon(apart, alternative="two-sided" if is_two_sided else "greater").pvalue) if any(apart) else 1.0


def estimates(rows: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Of every figure that all rows (one a seed) have."""
    shared = sorted(key for key in rows[0] if all(key in row for row in rows))
    return {key: Estimate.of([row[key] for row in rows]) for key in shared}


def differences(ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Ours minus theirs, row by row, of every figure that all of them have."""
    pairs = zip(ours, theirs, strict=True)
    return estimates([{key: a[key] - b[key] for key in a.keys() & b.keys()} for a, b in pairs])
