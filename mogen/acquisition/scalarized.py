"""Upper bounds and posterior draws, under a preference of their own for every pick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.acquisition.acquisition import Acquisition, Belief, apart, best, root, shortlisted, simplex
from mogen.errors import ConfigError
from mogen.preference import Scalarization, Tchebycheff
from mogen.types import C


@final
class UpperBound(Acquisition[C]):
    """S(mean + kappa sd, w) with a preference w for every pick; what was picked narrows the sd of what is like it.

    (GP-UCB, Srinivas et al. 2010; in batches GP-BUCB, Desautels et al. 2014, whose variance, unlike the mean, is known
    before anything is measured.) `score` averages over `preferences`.
    """

    def __init__(
        self,
        kappa: float = 2.0,
        scalarization: Scalarization | None = None,
        shortlist: int = 512,
        likeness: float = 1.0,
        preferences: int = 16,
    ) -> None:
        if not kappa >= 0:
            raise ConfigError(f"expected kappa of at least 0, got {kappa}")
        self.kappa, self.scalarization = kappa, scalarization or Tchebycheff()
        self.shortlist, self.likeness, self.preferences = shortlist, likeness, preferences

    def prepare(self, belief: Belief[C], *, generator: torch.Generator) -> None:
        self.belief = belief
        self.weights = simplex(self.preferences, belief.m, generator)

    def score(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        mean, deviation = self.belief.surrogate.marginal(candidates)
        worth = self._worth(mean + self.kappa * deviation, self.weights).mean(-1)
        return worth.clamp(min=1e-12).log() + self.belief.log_feasible(candidates)

    def _worth(self, value: Float[Tensor, "n m"], weights: Float[Tensor, "k m"]) -> Float[Tensor, "n k"]:
        shape = (len(value), *weights.shape)
        return self.scalarization(value[:, None].expand(shape), weights[None].expand(shape))

    def select(self, pool: Sequence[C], q: int, *, generator: torch.Generator) -> list[int]:
        weights = simplex(q, self.belief.m, generator)
        places = shortlisted(self.belief, pool, weights, self.kappa, self.shortlist, self.scalarization)
        shortlist = [pool[place] for place in places]
        likely = self.belief.log_feasible(shortlist) - self.belief.log_price(shortlist)
        mean, covariance = self.belief.surrogate.joint([*shortlist, *self.belief.pending])
        noise = self.belief.surrogate.noise.clamp(min=1e-6) ** 2
        for place in range(len(shortlist), len(mean)):
            covariance = _seen(covariance, place, noise)
        chosen: list[int] = []
        for weight in weights[: len(shortlist)]:
            deviation = torch.diagonal(covariance, dim1=-2, dim2=-1).clamp(min=0).sqrt().T
            bound = (mean + self.kappa * deviation)[: len(shortlist)]
            worth = self._worth(bound, weight[None])[:, 0] * likely.exp()
            pick = _pick(self.belief, shortlist, worth, mean[: len(shortlist)], chosen, self.likeness)
            chosen.append(pick)
            covariance = _seen(covariance, pick, noise)
        return [places[place] for place in chosen]


@final
class ThompsonSampling(Acquisition[C]):
    """The best of one joint draw of the values for every pick, each under a preference of its own (Thompson 1933).

    `score` is one draw for the round, the same for every chunk only as far as chunks are scored together; the joint
    draw is over a shortlist of the highest upper bounds.
    """

    def __init__(
        self,
        scalarization: Scalarization | None = None,
        shortlist: int = 512,
        likeness: float = 1.0,
        kappa: float = 2.0,
    ) -> None:
        self.scalarization, self.shortlist = scalarization or Tchebycheff(), shortlist
        self.likeness, self.kappa = likeness, kappa

    def prepare(self, belief: Belief[C], *, generator: torch.Generator) -> None:
        self.belief = belief
        self.seed = int(torch.randint(2**31 - 1, (), generator=generator))
        self.weight = simplex(1, belief.m, generator)[0]

    def score(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        drawn = torch.Generator().manual_seed(self.seed)
        found = [torch.zeros(0, dtype=torch.float64)]
        for at in range(0, len(candidates), 512):
            value = self._draw(candidates[at : at + 512], drawn)
            found.append(self.scalarization(value, self.weight.expand_as(value)))
        return torch.cat(found).clamp(min=1e-12).log() + self.belief.log_feasible(candidates)

    def _draw(self, candidates: Sequence[C], generator: torch.Generator) -> Float[Tensor, "n m"]:
        mean, covariance = self.belief.surrogate.joint(candidates)
        factor = root(covariance)
        normal = torch.randn(mean.shape[1], len(mean), 1, dtype=torch.float64, generator=generator)
        return mean + (factor @ normal)[..., 0].T

    def select(self, pool: Sequence[C], q: int, *, generator: torch.Generator) -> list[int]:
        weights = simplex(q, self.belief.m, generator)
        places = shortlisted(self.belief, pool, weights, self.kappa, self.shortlist, self.scalarization)
        shortlist = [pool[place] for place in places]
        likely = self.belief.log_feasible(shortlist) - self.belief.log_price(shortlist)
        mean, covariance = self.belief.surrogate.joint(shortlist)
        factor = root(covariance)
        chosen: list[int] = []
        for weight in weights[: len(shortlist)]:
            normal = torch.randn(*factor.shape[:2], 1, dtype=torch.float64, generator=generator)
            value = mean + (factor @ normal)[..., 0].T
            worth = self.scalarization(value, weight.expand_as(value)) * likely.exp()
            chosen.append(_pick(self.belief, shortlist, worth, mean, chosen, self.likeness))
        return [places[place] for place in chosen]


def _pick(
    belief: Belief[C],
    shortlist: Sequence[C],
    worth: Float[Tensor, " n"],
    mean: Float[Tensor, "n m"],
    chosen: list[int],
    likeness: float,
) -> int:
    """The highest worth; among equal ones (all zero, say) the highest mean."""
    score = worth + 1e-9 * mean.clamp(-1, 1).mean(-1)
    allowed = score + apart(belief.surrogate, shortlist, chosen, likeness)
    if not (allowed > -torch.inf).any():
        allowed = score + apart(belief.surrogate, shortlist, chosen, 1.0)
    return best(allowed, 1)[0]


def _seen(covariance: Float[Tensor, "m n n"], place: int, noise: Float[Tensor, " m"]) -> Float[Tensor, "m n n"]:
    """The covariance once one more candidate is measured: a rank-one downdate."""
    column = covariance[:, :, place]
    return covariance - column[:, :, None] * column[:, None, :] / (column[:, place] + noise)[:, None, None]
