"""New candidates out of old ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Variation(Protocol):
    """Mutation and crossover of one kind of candidate, found by name in the entry point group `mogen.variations`."""

    def __call__(self, parents: Sequence[Any], n: int, *, generator: torch.Generator) -> list[Any]:
        """At most n different children, none of which is a parent."""
