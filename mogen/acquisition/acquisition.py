"""What is worth measuring next, under a belief, what is known, and what is under way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.preference import Scalarization, Tchebycheff
from mogen.surrogate import Feasibility, Observations, Surrogate
from mogen.types import C


@final
@dataclass(frozen=True)
class Belief(Generic[C]):
    """A fitted surrogate, what it learned from, what is under way, and how likely candidates are to be valid."""

    surrogate: Surrogate[C]
    observed: Observations[C]
    pending: tuple[C, ...] = ()
    feasibility: Feasibility[C] | None = None
    price: Callable[[Sequence[C]], Float[Tensor, " n"]] | None = None
    """what measuring a candidate costs; 1 everywhere if None"""
    unfinished: frozenset[str] = frozenset()
    """keys of observed candidates that may be asked for again, for the values they lack"""

    @property
    def m(self) -> int:
        """Objectives."""
        return self.observed.m

    def log_feasible(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """log P(valid); 0 where nothing was ever invalid."""
        if self.feasibility is None:
            return torch.zeros(len(candidates), dtype=torch.float64)
        return self.feasibility.log_probability(candidates)

    def log_price(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """Log of what measuring every candidate costs: a worth per price is a difference of logs."""
        if self.price is None:
            return torch.zeros(len(candidates), dtype=torch.float64)
        return self.price(candidates).double().log()


class Acquisition(ABC, Generic[C]):
    """A worth of candidates; the reference point is the origin of the utilities, fixed by the objective set.

    `prepare` comes first, once a round. Scores are computed in chunks, so that a pool of any size fits.
    """

    @abstractmethod
    def prepare(self, belief: Belief[C], *, generator: torch.Generator) -> None:
        """Takes up a belief; whatever is random for the round is drawn here."""

    @abstractmethod
    def score(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """The logarithm of every candidate's worth alone, beside what is pending."""

    @abstractmethod
    def select(self, pool: Sequence[C], q: int, *, generator: torch.Generator) -> list[int]:
        """Positions of at most q different candidates to be measured together, the best one first."""


def apart(
    surrogate: Surrogate[C], shortlist: Sequence[C], chosen: Sequence[int], likeness: float
) -> Float[Tensor, " n"]:
    """0 for candidates less alike to every chosen one than `likeness`, minus infinity for the others."""
    penalty = torch.zeros(len(shortlist), dtype=torch.float64)
    if chosen and likeness < 1:
        near = surrogate.likeness(shortlist, [shortlist[place] for place in chosen]).amax(1)
        penalty[near >= likeness] = -torch.inf
    penalty[list(chosen)] = -torch.inf
    return penalty


def best(score: Float[Tensor, " n"], count: int) -> list[int]:
    """Positions of the highest scores, best first, equal ones in their order; NaN last."""
    filled = score.double().nan_to_num(nan=-torch.inf, neginf=-torch.inf)
    return torch.sort(filled, descending=True, stable=True).indices[:count].tolist()


def simplex(n: int, m: int, generator: torch.Generator) -> Float[Tensor, "n m"]:
    """Rows drawn uniformly from the simplex."""
    drawn = torch.empty(n, m, dtype=torch.float64).exponential_(generator=generator)
    return drawn / drawn.sum(-1, keepdim=True)


def root(covariance: Float[Tensor, "m n n"]) -> Float[Tensor, "m n n"]:
    """A Cholesky factor, with as much on the diagonal as it takes."""
    from linear_operator.utils.cholesky import psd_safe_cholesky

    return psd_safe_cholesky(covariance, max_tries=8)


def shortlisted(
    belief: Belief[C],
    pool: Sequence[C],
    weights: Float[Tensor, "k m"],
    kappa: float,
    most: int,
    scalarization: Scalarization | None = None,
) -> list[int]:
    """Positions of the candidates with the highest upper bounds under any of the preferences, about `most` of them."""
    if len(pool) <= most:
        return list(range(len(pool)))
    scalarization = scalarization or Tchebycheff()
    mean, deviation = belief.surrogate.marginal(pool)
    bound, likely = mean + kappa * deviation, belief.log_feasible(pool).exp()
    share = max(1, most // len(weights))
    kept: set[int] = set()
    for weight in weights:
        worth = scalarization(bound, weight.expand_as(bound)) * likely
        kept.update(best(worth + 1e-6 * bound.clamp(-1, 1).mean(-1), share))
    return sorted(kept)
