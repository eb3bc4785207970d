"""The loop as a sampler: an experiment gives it an oracle, a folder and baselines, and may take it up after a crash."""

from __future__ import annotations

import csv
import io
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import RunError
from mogen.loop.active import ActiveLoop, Round, affordable
from mogen.loop.strategy import Strategy
from mogen.objective import Measure
from mogen.preference import Tchebycheff
from mogen.run.directory import read_json, write_json, write_text
from mogen.sampler import Sampler, Samples

JOURNAL = "loop.json"
TABLE = "rounds.csv"


@final
class LoopSampler(Sampler[Any]):
    """Fits by asking, measuring and learning; answers a preference with the best it has measured for it.

    Every batch is written down before it is measured and every round after it, so that a run killed at any moment goes
    on with the same batch, and pays for nothing twice.

    Args:
        make: builds the loop for a seed and a folder of its own.
        initial: candidates that were measured before the run, told first.
        noise: standard deviations of their raw values, by key (NaN where unknown).
        rounds: most batches after the first; null for as many as the budget allows.
        show: print a line for every round.
    """

    def __init__(
        self,
        make: Callable[[int, Path | None], ActiveLoop[Any]],
        *,
        initial: Sequence[Any] = (),
        noise: Mapping[str, Sequence[float]] | None = None,
        rounds: int | None = None,
        show: bool = True,
        name: str = "",
    ) -> None:
        self.make, self.initial, self.rounds, self.show, self.name = make, list(initial), rounds, show, name
        self.noise = dict(noise or {})
        self.known: dict[Any, Float[Tensor, " m"]] = {}

    def fit(
        self,
        measure: Measure[Any],
        *,
        m: int,
        generator: torch.Generator | None = None,
        folder: Path | None = None,
    ) -> None:
        seed = generator.initial_seed() % 2**31 if generator is not None else 0
        loop = self.make(seed, folder)
        journal = Journal(folder, loop.objectives.names)
        truncate = getattr(measure, "truncate", None)
        if truncate is not None:
            truncate(0)
        if not journal.batches and self.initial:
            journal.begin(self.initial)
        is_over = False
        for place in range(len(journal.batches)):
            batch = journal.candidates(place)
            loop.expect(batch)
            is_over = self._measure(loop, measure, batch, journal, place) or is_over
        while not is_over and (self.rounds is None or loop.batches <= self.rounds):
            began = time.perf_counter()
            batch = loop.ask()
            if not batch:
                break
            place = journal.begin(batch)
            is_over = self._measure(loop, measure, batch, journal, place, began)
        observed = loop.observed
        self.known = {
            candidate: observed.utility[row]
            for row, candidate in enumerate(observed.candidates)
            if bool(observed.is_valid[row])
        }

    def _measure(
        self,
        loop: ActiveLoop[Any],
        measure: Measure[Any],
        batch: list[Any],
        journal: Journal,
        place: int,
        began: float | None = None,
    ) -> bool:
        """Measures and tells one batch; whether the budget ended with it. A row that is written stays as it is."""
        is_over, kept, evaluation = affordable(measure, batch)
        if not kept:
            return True
        if self.noise:
            unknown = [math.nan] * evaluation.raw.shape[1]
            rows = [list(self.noise.get(item.key, unknown)) for item in kept]
            evaluation = replace(evaluation, noise=torch.tensor(rows, dtype=torch.float64))
        if journal.is_told(place):
            loop.strategy, strategy = Mute(), loop.strategy
            try:
                loop.tell(kept, evaluation)
            finally:
                loop.strategy = strategy
            return is_over
        found = loop.tell(kept, evaluation)
        journal.end(place, found, time.perf_counter() - began if began is not None else math.nan)
        if self.show:
            print(f"{self.name}{found.line()}", file=sys.stderr, flush=True)
        return is_over

    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[Any]:
        del generator
        if not len(preference):
            return Samples([], preference)
        if not self.known:
            raise RunError("expected a loop that has measured something valid, got one without any")
        utility = torch.stack(list(self.known.values()))
        n, k = len(preference), len(utility)
        scalar = Tchebycheff()(utility[None].expand(n, k, -1), preference[:, None].expand(n, k, -1).to(utility))
        candidates = list(self.known)
        return Samples([candidates[place] for place in scalar.argmax(1).tolist()], preference)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        content = [[spelled(item), item.key, utility.tolist()] for item, utility in self.known.items()]
        write_json(folder / "known.json", content)
        write_text(folder / "sampler.yaml", "class_path: mogen.loop.runner.LoopSampler\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        if not (folder / "known.json").is_file():
            raise RunError(f"expected what a loop has measured in known.json, got nothing of the kind in {folder}")
        made = cls(_no_loop)
        for kind, key, utility in read_json(folder / "known.json"):
            made.known[rebuilt(kind, key)] = torch.tensor(utility, dtype=torch.float64)
        return made


def _no_loop(seed: int, folder: Path | None) -> ActiveLoop[Any]:
    raise RunError("expected a loop that can go on, got one that was loaded to be sampled from")


class Mute(Strategy[Any]):
    """Stands in for a strategy while rounds are told again that were told before."""

    def choose(self, situation: Any, q: int) -> list[Any]:
        raise RunError("expected to learn only")


@final
class Journal:
    """The batches of a loop and what they came to, on disk (or in memory, without a folder)."""

    def __init__(self, folder: Path | None, names: Sequence[str]) -> None:
        self.folder, self.names = folder, list(names)
        self.batches: list[dict[str, Any]] = []
        if folder is not None and (folder / JOURNAL).is_file():
            self.batches = read_json(folder / JOURNAL)

    def candidates(self, place: int) -> list[Any]:
        """A batch from its keys."""
        return [rebuilt(self.batches[place]["kind"], key) for key in self.batches[place]["keys"]]

    def is_told(self, place: int) -> bool:
        """Whether a batch has its row."""
        return "row" in self.batches[place]

    def begin(self, batch: Sequence[Any]) -> int:
        """Writes a batch down and gives its place."""
        self.batches.append({"kind": spelled(batch[0]), "keys": [item.key for item in batch]})
        self._save()
        return len(self.batches) - 1

    def end(self, place: int, found: Round, seconds: float) -> None:
        """Writes down what a batch came to."""
        self.batches[place]["row"] = row_of(place, found, self.names, seconds)
        self._save()

    def _save(self) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / JOURNAL, self.batches)
        rows = [item["row"] for item in self.batches if "row" in item]
        if rows:
            write_text(self.folder / TABLE, table_of(rows))


def row_of(place: int, found: Round, names: Sequence[str], seconds: float) -> dict[str, Any]:
    """One round as a row: round 0 is the start."""
    row: dict[str, Any] = {
        "round": place,
        "asked": found.asked,
        "hypervolume": found.hypervolume,
        "gained": found.gained,
        "front_size": found.front_size,
        "seconds": None if math.isnan(seconds) else round(seconds, 3),
    }
    for kind in ("coverage", "nlpd", "rmse"):
        values = [math.nan] * len(names) if found.calibration is None else getattr(found.calibration, kind).tolist()
        row |= {f"{kind}_{name}": None if math.isnan(v) else v for name, v in zip(names, values, strict=True)}
    return row


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def spelled(candidate: Any) -> str:
    """The class of a candidate as "module:name"."""
    return f"{type(candidate).__module__}:{type(candidate).__qualname__}"


def rebuilt(kind: str, key: str) -> Any:
    """A candidate from its class and key."""
    module, _, name = kind.partition(":")
    try:
        return getattr(import_module(module), name)(key)
    except (ImportError, AttributeError, TypeError) as error:
        raise RunError(f"expected a kind of candidate that can be made from its key, got {kind!r}: {error}") from error
