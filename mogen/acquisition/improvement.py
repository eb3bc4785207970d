"""Expected improvements of BoTorch, over candidates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.acquisition.acquisition import Acquisition, Belief, apart, best, root, shortlisted, simplex
from mogen.acquisition.cells import Cells
from mogen.errors import ConfigError
from mogen.types import C

EXACT_UP_TO = 4
"""objectives up to which the dominated space is partitioned exactly"""
MOST = 6
"""objectives up to which it is partitioned at all"""
_CELLS = 4_000_000
"""numbers (Monte Carlo samples x cells x candidates) held at a time"""
_COARSE = 1e-6
"""boxes below this share of the unit cube are given up above `EXACT_UP_TO` objectives"""
_SAMPLES = {2: 64, 3: 64, 4: 32}
_BASELINE = {2: 100, 3: 60, 4: 32}
_POOL = {2: 10_000, 3: 4_000, 4: 1_000}
"""Monte Carlo samples, observed candidates kept and candidates scored, by objectives; the boxes grow fast with the
first two"""


@final
class HypervolumeImprovement(Acquisition[C]):
    """qLogNEHVI: the expected noisy hypervolume improvement (Daulton et al. 2021; log form, Ament et al. 2023).

    Of utilities min(value, 1), over the origin. The same number as BoTorch's qLogNoisyExpectedHypervolumeImprovement
    for one candidate and the same draws, to which tests hold it. It is computed for whole pools: the values of the
    observed front are drawn once, the space each draw leaves is cut into boxes (`Cells`: exactly up to 4 objectives,
    without the smallest boxes for 5 and 6; above, use `ScalarizedImprovement`), and every pick of a batch takes its own
    drawn values away from the boxes and conditions the draws of the others by one more row of a Cholesky factor.

    Args:
        samples: Monte Carlo samples; 64 for 2 and 3, 32 for 4 and 24 for more objectives if null.
        shortlist: candidates that are scored again after every pick of a batch.
        likeness: picks of a batch are less alike than this (1: no matter).
        most_baseline: observed candidates kept as those that may be on the front; 100, 60, 32 and 24 if null.
        most_pool: a larger pool is first reduced to the highest scalarised upper bounds; 10,000, 4,000, 1,000 and 500
            if null.
    """

    def __init__(
        self,
        samples: int | None = None,
        shortlist: int = 128,
        likeness: float = 1.0,
        most_baseline: int | None = None,
        most_pool: int | None = None,
    ) -> None:
        self.given_samples, self.given_baseline = samples, most_baseline
        self.shortlist, self.likeness = _at_least_one(shortlist, "shortlist"), likeness
        self.given_pool = most_pool
        self.chunk = 512

    def prepare(self, belief: Belief[C], *, generator: torch.Generator) -> None:
        if not 2 <= belief.m <= MOST:
            raise ConfigError(
                f"expected 2 to {MOST} objectives for the hypervolume improvement, got {belief.m}: use parego"
            )
        self.belief, self.seed = belief, _seed(generator)
        self.samples = self.given_samples or _SAMPLES.get(belief.m, 24)
        self.baseline = may_be_best(belief, self.given_baseline or _BASELINE.get(belief.m, 24))
        self.most_pool = self.given_pool or _POOL.get(belief.m, 500)
        self.coarseness = 0.0 if belief.m <= EXACT_UP_TO else _COARSE
        self.fixed = [*self.baseline, *belief.pending]
        mean, covariance = belief.surrogate.joint(self.fixed)
        self.factor = root(covariance)
        counts = (len(self.baseline), len(belief.pending))
        parts = [normals(self.samples, belief.m, count, self.seed + 1 + k) for k, count in enumerate(counts)]
        self.normal, self.own = torch.cat(parts, -1), normals(self.samples, belief.m, 1, self.seed)[..., 0]
        drawn = mean + torch.einsum("mnk,smk->snm", self.factor, self.normal)
        self.cells = Cells.beyond(drawn.clamp(max=1.0), self.coarseness)

    def _draws(self, candidates: Sequence[C]) -> Draws:
        """The candidates' values given those of the baseline and of what is pending."""
        surrogate = self.belief.surrogate
        cross = surrogate.cross(self.fixed, candidates)
        solved = torch.linalg.solve_triangular(self.factor, cross, upper=False)
        mean, deviation = surrogate.marginal(candidates)
        return Draws(mean, deviation.T**2, solved, self.normal, self.own)

    def score(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        return self._score(candidates, None)

    def _score(self, candidates: Sequence[C], enough: int | None) -> Float[Tensor, " n"]:
        """The worth of candidates, in chunks; see `Cells.log_expected`."""
        found = [torch.zeros(0, dtype=torch.float64)]
        for at in range(0, len(candidates), self.chunk):
            part = candidates[at : at + self.chunk]
            found.append(self.cells.log_expected(self._draws(part).values().clamp(max=1.0), enough))
        return torch.cat(found) + self.belief.log_feasible(candidates)

    def select(self, pool: Sequence[C], q: int, *, generator: torch.Generator) -> list[int]:
        whole = list(range(len(pool)))
        if len(pool) > self.most_pool:
            whole = shortlisted(self.belief, pool, simplex(32, self.belief.m, generator), 2.0, self.most_pool)
        reduced = [pool[place] for place in whole]
        start = self._score(reduced, 4 * q) - self.belief.log_price(reduced)
        places = [whole[place] for place in best(start, max(self.shortlist, 4 * q))]
        shortlist = [pool[place] for place in places]
        likely = self.belief.log_feasible(shortlist) - self.belief.log_price(shortlist)
        score, chosen = start.sort(descending=True, stable=True).values[: len(places)], list[int]()
        draws, cells = self._draws(shortlist), self.cells
        covariance = self.belief.surrogate.joint(shortlist)[1]
        more = normals(self.samples, self.belief.m, q, self.seed + 3)
        while len(chosen) < min(q, len(shortlist)):
            if chosen:
                values = draws.values().clamp(max=1.0)
                cells = cells.without(values[:, chosen[-1]], self.coarseness)
                draws = draws.given(chosen[-1], covariance, more[..., len(chosen)])
                score = cells.log_expected(draws.values().clamp(max=1.0), 1) + likely
            _take(self.belief, shortlist, score, chosen, self.likeness)
        return [places[place] for place in chosen]


@dataclass(frozen=True)
class Draws:
    """Values of n candidates given drawn values of k others: mean + A' z + sqrt(variance - sum A^2) z_own.

    A = L^-1 K(others, candidates), L the Cholesky factor of the others' covariance, z the normals they were drawn by.
    Every candidate alone is drawn by the same normals, which makes differences between candidates smooth.
    """

    mean: Float[Tensor, "n m"]
    variance: Float[Tensor, "m n"]
    solved: Float[Tensor, "m k n"]
    normal: Float[Tensor, "s m k"]
    own: Float[Tensor, "s m"]

    def values(self) -> Float[Tensor, "s n m"]:
        """Draws of every candidate."""
        known = torch.einsum("mkn,smk->snm", self.solved, self.normal)
        return self.mean + known + self._left().sqrt().T * self.own[:, None]

    def _left(self) -> Float[Tensor, "m n"]:
        """What variance the others leave."""
        return (self.variance - (self.solved**2).sum(1)).clamp(min=1e-18)

    def given(self, place: int, covariance: Float[Tensor, "m n n"], own: Float[Tensor, "s m"]) -> Draws:
        """The same once candidate `place` has the value it was drawn with: one more row of A."""
        beside = covariance[:, place] - torch.einsum("mk,mkn->mn", self.solved[:, :, place], self.solved)
        row = beside / self._left()[:, place, None].sqrt()
        solved = torch.cat([self.solved, row[:, None]], 1)
        return Draws(self.mean, self.variance, solved, torch.cat([self.normal, self.own[..., None]], -1), own)


def normals(samples: int, m: int, count: int, seed: int) -> Float[Tensor, "s m k"]:
    """Quasi-random standard normals (Sobol, scrambled)."""
    from botorch.sampling.qmc import NormalQMCEngine

    if not count:
        return torch.zeros(samples, m, 0, dtype=torch.float64)
    drawn: Any = NormalQMCEngine(d=m * count, seed=seed).draw(samples, dtype=torch.float64)
    return drawn.reshape(samples, m, count)


@final
class ScalarizedImprovement(Acquisition[C]):
    """qLogNParEGO: noisy expected improvement of a Chebyshev scalarisation, a new one for every pick (Knowles 2006).

    s = min_i w_i (u_i - 1) / max_i w_i + 0.05 sum_i w_i u_i with u = min(value, 1): its range is that of the utilities,
    fixed by the objective set, where BoTorch's qLogNParEGO would take that of the observations; the expectation is
    BoTorch's qLogNoisyExpectedImprovement. `score` averages over `preferences` scalarisations.
    """

    def __init__(
        self,
        samples: int = 64,
        shortlist: int = 256,
        likeness: float = 1.0,
        most_baseline: int = 100,
        preferences: int = 8,
    ) -> None:
        self.samples, self.shortlist = _at_least_one(samples, "samples"), _at_least_one(shortlist, "shortlist")
        self.likeness, self.most_baseline = likeness, _at_least_one(most_baseline, "most_baseline")
        self.preferences = _at_least_one(preferences, "preferences")

    def prepare(self, belief: Belief[C], *, generator: torch.Generator) -> None:
        self.belief, self.seed = belief, _seed(generator)
        self.weights = simplex(self.preferences, belief.m, generator)
        self.baseline = may_be_best(belief, self.most_baseline)

    def _function(self, weight: Float[Tensor, " m"], pending: Sequence[C]) -> tuple[Any, Any]:
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.acquisition.objective import GenericMCObjective
        from botorch.sampling import SobolQMCNormalSampler

        from mogen.acquisition.model import BeliefModel

        def worth(samples: Tensor, X: Tensor | None = None) -> Tensor:
            return chebyshev(samples, weight)

        model = BeliefModel(self.belief.surrogate, self.belief.m)
        baseline = model.keep([*self.baseline, *pending])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function = qLogNoisyExpectedImprovement(
                model=model,
                X_baseline=baseline,
                sampler=SobolQMCNormalSampler(torch.Size([self.samples]), seed=self.seed),
                objective=GenericMCObjective(worth),
                prune_baseline=False,
            )
        return function, model

    def _scored(self, candidates: Sequence[C], weight: Float[Tensor, " m"], pending: Sequence[C]) -> Tensor:
        function, model = self._function(weight, pending)
        found = evaluated(function, model, candidates, _chunk(self.samples * (1 + len(model.fixed)) * self.belief.m))
        return found + self.belief.log_feasible(candidates)

    def score(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        each = [self._scored(candidates, weight, self.belief.pending) for weight in self.weights]
        return torch.stack(each).logsumexp(0) - torch.tensor(float(len(each))).log()

    def select(self, pool: Sequence[C], q: int, *, generator: torch.Generator) -> list[int]:
        weights = simplex(q, self.belief.m, generator)
        places = list(range(len(pool)))
        if len(pool) > max(self.shortlist, 4 * q):
            mean, deviation = self.belief.surrogate.marginal(pool)
            bound = (mean + 2 * deviation)[:, None]
            worth = chebyshev(bound, weights) + (self.belief.log_feasible(pool) - self.belief.log_price(pool))[:, None]
            share = max(self.shortlist, 4 * q) // q
            places = sorted({place for column in worth.T for place in best(column, share)})
        shortlist, chosen = [pool[place] for place in places], list[int]()
        price = self.belief.log_price(shortlist)
        for weight in weights[: len(shortlist)]:
            pending = [*self.belief.pending, *(shortlist[place] for place in chosen)]
            _take(self.belief, shortlist, self._scored(shortlist, weight, pending) - price, chosen, self.likeness)
        return [places[place] for place in chosen]


def chebyshev(value: Float[Tensor, "*b m"], weight: Float[Tensor, "*k m"]) -> Float[Tensor, "*b"]:
    """min_i w_i (u_i - 1) / max_i w_i + 0.05 sum_i w_i u_i, u = min(value, 1)."""
    utility = value.clamp(max=1.0)
    scale = weight.amax(-1, keepdim=True)
    return (weight / scale * (utility - 1)).amin(-1) + 0.05 * (weight * utility).sum(-1)


@torch.no_grad()
def evaluated(
    function: Callable[[Tensor], Tensor], model: Any, candidates: Sequence[Any], chunk: int
) -> Float[Tensor, " n"]:
    """A BoTorch acquisition of every candidate alone, so many at a time."""
    found = [torch.zeros(0, dtype=torch.float64)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for at in range(0, len(candidates), chunk):
            found.append(function(model.number(candidates[at : at + chunk])))
    return torch.cat(found).nan_to_num(nan=-torch.inf)


def may_be_best(belief: Belief[C], most: int, width: float = 2.0) -> list[C]:
    """Observed candidates that have not failed and that no other surely dominates: its mean - 2 sd, their mean + 2 sd.

    Those that may be asked for again are no part of it. Those that may count (mean + 2 sd above the origin) come first,
    then those dominated by fewest means; at most `most`, at least one of anything that was observed.
    """
    is_done = torch.tensor([item.key not in belief.unfinished for item in belief.observed.candidates])
    rows = (~belief.observed.has_failed & is_done).nonzero().flatten()
    rows = rows if len(rows) else torch.arange(len(belief.observed))
    candidates = [belief.observed.candidates[row] for row in rows.tolist()]
    mean, deviation = belief.surrogate.marginal(candidates)
    low, high = (mean - width * deviation).clamp(max=1.0), (mean + width * deviation).clamp(max=1.0)
    surely = torch.cat([_dominated(part, low) for part in high.split(256)])
    hopeless = (high <= 0).any(1)
    behind = torch.cat([_count_better(part, mean) for part in mean.split(256)])
    rank = behind + len(candidates) * (surely.double() + hopeless.double())
    order = rank.argsort(stable=True).tolist()
    kept = [place for place in order if not surely[place] and not hopeless[place]][:most] or order[:1]
    return [candidates[place] for place in sorted(kept)]


def _dominated(high: Float[Tensor, "n m"], low: Float[Tensor, "k m"]) -> Bool[Tensor, " n"]:
    """Whether some low reaches high everywhere and exceeds it somewhere."""
    reaches = (low[None] >= high[:, None]).all(-1)
    return (reaches & (low[None] > high[:, None]).any(-1)).any(-1)


def _count_better(part: Float[Tensor, "n m"], mean: Float[Tensor, "k m"]) -> Float[Tensor, " n"]:
    better = (mean[None] >= part[:, None]).all(-1) & (mean[None] > part[:, None]).any(-1)
    return better.double().sum(-1)


def _take(belief: Belief[Any], shortlist: Sequence[Any], score: Tensor, chosen: list[int], likeness: float) -> None:
    """Adds the best that is not chosen yet and, if there is any, not too like a chosen one."""
    allowed = score + apart(belief.surrogate, shortlist, chosen, likeness)
    if not (allowed > -torch.inf).any():
        allowed = score + apart(belief.surrogate, shortlist, chosen, 1.0)
        if not (allowed > -torch.inf).any():
            allowed = apart(belief.surrogate, shortlist, chosen, 1.0)
    chosen.append(best(allowed, 1)[0])


def _chunk(per_candidate: int) -> int:
    return max(8, min(512, _CELLS // max(1, per_candidate)))


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31 - 1, (), generator=generator))


def _at_least_one(value: int, name: str) -> int:
    if value < 1:
        raise ConfigError(f"expected {name} of at least 1 in an acquisition, got {value}")
    return int(value)
