"""How a preference takes hold of a diffusion: by tilting the score, or by choosing among particles.

The loop knows only this interface; what a guidance believes or measures is its own affair.
"""

from __future__ import annotations

from abc import ABC
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.diffusion.product import Fields, ProductSDE, Score


class Guidance(ABC):  # noqa: B024 - a guidance replaces either method, not both
    """Tilts a score, or reweighs particles; by itself it does neither."""

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        """The score that is followed instead of the given one."""
        del process
        return score

    def reweigh(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        mean: Fields,
        memory: Any,
        t: Float[Tensor, " b"],
        generator: torch.Generator | None,
    ) -> tuple[Fields, Fields, Any]:
        """The particles that live on after a step that ended at t: fields, their means and a solver's memory."""
        del process, score, t, generator
        return fields, mean, memory
