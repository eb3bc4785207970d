"""Objectives that are also smooth functions of tensors, so that generators can follow their gradients."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mogen.objective.objective import Objective
from mogen.types import C


class DifferentiableObjective(Objective[C]):
    """An objective whose raw value is a differentiable function of a candidate's tensor (its coordinates, say)."""

    @abstractmethod
    def value(self, x: Float[Tensor, "b *d"]) -> Float[Tensor, " b"]:
        """Raw values of a batch of candidates given as one tensor, with gradients; NaN where undefined."""


def objectives_behind(measure: Any) -> tuple[Objective[Any], ...]:
    """The objectives a measure asks (a set, or an oracle of one), in order; none where it does not say (a belief)."""
    found = getattr(measure, "objectives", ())
    return tuple(getattr(found, "objectives", found))


def unclamped(objective: DifferentiableObjective[C], x: Float[Tensor, "b *d"]) -> Float[Tensor, " b"]:
    """(raw - worst) / (best - worst), with gradients."""
    return (objective.value(x) - objective.worst) / (objective.best - objective.worst)
