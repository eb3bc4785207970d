"""Does a candidate give what was asked for?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ShapeError


def alignment(preference: Float[Tensor, "n m"], utility: Float[Tensor, "n m"]) -> float | None:
    """Mean over objectives of the Pearson correlation between the weight asked for and the utility that came.

    Objectives where either does not vary are left out of the mean, rows with a NaN (no preference was asked) as well;
    None where nothing is left.
    """
    if preference.shape != utility.shape or utility.ndim != 2:
        raise ShapeError(f"preference must be n x m as utility, got {tuple(preference.shape)}, {tuple(utility.shape)}")
    asked, came = preference.detach().double(), utility.detach().double()
    is_known = ~(asked.isnan() | came.isnan()).any(1)
    asked, came = asked[is_known], came[is_known]
    if len(asked) < 2:
        return None
    varies = (asked.amax(0) - asked.amin(0) > 1e-9) & (came.amax(0) - came.amin(0) > 1e-9)
    if not varies.any():
        return None
    asked, came = asked[:, varies] - asked[:, varies].mean(0), came[:, varies] - came[:, varies].mean(0)
    correlation = (asked * came).sum(0) / (asked.norm(dim=0) * came.norm(dim=0))
    return float(torch.nan_to_num(correlation).mean())
