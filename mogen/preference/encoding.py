"""How a number is shown to a network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ShapeError


def thermometer(value: Float[Tensor, "*b"], bins: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "*b bins"]:
    """A number as a column that fills up: clamp(value - edge, 0, gap) / gap (Jain et al. 2023).

    The edges are linspace(low, high, bins) and gap is their distance; the last column is filled only above `high`.
    """
    if bins < 2 or not high > low:
        raise ShapeError(f"a thermometer needs at least 2 bins and high above low, got {bins} on [{low}, {high}]")
    edges = torch.linspace(low, high, bins, dtype=value.dtype, device=value.device)
    gap = (high - low) / (bins - 1)
    return (value[..., None] - edges).clamp(0, gap) / gap
