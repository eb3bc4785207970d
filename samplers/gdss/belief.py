"""What was measured, as a belief about molecules not yet measured: kernel regression with Tanimoto similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.metric import fingerprints

NOISE = 1e-2
"""variance of a measurement beside a prior variance of 1"""


@final
class Belief:
    """The posterior mean of a Gaussian process with the Tanimoto kernel (Ralaivola et al. 2005), one per objective.

    Args:
        bits: fingerprints of what was measured (k x 2048, 0 or 1).
        utility: their utilities.
    """

    def __init__(self, bits: np.ndarray, utility: Float[Tensor, "k m"]) -> None:
        self.bits, self.utility = bits.astype(np.uint8), utility.double()
        self.mean = self.utility.mean(0)
        kernel = similarity(self.bits, self.bits) + NOISE * torch.eye(len(bits), dtype=torch.float64)
        self.alpha = torch.linalg.solve(kernel, self.utility - self.mean)

    @classmethod
    def of(cls, keys: Sequence[str], utility: Float[Tensor, "k m"], most: int = 1500) -> Self | None:
        """The belief from at most so many molecules: the best by each objective and by their mean, and the newest."""
        rows, bits = fingerprints(list(keys))
        if len(rows) < 2:
            return None
        utility = utility[torch.tensor(rows)].double()
        if len(rows) > most:
            views = torch.cat([utility, utility.mean(1, keepdim=True)], dim=1)
            best = torch.cat([views[:, k].topk(most // (2 * views.shape[1])).indices for k in range(views.shape[1])])
            newest = torch.arange(len(rows) - most // 2, len(rows))
            kept = torch.cat([best, newest]).unique()
            bits, utility = bits[kept.numpy()], utility[kept]
        return cls(bits, utility)

    def __call__(self, keys: Sequence[str]) -> Float[Tensor, "n m"]:
        """Expected utilities; the mean of everything measured for what cannot be read."""
        found = self.mean.repeat(len(keys), 1)
        rows, bits = fingerprints(list(keys))
        if rows:
            value = self.mean + similarity(bits, self.bits) @ self.alpha
            place = {keys[row]: value[k] for k, row in enumerate(rows)}
            found = torch.stack([place.get(key, found[k]) for k, key in enumerate(keys)])
        return found.clamp(0, 1)


def similarity(one: np.ndarray, two: np.ndarray) -> Float[Tensor, "n k"]:
    """Tanimoto similarities of fingerprints."""
    a, b = torch.from_numpy(one.astype(np.float32)), torch.from_numpy(two.astype(np.float32))
    shared = (a @ b.T).double()
    either = a.sum(1, keepdim=True).double() + b.sum(1).double() - shared
    return torch.where(either > 0, shared / either.clamp(min=1), 1.0)
