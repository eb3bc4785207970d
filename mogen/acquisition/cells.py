"""The part of the unit cube that a front leaves undominated, cut into boxes, for many fronts at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_TINY = 1e-9
"""improvements below this are ranked by their smooth form"""


@dataclass(frozen=True)
class Cells:
    """Disjoint boxes [lower, upper] that together are what is not dominated under every sample, c in all.

    Utilities are at most 1, so that the space is the unit cube. A point y takes [0, y] away: what is left of a box is
    cut into at most m boxes, of which box j is bounded by y before place j, lies beyond y at place j, and is whole
    after it.
    """

    sample: Int[Tensor, " c"]
    """the sample a box belongs to"""
    lower: Float[Tensor, "c m"]
    upper: Float[Tensor, "c m"]
    samples: int

    @classmethod
    def whole(cls, samples: int, m: int) -> Cells:
        """Nothing is dominated: one box a sample."""
        zero = torch.zeros(samples, m, dtype=torch.float64)
        return cls(torch.arange(samples), zero, zero + 1, samples)

    @classmethod
    def beyond(cls, front: Float[Tensor, "s n m"], coarseness: float = 0.0) -> Cells:
        """What n points a sample leave, the largest taken away first, which makes fewer boxes."""
        made = cls.whole(len(front), front.shape[-1])
        order = front.clamp(min=0).prod(-1).argsort(-1, descending=True)
        ordered = front.gather(1, order[..., None].expand_as(front))
        for place in range(front.shape[1]):
            made = made.without(ordered[:, place], coarseness)
        return made

    def without(self, point: Float[Tensor, "s m"], coarseness: float = 0.0) -> Cells:
        """What one more point a sample leaves; boxes smaller than `coarseness` are given up (an approximation)."""
        y = point.clamp(max=1.0)[self.sample]
        is_cut = (self.lower < y).all(-1)
        if not bool(is_cut.any()):
            return self
        lower, upper, y, sample = self.lower[is_cut], self.upper[is_cut], y[is_cut], self.sample[is_cut]
        below, above = torch.minimum(upper, y), torch.maximum(lower, y)
        parts = [(self.sample[~is_cut], self.lower[~is_cut], self.upper[~is_cut])]
        for j in range(y.shape[1]):
            low = torch.cat([lower[:, :j], above[:, j : j + 1], lower[:, j + 1 :]], 1)
            high = torch.cat([below[:, :j], upper[:, j:]], 1)
            kept = y[:, j] < upper[:, j]
            if coarseness:
                kept = kept & ((high - low).clamp(min=0).prod(-1) > coarseness)
            parts.append((sample[kept], low[kept], high[kept]))
        each = [torch.cat(column) for column in zip(*parts, strict=True)]
        return Cells(each[0], each[1], each[2], self.samples)

    def improvement(self, value: Float[Tensor, "s n m"], numbers: int = 8_000_000) -> Float[Tensor, "s n"]:
        """Hypervolume that each of n points alone adds under each sample; so many numbers are held at a time."""
        return self._summed(value, lambda edge: edge.clamp(min=0), numbers)

    def log_expected(self, value: Float[Tensor, "s n m"], enough: int | None = None) -> Float[Tensor, " n"]:
        """Log of the mean improvement over samples.

        Where none of the samples improves anything, edges are smoothed by BoTorch's fat softplus, as in its Log
        acquisitions (Ament et al. 2023, tau = 1e-6), so that candidates that nearly improve still have an order; not
        so where `enough` candidates improve anyway.
        """
        found = self.improvement(value).mean(0)
        log = found.clamp(min=_TINY).log()
        rows = (found < _TINY).nonzero().flatten()
        if len(rows) and (enough is None or len(found) - len(rows) < enough):
            smooth = self._summed(value[:, rows], _smooth, 2_000_000).mean(0).clamp(min=1e-300)
            log[rows] = smooth.clamp(max=_TINY).log()
        return log

    def _summed(self, value: Float[Tensor, "s n m"], plus: object, numbers: int) -> Float[Tensor, "s n"]:
        """Sum over the boxes of a sample of the product of `plus` of the edges from a box's lower corner to the value.

        Edges end where the box ends.
        """
        n, m = value.shape[1:]
        found = torch.zeros(self.samples, n, dtype=torch.float64)
        share = max(1, numbers // max(1, n * m))
        for at in range(0, len(self.sample), share):
            part = slice(at, at + share)
            sample, lower, upper = self.sample[part], self.lower[part], self.upper[part]
            product: Tensor | float = 1.0
            for j in range(m):
                edge = torch.minimum(value[sample, :, j], upper[:, j, None]) - lower[:, j, None]
                product = product * plus(edge)  # type: ignore[operator]
            found.index_add_(0, sample, product)  # type: ignore[arg-type]
        return found


def _smooth(edge: Float[Tensor, "c n"], tau: float = 1e-6) -> Float[Tensor, "c n"]:
    """BoTorch's fat softplus at tau."""
    from botorch.utils.safe_math import fatplus

    return fatplus(edge, tau)
