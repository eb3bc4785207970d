"""Who is beaten by nobody."""

from __future__ import annotations

import moocore
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import ShapeError


def is_non_dominated(utility: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
    """Marks the candidates that no other candidate dominates.

    One candidate dominates another when it is nowhere worse and somewhere better. Equal rows do not dominate each
    other, so duplicates stay; a row with a NaN is never on the front and dominates nobody. O(n log n) up to three
    objectives (moocore).
    """
    points = as_points(utility)
    is_number = ~np.isnan(points).any(1)
    kept = np.zeros(len(points), dtype=bool)
    if is_number.any():
        kept[is_number] = moocore.is_nondominated(points[is_number], maximise=True, keep_weakly=True)
    return torch.from_numpy(kept)


def as_points(utility: Float[Tensor, "n m"], name: str = "utility") -> np.ndarray:
    """The rows as a contiguous float64 copy; raises `ShapeError` unless they are n x m with m of at least 1."""
    if utility.ndim != 2 or utility.shape[1] < 1:
        raise ShapeError(f"{name} must be n x m with at least one objective, got shape {tuple(utility.shape)}")
    return np.array(utility.detach().cpu().numpy(), dtype=np.float64, order="C")
