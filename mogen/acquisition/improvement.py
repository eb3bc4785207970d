"""Expected improvements of BoTorch, over candidates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.acquisition.acquisition import Acquisition, Belief, apart, best, shortlisted, simplex
from mogen.errors import ConfigError
from mogen.types import C

EXACT_UP_TO = 4
"""objectives up to which the dominated space is partitioned exactly"""
MOST = 6
"""objectives up to which it is partitioned at all"""
_CELLS = 4_000_000
"""numbers (Monte Carlo samples x cells x candidates) held at a time"""
_SAMPLES = {2: 64, 3: 24}
_BASELINE = {2: 100, 3: 32}
_POOL = {2: 10_000, 3: 1_000}
"""Monte Carlo samples, observed candidates kept and candidates scored, by objectives; the cells of a partition grow
fast with the first two"""


@final
class HypervolumeImprovement(Acquisition[C]):
    """qLogNEHVI: the expected noisy hypervolume improvement (Daulton et al. 2021; log form, Ament et al. 2023).

    Of utilities min(value, 1), over the origin. The dominated space is partitioned exactly for up to 4 objectives and
    approximately for 5 and 6; above, use `ScalarizedImprovement`.

    BoTorch's optional C++ kernel is not compiled: that takes a compiler and most of a minute, and a process killed
    meanwhile leaves a lock that others wait for.

    Args:
        samples: Monte Carlo samples; 64, 24 and 16 for 2, 3 and more objectives if null.
        shortlist: candidates that are scored again after every pick of a batch.
        likeness: picks of a batch are less alike than this (1: no matter).
        most_baseline: observed candidates kept as those that may be on the front; 100, 32 and 24 if null.
        most_pool: a larger pool is first reduced to the highest scalarised upper bounds; 10,000, 1,000 and 500 if null.
    """

    def __init__(
        self,
        samples: int | None = None,
        shortlist: int = 64,
        likeness: float = 1.0,
        most_baseline: int | None = None,
        most_pool: int | None = None,
    ) -> None:
        self.given_samples, self.given_baseline = samples, most_baseline
        self.shortlist, self.likeness = _at_least_one(shortlist, "shortlist"), likeness
        self.given_pool = most_pool

    def prepare(self, belief: Belief[C], *, generator: torch.Generator) -> None:
        if not 2 <= belief.m <= MOST:
            raise ConfigError(
                f"expected 2 to {MOST} objectives for the hypervolume improvement, got {belief.m}: use parego"
            )
        self.belief, self.seed = belief, _seed(generator)
        self.samples = self.given_samples or _SAMPLES.get(belief.m, 16)
        self.baseline = may_be_best(belief, self.given_baseline or _BASELINE.get(belief.m, 24))
        self.most_pool = self.given_pool or _POOL.get(belief.m, 500)
        self._build(belief.pending)

    def _build(self, pending: Sequence[C]) -> None:
        from botorch.acquisition.multi_objective import logei
        from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
        from botorch.acquisition.multi_objective.utils import get_default_partitioning_alpha
        from botorch.sampling import SobolQMCNormalSampler

        from mogen.acquisition.model import BeliefModel

        logei._load_attempted = True  # type: ignore[attr-defined]  # no compiling in the middle of a run
        m = self.belief.m
        self.model = BeliefModel(self.belief.surrogate, m)
        baseline = self.model.keep([*self.baseline, *pending])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.function: Any = logei.qLogNoisyExpectedHypervolumeImprovement(
                model=self.model,
                ref_point=[0.0] * m,
                X_baseline=baseline,
                sampler=SobolQMCNormalSampler(torch.Size([self.samples]), seed=self.seed),
                objective=GenericMCMultiOutputObjective(utility),
                alpha=0.0 if m <= EXACT_UP_TO else get_default_partitioning_alpha(m),
                prune_baseline=False,
            )
        cells: Any = self.function.cell_lower_bounds
        self.chunk = _chunk(self.samples * cells.shape[-2] * m)

    def score(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        return evaluated(self.function, self.model, candidates, self.chunk) + self.belief.log_feasible(candidates)

    def select(self, pool: Sequence[C], q: int, *, generator: torch.Generator) -> list[int]:
        whole = list(range(len(pool)))
        if len(pool) > self.most_pool:
            whole = shortlisted(self.belief, pool, simplex(32, self.belief.m, generator), 2.0, self.most_pool)
        start = self.score([pool[place] for place in whole])
        places = [whole[place] for place in best(start, max(self.shortlist, 4 * q))]
        shortlist = [pool[place] for place in places]
        score, chosen = start.sort(descending=True, stable=True).values[: len(places)], list[int]()
        while len(chosen) < min(q, len(shortlist)):
            if chosen:
                self._build([*self.belief.pending, *(shortlist[place] for place in chosen)])
                score = self.score(shortlist)
            _take(self.belief, shortlist, score, chosen, self.likeness)
        self._build(self.belief.pending)
        return [places[place] for place in chosen]


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
            worth = chebyshev(bound, weights) + self.belief.log_feasible(pool)[:, None]
            share = max(self.shortlist, 4 * q) // q
            places = sorted({place for column in worth.T for place in best(column, share)})
        shortlist, chosen = [pool[place] for place in places], list[int]()
        for weight in weights[: len(shortlist)]:
            pending = [*self.belief.pending, *(shortlist[place] for place in chosen)]
            _take(self.belief, shortlist, self._scored(shortlist, weight, pending), chosen, self.likeness)
        return [places[place] for place in chosen]


def utility(samples: Float[Tensor, "*b m"], X: Tensor | None = None) -> Float[Tensor, "*b m"]:
    """What counts of values: nothing is gained beyond 1."""
    del X
    return samples.clamp(max=1.0)


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

    Those that may count (mean + 2 sd above the origin) come first, then those dominated by fewest means; at most
    `most`, at least one of anything that was observed.
    """
    rows = (~belief.observed.has_failed).nonzero().flatten()
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
