"""How a batch is chosen: by a belief, or, as the baselines do, without one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, final

import torch
from torch import Tensor

from mogen.acquisition import Acquisition, Belief, HypervolumeImprovement, ScalarizedImprovement
from mogen.acquisition.improvement import MOST
from mogen.errors import ConfigError
from mogen.loop.proposer import Context, Proposer, survivors
from mogen.loop.source import Source
from mogen.loop.variation import Variation
from mogen.surrogate import Feasibility, GaussianProcess, Observations, Surrogate
from mogen.types import C


@dataclass(frozen=True)
class Situation(Generic[C]):
    """What is known when a batch is asked for."""

    observed: Observations[C]
    pending: tuple[C, ...]
    number: int
    generator: torch.Generator
    allowed: Callable[[Sequence[C]], list[bool]]
    price: Callable[[Sequence[C]], Tensor] | None = None
    """what measuring a candidate costs, where objectives have prices"""
    unfinished: tuple[C, ...] = ()
    """observed candidates that may be asked for again, for the values they lack"""

    @property
    def taken(self) -> frozenset[str]:
        """Keys of what is measured or under way."""
        return frozenset(item.key for item in (*self.observed.candidates, *self.pending))


class Strategy(ABC, Generic[C]):
    """A way of choosing the next batch."""

    @abstractmethod
    def choose(self, situation: Situation[C], q: int) -> list[C]:
        """At most q different new candidates, the best one first."""

    def believe(self, observed: Observations[C]) -> Surrogate[C] | None:
        """The belief a batch is chosen by, so that it can be held against what comes back; None where there is none."""
        del observed
        return None


@final
class BelieveAndChoose(Strategy[C]):
    """Fit a surrogate, prepare an acquisition, pool what the proposers propose, select a batch from the pool.

    A quarter of a batch (at least one) is kept for the values that observed candidates lack, where they have a price.

    Args:
        proposers: where candidates come from.
        acquisition: hypervolume improvement for up to 6 objectives, scalarised improvement above, if null.
        surrogate: a Gaussian process of the candidates' kind if null.
    """

    def __init__(
        self,
        proposers: Sequence[Proposer[C]],
        acquisition: Acquisition[C] | None = None,
        surrogate: Surrogate[C] | None = None,
    ) -> None:
        if not proposers:
            raise ConfigError("expected at least one proposer of candidates, got none")
        self.proposers, self.acquisition = list(proposers), acquisition
        self.surrogate: Surrogate[C] = surrogate or GaussianProcess()
        self._learned: Observations[C] | None = None

    def believe(self, observed: Observations[C]) -> Surrogate[C]:
        if self._learned is not observed:
            self.surrogate.fit(observed)
            self._learned = observed
        return self.surrogate

    def choose(self, situation: Situation[C], q: int) -> list[C]:
        observed = situation.observed
        surrogate = self.believe(observed)
        kernels = getattr(surrogate, "kernels", None)
        again = frozenset(item.key for item in situation.unfinished)
        likely = Feasibility.learned(observed, kernels)
        belief = Belief(surrogate, observed, situation.pending, likely, situation.price, again)
        acquisition = self.acquisition or default_acquisition(observed.m)
        acquisition.prepare(belief, generator=situation.generator)
        context = Context(
            belief, acquisition, situation.taken, situation.number, situation.generator, situation.allowed
        )
        pools = [proposer.propose(context) for proposer in self.proposers]
        pool = pools[0] if len(pools) == 1 else list({item.key: item for part in pools for item in part}.values())
        chosen = self._settled(acquisition, pool, q, context)
        finished = self._selected(acquisition, situation.unfinished, max(1, q // 4), situation.generator)
        return [*finished, *chosen][:q]

    def _settled(self, acquisition: Acquisition[C], pool: Sequence[C], q: int, context: Context[C]) -> list[C]:
        """At least q of the pool in their standard form, or all there are: what is not new then is passed over."""
        passed: set[str] = set()
        while True:
            found: dict[str, C] = {}
            rest = [item for item in pool if item.key not in passed] if passed else pool
            before = len(passed)
            for picked in self._selected(acquisition, rest, q + q // 4 + 1, context.generator):
                standard = [picked]
                for proposer in self.proposers:
                    standard = proposer.settle(standard, context.taken)
                standard = [item for item in context.fresh(standard) if item.key not in found]
                found |= {item.key: item for item in standard}
                if not standard:
                    passed.add(picked.key)
            if len(found) >= q or len(passed) == before:
                return list(found.values())

    def _selected(self, acquisition: Acquisition[C], pool: Sequence[C], q: int, generator: torch.Generator) -> list[C]:
        """At most q of a pool, the best one first."""
        if not len(pool):
            return []
        return [pool[place] for place in acquisition.select(pool, min(len(pool), q), generator=generator)]


@final
class PickRandomly(Strategy[C]):
    """Random candidates: the first baseline."""

    def __init__(self, source: Source[C]) -> None:
        self.source = source

    def choose(self, situation: Situation[C], q: int) -> list[C]:
        return drawn(self.source, situation, q, set())


@final
class Evolve(Strategy[C]):
    """Children of the best measured candidates, without a belief.

    By Pareto rank and crowding distance (`nsga2`), or by a random weighted sum of the utilities, a new one for every
    batch (`graph_ga`, a genetic search of a scalarisation).

    Args:
        variation: mutation and crossover.
        source: fills a batch that the children do not.
        population: how many parents.
        by: rank or sum.
    """

    def __init__(self, variation: Variation, source: Source[C], population: int = 50, by: str = "rank") -> None:
        if by not in ("rank", "sum"):
            raise ConfigError(f"expected parents to be chosen by rank or sum, got {by!r}")
        self.variation, self.source, self.population, self.by = variation, source, population, by

    def choose(self, situation: Situation[C], q: int) -> list[C]:
        rows = situation.observed.is_valid.nonzero().flatten()
        utility = situation.observed.utility[rows]
        if self.by == "rank":
            kept = survivors(utility, self.population)
        else:
            weight = torch.empty(utility.shape[1], dtype=torch.float64).exponential_(generator=situation.generator)
            worth = (utility * weight).sum(1)
            kept = worth.sort(descending=True, stable=True).indices[: self.population].tolist()
        parents = [situation.observed.candidates[row] for row in rows[kept].tolist()]
        found: dict[str, C] = {}
        for _ in range(20):
            if len(found) >= q or not parents:
                break
            children = self.variation(parents, 2 * q, generator=situation.generator)
            children = [child for child in children if child.key not in situation.taken]
            passes = situation.allowed(children)
            found |= {child.key: child for child, good in zip(children, passes, strict=True) if good}
        chosen = list(found.values())
        order = torch.randperm(len(chosen), generator=situation.generator).tolist()
        chosen = [chosen[place] for place in order[:q]]
        return chosen + drawn(self.source, situation, q - len(chosen), set(found))


def drawn(source: Source[C], situation: Situation[C], q: int, more: set[str]) -> list[C]:
    """At most q random candidates that are new and pass the known constraints."""
    found: dict[str, C] = {}
    for _ in range(20):
        if len(found) >= q:
            break
        known = situation.taken | more | set(found)
        fresh = source.draw(q - len(found), known, generator=situation.generator)
        if not fresh:
            break
        passes = situation.allowed(fresh)
        found |= {item.key: item for item, good in zip(fresh, passes, strict=True) if good}
    return list(found.values())[: max(q, 0)]


def default_acquisition(m: int) -> Acquisition[Any]:
    """Hypervolume improvement for 2 to 6 objectives, scalarised improvement otherwise."""
    return HypervolumeImprovement() if 2 <= m <= MOST else ScalarizedImprovement()
