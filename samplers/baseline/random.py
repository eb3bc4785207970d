"""Random search: what any method must beat."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, final

import torch

from mogen.types import C
from samplers.baseline.search import Answer, Proposal, Search, express, start_genomes


@final
class RandomPolicy(Search[C], Generic[C]):
    """Random candidates: every allowed option of every choice is equally likely."""

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[C], Answer, None]:
        while True:
            genomes = start_genomes(self.environment, self.population, generator)
            yield Proposal(self.environment.decode(express(self.environment, genomes)))
