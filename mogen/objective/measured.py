"""Objectives without code: their values come from people or robots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.objective.objective import Objective
from mogen.types import C


@final
class Measured(Objective[C]):
    """A value that is told, never computed: a plate reader's, a balance's, a person's.

    Args:
        name: what is measured, and the column it is told under.
        unit: of the raw values.
        worst: raw value worth nothing.
        best: raw value worth everything.
    """

    def __init__(self, name: str, unit: str, worst: float, best: float) -> None:
        self.name, self.unit, self.worst, self.best = name, unit, float(worst), float(best)

    def evaluate(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        return torch.full((len(candidates),), torch.nan, dtype=torch.float64)
