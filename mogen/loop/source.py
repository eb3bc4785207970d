"""Where candidates come from before anything is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, Generic, final

import torch

from mogen.acquisition.adapter import believed
from mogen.errors import BudgetExhausted
from mogen.loop.library import Library
from mogen.objective import Evaluation
from mogen.types import C


class Source(ABC, Generic[C]):
    """Random candidates."""

    @abstractmethod
    def draw(self, n: int, known: Collection[str], *, generator: torch.Generator) -> list[C]:
        """At most n different candidates with keys that are not known."""


@final
class ListSource(Source[C]):
    """Random members of a list."""

    def __init__(self, candidates: Sequence[C]) -> None:
        self.candidates = list(candidates)

    def draw(self, n: int, known: Collection[str], *, generator: torch.Generator) -> list[C]:
        found: dict[str, C] = {}
        for place in torch.randperm(len(self.candidates), generator=generator).tolist():
            if len(found) == n:
                break
            if self.candidates[place].key not in known:
                found.setdefault(self.candidates[place].key, self.candidates[place])
        return list(found.values())


@final
class LibrarySource(Source[Any]):
    """Random rows of a library, standardised as they are drawn."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def draw(self, n: int, known: Collection[str], *, generator: torch.Generator) -> list[Any]:
        order = torch.randperm(len(self.library), generator=generator).tolist()
        return self.library.standardised(order, n, known)


@final
class SamplerSource(Source[C]):
    """What a sampler asks for when it is told nothing (worth 0 for everything): random policies, mostly."""

    def __init__(self, sampler: Any, m: int) -> None:
        self.sampler, self.m = sampler, m

    def draw(self, n: int, known: Collection[str], *, generator: torch.Generator) -> list[C]:
        asked: dict[str, C] = {}

        def measure(candidates: Sequence[C], *, preference: Any = None) -> Evaluation:
            asked.update({item.key: item for item in candidates if item.key not in known})
            if len(asked) >= n:
                raise BudgetExhausted(f"{n} candidates were to be drawn")
            return believed(torch.zeros(len(candidates), self.m, dtype=torch.float64))

        with suppress(BudgetExhausted):
            self.sampler.fit(measure, m=self.m, generator=generator)
        return list(asked.values())[:n]
