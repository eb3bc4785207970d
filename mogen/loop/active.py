"""The active-learning loop: ask for a batch, be told what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, final

import torch
from torch import Tensor

from mogen.errors import BudgetExhausted, ConfigError, RunError
from mogen.loop.source import Source
from mogen.loop.strategy import Situation, Strategy, drawn
from mogen.objective import Evaluation, Measure, ObjectiveSet, Status
from mogen.pareto import hypervolume, is_non_dominated
from mogen.run.seeds import seeded
from mogen.surrogate import Calibration, Observations, calibration
from mogen.types import C

log = logging.getLogger("mogen")


@dataclass(frozen=True)
class Round:
    """What one batch came to."""

    number: int
    asked: int
    """unique candidates measured so far"""
    hypervolume: float
    front_size: int
    gained: float
    """hypervolume that the batch added"""
    calibration: Calibration | None
    """how well the belief the batch was chosen by foresaw it; None where there was no belief"""
    seconds: float = 0.0

    def line(self) -> str:
        """One line for people."""
        text = f"round {self.number}: {self.asked} measured, hypervolume {self.hypervolume:.4f} ({self.gained:+.4f})"
        if self.calibration is not None:
            text += f", belief before learning: {describe(self.calibration)}"
        return text


def describe(found: Calibration) -> str:
    """Coverage and log density by objective."""
    cover = " ".join(f"{value:.2f}" for value in found.coverage.tolist())
    score = " ".join(f"{value:.2f}" for value in found.nlpd.tolist())
    return f"coverage of 90 % intervals {cover}, nlpd {score} ({found.count} candidates)"


@dataclass
class Entry(Generic[C]):
    """Everything that was told of one candidate."""

    candidate: C
    values: list[list[float]]
    """raw values by objective, one per replicate"""
    noise: list[list[float]]
    status: list[int]
    is_barred: bool = False
    """measured whole, yet invalid: a constraint does not hold"""


@final
class ActiveLoop(Generic[C]):
    """`ask` for candidates, measure them anywhere, `tell` what came of it; or `run` with a measure.

    Batches may be told in any order, in parts and with other candidates among them. Values told twice are replicates:
    the mean is learned, with the standard error that the spread of all replicates implies. Every batch is chosen with a
    generator of its own (of the seed and the number of batches asked before), so that the same history always leads to
    the same batch.

    Where objectives have prices, worth is divided by what a candidate still costs, and a new candidate is first asked
    for its cheap values alone (`wanted`); the dear ones are asked for later, of those that are worth most by then.

    Args:
        objectives: what is measured, on which scale; its constraints are checked before anything is asked for.
        strategy: how a batch is chosen once something is known.
        source: where the first batch comes from.
        batch: candidates per batch unless `ask` says otherwise.
        start: candidates of the first, random batch (`batch` if 0); not needed where data is told first.
        seed: of everything random.
        prices: of a measurement of every objective, by name; 1 for those not named. Equal ones if None.
        screen: values are cheap, and asked for first, if they cost together at most this share of the others.
    """

    def __init__(
        self,
        objectives: ObjectiveSet[C],
        strategy: Strategy[C],
        source: Source[C] | None = None,
        *,
        batch: int = 16,
        start: int = 0,
        seed: int = 0,
        prices: Mapping[str, float] | None = None,
        screen: float = 0.25,
    ) -> None:
        unknown = set(prices or {}) - set(objectives.names)
        if unknown or not all(value > 0 for value in (prices or {}).values()):
            raise ConfigError(f"expected positive prices of {', '.join(objectives.names)}, got {dict(prices or {})}")
        if batch < 1 or start < 0:
            raise ConfigError(f"expected a batch of at least 1 and no negative start, got {batch} and {start}")
        self.objectives, self.strategy, self.source = objectives, strategy, source
        self.batch, self.start, self.seed = batch, start or batch, seed
        self.entries: dict[str, Entry[C]] = {}
        self.pending: dict[str, C] = {}
        self.prices = None if prices is None else [float(prices.get(name, 1.0)) for name in objectives.names]
        self.cheap = cheap_ones(self.prices, screen)
        self.wanted: dict[str, set[int]] = {}
        """which objectives were asked for, by key; all of them where a key is missing"""
        self.batches = 0
        self.told = 0
        self._observed: Observations[C] | None = None

    @property
    def observed(self) -> Observations[C]:
        """All that is known, in the order it was first told."""
        if self._observed is None:
            evaluation = self.evaluation()
            candidates = [entry.candidate for entry in self.entries.values()]
            self._observed = Observations.of(candidates, evaluation, self.objectives.best - self.objectives.worst)
        return self._observed

    def evaluation(self) -> Evaluation:
        """Everything told as one evaluation: means of replicates, their standard errors as noise."""
        entries, m = list(self.entries.values()), self.objectives.m
        raw = torch.full((len(entries), m), torch.nan, dtype=torch.float64)
        noise, status = raw.clone(), torch.full((len(entries), m), int(Status.MISSING))
        pooled = [pooled_deviation([entry.values[i] for entry in entries]) for i in range(m)]
        for row, entry in enumerate(entries):
            for i in range(m):
                status[row, i] = entry.status[i]
                if entry.values[i]:
                    raw[row, i] = sum(entry.values[i]) / len(entry.values[i])
                    noise[row, i] = standard_error(entry.noise[i], len(entry.values[i]), pooled[i])
        passed = torch.tensor([[not entry.is_barred] for entry in entries], dtype=torch.bool).reshape(-1, 1)
        found = self.objectives.evaluation(raw, passed, status)
        return Evaluation(found.raw, found.status, found.is_valid, found.value, found.utility, noise)

    def hypervolume(self) -> float:
        """Of the utilities of all valid candidates, over the origin."""
        return hypervolume(self.observed.utility[self.observed.is_valid]) if self.entries else 0.0

    def allowed(self, candidates: Sequence[C]) -> list[bool]:
        """Whether candidates pass every constraint of the set."""
        passed = torch.ones(len(candidates), dtype=torch.bool)
        for constraint in self.objectives.constraints if len(candidates) else ():
            passed &= constraint.passes(candidates)
        return passed.tolist()

    def ask(self, q: int | None = None) -> list[C]:
        """At most q new candidates to be measured together; they are pending until told. Empty where none is left."""
        is_first = not bool(self.observed.value.isfinite().any())
        q = (self.start if is_first and not self.pending else self.batch) if q is None else q
        if q < 1:
            raise ConfigError(f"expected to ask for at least 1 candidate, got {q}")
        with seeded(self.seed, f"ask {self.batches}") as generator:
            pending = tuple(self.pending.values())
            price = None if self.prices is None else self.price
            situation = Situation(
                self.observed, pending, self.batches, generator, self.allowed, price, self.unfinished()
            )
            if is_first:
                if self.source is None:
                    raise RunError("expected data to start from, or a source of random candidates, got neither")
                chosen = drawn(self.source, situation, q, set())
            else:
                chosen = self.strategy.choose(situation, q)
        self.expect(chosen, None if self.prices is None else {item.key: self.lacks(item) for item in chosen})
        return chosen

    def expect(self, candidates: Sequence[C], wanted: Mapping[str, Collection[int]] | None = None) -> None:
        """Takes a batch as asked, perhaps for some objectives only."""
        self.batches += 1
        for item in candidates:
            if wanted is not None:
                self.wanted.setdefault(item.key, set()).update(wanted[item.key])
            if self.is_awaited(item.key):
                self.pending[item.key] = item

    def is_awaited(self, key: str) -> bool:
        """Whether something that was asked for of a candidate has not been told."""
        entry = self.entries.get(key)
        asked = self.wanted.get(key, range(self.objectives.m))
        return entry is None or any(entry.status[i] == Status.MISSING for i in asked)

    def unfinished(self) -> tuple[C, ...]:
        """Candidates that lack values nobody was asked for yet."""
        if self.prices is None:
            return ()
        return tuple(
            entry.candidate
            for key, entry in self.entries.items()
            if key not in self.pending and Status.MISSING in entry.status and Status.FAILED not in entry.status
        )

    def lacks(self, candidate: C) -> list[int]:
        """Which objectives a candidate is to be asked for next: the cheap ones first, then whatever is missing."""
        entry = self.entries.get(candidate.key)
        if entry is None:
            return list(self.cheap)
        return [i for i, state in enumerate(entry.status) if state == Status.MISSING]

    def price(self, candidates: Sequence[C]) -> Tensor:
        """What it costs to know all values of every candidate, beyond what was paid."""
        whole = self.prices or [1.0] * self.objectives.m
        rows = [self.entries.get(item.key) for item in candidates]
        cost = [
            sum(whole) if row is None else sum(p for p, s in zip(whole, row.status, strict=True) if s == Status.MISSING)
            for row in rows
        ]
        return torch.tensor(cost, dtype=torch.float64).clamp(min=min(whole))

    def tell(self, candidates: Sequence[C], evaluation: Evaluation) -> Round:
        """Learns what became of candidates, asked for or not; missing values leave a candidate as it was.

        The belief that would choose now is held against the new values first.
        """
        if len(candidates) != len(evaluation) or evaluation.raw.shape[1] != self.objectives.m:
            raise ConfigError(
                f"expected {len(candidates)} rows of {self.objectives.m} values, got {tuple(evaluation.raw.shape)}"
            )
        before = self.hypervolume()
        found = self.foreseen(candidates, evaluation)
        for row, candidate in enumerate(candidates):
            self._note(candidate, evaluation, row)
        self._observed = None
        self.told += 1
        utility = self.observed.utility[self.observed.is_valid]
        after = self.hypervolume()
        front = int(is_non_dominated(utility).sum()) if len(utility) else 0
        return Round(self.told, len(self.entries), after, front, after - before, found)

    def foreseen(self, candidates: Sequence[C], evaluation: Evaluation) -> Calibration | None:
        """How well the present belief foresees what is about to be learned; None without a belief or anything new."""
        if not bool(self.observed.value.isfinite().any()):
            return None
        belief = self.strategy.believe(self.observed)
        if belief is None:
            return None
        new = Observations.of(candidates, evaluation, self.objectives.best - self.objectives.worst)
        rows = [
            row
            for row, item in enumerate(candidates)
            if item.key not in self.entries and bool(new.value[row].isfinite().any())
        ]
        if not rows:
            return None
        part = Observations(
            [candidates[row] for row in rows],
            new.value[rows], new.noise[rows], new.is_valid[rows], new.utility[rows],
            new.has_failed[rows],
        )  # fmt: skip
        return calibration(belief, part)

    def _note(self, candidate: C, evaluation: Evaluation, row: int) -> None:
        m = self.objectives.m
        entry = self.entries.get(candidate.key)
        if entry is None:
            if bool((evaluation.status[row] == Status.MISSING).all()):
                return
            empty: list[list[list[float]]] = [[[] for _ in range(m)] for _ in range(2)]
            entry = Entry(candidate, empty[0], empty[1], [int(Status.MISSING)] * m)
            self.entries[candidate.key] = entry
        for i in range(m):
            state = int(evaluation.status[row, i])
            if state == Status.MEASURED:
                entry.values[i].append(float(evaluation.raw[row, i]))
                noise = torch.nan if evaluation.noise is None else float(evaluation.noise[row, i])
                entry.noise[i].append(noise)
            if state == Status.MEASURED or (state == Status.FAILED and not entry.values[i]):
                entry.status[i] = state
        is_whole = bool((evaluation.status[row] == Status.MEASURED).all())
        entry.is_barred = entry.is_barred or (is_whole and not bool(evaluation.is_valid[row]))
        if not self.is_awaited(candidate.key):
            self.pending.pop(candidate.key, None)

    def run(
        self,
        measure: Measure[C],
        rounds: int | None = None,
        *,
        watch: Callable[[Round], None] | None = None,
    ) -> list[Round]:
        """Asks, measures and learns until so many batches are done, the budget is spent, or nothing new is found."""
        if self.prices is not None:
            raise ConfigError("expected ask and tell where objectives have prices: a measure measures all objectives")
        done: list[Round] = []
        while rounds is None or len(done) < rounds:
            began = time.perf_counter()
            batch = self.ask()
            if not batch:
                log.info("nothing new to ask for")
                break
            is_last, batch, evaluation = affordable(measure, batch)
            if batch:
                found = self.tell(batch, evaluation)
                done.append(Round(**{**vars(found), "seconds": time.perf_counter() - began}))
                if watch is not None:
                    watch(done[-1])
            if is_last:
                break
        return done


def cheap_ones(prices: Sequence[float] | None, screen: float) -> list[int]:
    """The objectives to be asked for first: the most that together cost at most `screen` of the others; else all."""
    if prices is None:
        return []
    order = sorted(range(len(prices)), key=lambda i: prices[i])
    for count in range(len(order) - 1, 0, -1):
        first, others = (sum(prices[i] for i in part) for part in (order[:count], order[count:]))
        if first <= screen * others:
            return sorted(order[:count])
    return list(range(len(prices)))


def affordable(measure: Measure[C], batch: list[C]) -> tuple[bool, list[C], Evaluation]:
    """A measured batch, or what the budget still covered of it; and whether the budget has ended."""
    remaining = getattr(measure, "remaining", None)
    kept = batch if remaining is None else batch[:remaining]
    try:
        evaluation = measure(kept)
    except BudgetExhausted:
        return True, [], measure([])
    return len(kept) < len(batch) or getattr(measure, "remaining", None) == 0, kept, evaluation


def pooled_deviation(values: Sequence[Sequence[float]]) -> float:
    """Standard deviation within replicates, over all candidates that have several; NaN where none has."""
    squares, freedom = 0.0, 0
    for replicates in values:
        if len(replicates) > 1:
            mean = sum(replicates) / len(replicates)
            squares += sum((value - mean) ** 2 for value in replicates)
            freedom += len(replicates) - 1
    return (squares / freedom) ** 0.5 if freedom else float("nan")


def standard_error(noise: Sequence[float], count: int, pooled: float) -> float:
    """Of a mean of replicates: of their known noises, else of the pooled deviation; NaN where neither is known."""
    if all(value == value for value in noise):
        return sum(value**2 for value in noise) ** 0.5 / count
    return pooled / count**0.5
