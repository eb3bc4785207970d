"""Candidates that may be worth measuring."""

from __future__ import annotations

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.acquisition import Acquisition, AcquisitionMeasure, Belief, BoundMeasure
from mogen.errors import BudgetExhausted, ConfigError
from mogen.loop.library import Library
from mogen.loop.variation import Variation
from mogen.objective import Evaluation, Measure
from mogen.pareto import is_non_dominated
from mogen.sampler import Sampler
from mogen.types import C


@dataclass(frozen=True)
class Context(Generic[C]):
    """What a round knows: the belief, the prepared acquisition, whose keys are taken, and its number."""

    belief: Belief[C]
    acquisition: Acquisition[C]
    taken: frozenset[str]
    number: int
    generator: torch.Generator
    allowed: Callable[[Sequence[C]], list[bool]] = field(default=lambda candidates: [True] * len(candidates))
    """whether candidates pass the known constraints"""

    def fresh(self, candidates: Sequence[C]) -> list[C]:
        """Those that are new and pass the known constraints, each once."""
        new = {item.key: item for item in candidates if item.key not in self.taken}
        different = list(new.values())
        return [item for item, passes in zip(different, self.allowed(different), strict=True) if passes]


class Proposer(ABC, Generic[C]):
    """A way of finding candidates under a belief."""

    @abstractmethod
    def propose(self, context: Context[C]) -> Sequence[C]:
        """A pool of different candidates, none of them taken."""

    def settle(self, picked: Sequence[C], taken: frozenset[str]) -> list[C]:
        """Picked candidates in their standard form."""
        del taken
        return list(picked)


