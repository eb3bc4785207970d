"""What objectives over protein conformations share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone
from mogen.objective import DifferentiableObjective, Objective


class BackboneObjective(Objective[Backbone]):
    """A number about one backbone; NaN where `measure` finds it undefined."""

    @abstractmethod
    def measure(self, backbone: Backbone) -> float:
        """The raw value."""

    def evaluate(self, candidates: Sequence[Backbone]) -> Float[Tensor, " n"]:
        return torch.tensor([self.measure(item) for item in candidates], dtype=torch.float64)


class CoordinateObjective(BackboneObjective, DifferentiableObjective[Backbone]):
    """A number that is a smooth function of N, CA, C and O, so that it can also steer by its gradient."""

    @abstractmethod
    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        """Raw values of conformations in Å, with gradients."""

    def measure(self, backbone: Backbone) -> float:
        return float(self.value(backbone.coordinates.double()[None])[0])
