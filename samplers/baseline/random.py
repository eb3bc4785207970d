"""Random search: what any method must beat."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, final

import torch

from samplers.baseline.search import Search, express, start_genomes


@final
class RandomPolicy(Search):
    """Every allowed option of every choice is equally likely."""

    def search(self, generator: torch.Generator, m: int) -> Generator[list, Any, None]:
        while True:
            genomes = start_genomes(self.environment, self.population, generator)
            yield self.environment.decode(express(self.environment, genomes))