@final
class LibraryProposer(Proposer[Any]):
    """Every row of a library that is not taken."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def propose(self, context: Context[Any]) -> Sequence[Any]:
        return self.library.others(context.taken)

    def settle(self, picked: Sequence[Any], taken: frozenset[str]) -> list[Any]:
        rows = Library.of([item.key for item in picked], self.library.kind)
        return rows.standardised(range(len(rows)), len(rows), taken)


@final
class Genetic(Proposer[C]):
    """Generations of children of the best, by the upper bound mean + kappa sd; all children are the pool.

    The first parents are the observed ones of the highest Pareto rank by that bound; after every generation parents and
    children compete by rank, then by crowding distance (Deb et al. 2002). One generation makes mutated incumbents.

    Args:
        variation: mutation and crossover.
        population: parents of a generation.
        children: of a generation.
        generations: how many.
        kappa: of the upper bound.
    """

    def __init__(
        self, variation: Variation, population: int = 50, children: int = 200, generations: int = 4, kappa: float = 1.0
    ) -> None:
        if min(population, children, generations) < 1:
            raise ConfigError(
                "expected population, children and generations of at least 1 in a genetic search, got "
                f"{population}, {children} and {generations}"
            )
        self.variation, self.population, self.children = variation, population, children
        self.generations, self.kappa = generations, kappa

    def propose(self, context: Context[C]) -> Sequence[C]:
        measure = BoundMeasure(context.belief, self.kappa)
        people = incumbents(context.belief, self.population, self.kappa)
        worth = measure(people).value
        pool: dict[str, C] = {}
        for _ in range(self.generations):
            children = self.variation(people, self.children, generator=context.generator)
            children = [child for child in context.fresh(children) if child.key not in pool]
            pool |= {child.key: child for child in children}
            if not children:
                continue
            people, worth = [*people, *children], torch.cat([worth, measure(children).value])
            kept = survivors(worth.clamp(max=1.0), self.population)
            people, worth = [people[row] for row in kept], worth[kept]
        return list(pool.values())


@final
class SamplerProposer(Proposer[C]):
    """What a sampler makes once it is trained on the belief; it is kept between rounds.

    On `bound` it is trained on the upper bounds of all objectives, scalarised by its own preferences, and asked for
    preferences drawn uniformly; on `acquisition` it is trained on the acquisition as its one objective, whose exponent
    falls from round to round as in MOGFN-AL, but never below `lowest`. Its training continues from the round before: a
    sampler of a length of its own (`Sampler.set_rounds`) gets as much more every round. A round that was killed starts
    its training again from where the round before ended. A sampler that edits sequences (`adopt`) gets the best
    observed ones as its parents.

    Args:
        sampler: any sampler.
        folder: where its checkpoints are kept; a temporary one if null.
        samples: how many candidates are drawn for the pool.
        on: bound or acquisition.
        kappa: of the upper bound.
        temper: of the acquisition (see `AcquisitionMeasure`): a sampler with the exponent beta sees beta * temper.
        fall: by how much the temper falls every round.
        lowest: the temper falls no lower.
        asks: different candidates a sampler asks the belief for in a round; if null, eight times `samples` for one
            whose training has no length of its own, else as many as it likes.
    """

    def __init__(
        self,
        sampler: Sampler[C],
        folder: Path | None = None,
        samples: int = 256,
        on: str = "bound",
        kappa: float = 1.0,
        temper: float = 0.5,
        fall: float = 0.0,
        lowest: float = 0.1,
        asks: int | None = None,
    ) -> None:
        if not (fall >= 0 and 0 < lowest <= temper):
            raise ConfigError(f"expected 0 <= fall and 0 < lowest <= temper, got {fall}, {lowest} and {temper}")
        if on not in ("bound", "acquisition"):
            raise ConfigError(f"expected a sampler to be trained on bound or acquisition, got {on!r}")
        self.sampler, self.samples, self.on, self.kappa, self.temper = sampler, samples, on, kappa, temper
        self.fall, self.lowest = fall, lowest
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mogen-sampler-"))
        self.asks = asks
        self.adopt = getattr(getattr(sampler, "environment", None), "adopt", None)

    def propose(self, context: Context[C]) -> Sequence[C]:
        measure: Any
        m = context.belief.m
        if self.on == "bound":
            measure = BoundMeasure(context.belief, self.kappa)
        else:
            anchors = context.belief.observed.candidates[-200:]
            measure = AcquisitionMeasure(context.acquisition, anchors, self.temper_of(context.number))
            m = 1
        if self.adopt is not None:
            self.adopt([item.key for item in incumbents(context.belief, self.sampler.environment.slots, self.kappa)])  # type: ignore[attr-defined]
        self._train(measure, m, context)
        wanted = torch.empty(self.samples, m).exponential_(generator=context.generator)
        wanted = wanted / wanted.sum(1, keepdim=True)
        return context.fresh(self.sampler.sample(wanted, generator=context.generator).candidates)

    def temper_of(self, number: int) -> float:
        """The temper of a round, from 1."""
        return max(self.lowest, self.temper - self.fall * max(0, number - 1))

    def _train(self, measure: Any, m: int, context: Context[C]) -> None:
        mine, before = (self.folder / f"round-{number:04d}" for number in (context.number, context.number - 1))
        shutil.rmtree(mine, ignore_errors=True)
        count = 1
        if before.is_dir():
            shutil.copytree(before, mine, ignore=shutil.ignore_patterns("tensorboard", "log", "*.part"))
            count += _count(before)
        mine.mkdir(parents=True, exist_ok=True)
        has_length = self.sampler.set_rounds(count)
        most = self.asks if self.asks is not None or has_length else 8 * self.samples
        self.sampler.fit(Limited(measure, most), m=m, generator=context.generator, folder=mine)
        (mine / "rounds.txt").write_text(f"{count}\n")
        for older in self.folder.glob("round-*"):
            if older not in (mine, before):
                shutil.rmtree(older, ignore_errors=True)


@final
class Limited(Generic[C]):
    """A measure that ends after `most` different candidates, as one with a budget does; never if null."""

    def __init__(self, measure: Measure[C], most: int | None) -> None:
        self.measure, self.most, self.keys = measure, most, set[str]()

    def __call__(self, candidates: Sequence[C], *, preference: Tensor | None = None) -> Evaluation:
        if self.most is not None:
            self.keys.update(item.key for item in candidates)
            if len(self.keys) > self.most:
                raise BudgetExhausted(f"the sampler's {self.most} questions of this round are asked")
        return self.measure(candidates, preference=preference)


def _count(folder: Path) -> int:
    """Rounds a sampler has been trained in."""
    file = folder / "rounds.txt"
    return int(file.read_text()) if file.is_file() else 0


def incumbents(belief: Belief[C], count: int, kappa: float) -> list[C]:
    """The observed candidates of the highest Pareto rank by upper bounds; none that has failed, where any has not."""
    observed = belief.observed
    rows = (~observed.has_failed).nonzero().flatten().tolist() or list(range(len(observed)))
    people = [observed.candidates[row] for row in rows]
    return [people[row] for row in survivors(BoundMeasure(belief, kappa)(people).value.clamp(max=1.0), count)]


def survivors(worth: Float[Tensor, "n m"], count: int) -> list[int]:
    """The best `count` rows by Pareto rank, ties by crowding distance, in their order (Deb et al. 2002)."""
    left = torch.arange(len(worth))
    chosen: list[int] = []
    while len(left) and len(chosen) < count:
        layer = is_non_dominated(worth[left])
        rows = left[layer]
        room = count - len(chosen)
        if len(rows) > room:
            rows = rows[crowding(worth[rows]).argsort(descending=True, stable=True)[:room]]
        chosen += rows.tolist()
        left = left[~layer]
    return sorted(chosen)


def crowding(worth: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Crowding distance: per objective the gap between the two neighbours over the range; infinite at the ends."""
    n = len(worth)
    total = torch.zeros(n, dtype=torch.float64)
    for column in worth.double().T:
        order = column.argsort(stable=True)
        span = column[order[-1]] - column[order[0]]
        total[order[0]] = total[order[-1]] = torch.inf
        if n > 2 and span > 0:
            total[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return total
