"""How alike two candidates are: positive semi-definite functions of their feature sets, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.surrogate.features import CountFingerprints, Features, FeatureSets, TokenCounts, TokenPlaces, TokenWords


class Kernel(ABC):
    """A likeness of feature sets, 1 of a candidate with itself unless it says so; may have one length scale."""

    features: Features
    has_scale: bool = False
    is_likeness: bool = True
    """whether the value of a candidate with itself is 1"""

    @abstractmethod
    def base(self, left: FeatureSets, right: FeatureSets) -> Float[Tensor, "n k"]:
        """What is computed once: a likeness, or a distance where there is a length scale."""

    def __call__(self, base: Float[Tensor, "n k"], scale: Tensor) -> Float[Tensor, "n k"]:
        """The kernel's values; `scale` is looked at only by kernels that have one."""
        del scale
        return base

    def own(self, sets: FeatureSets) -> Float[Tensor, " n"]:
        """The value of every candidate with itself."""
        return torch.ones(len(sets), dtype=torch.float64)


@final
class Tanimoto(Kernel):
    """sum_i min(x_i, y_i) / sum_i max(x_i, y_i) of counts (Ralaivola et al. 2005); two empty ones are alike."""

    def __init__(self, features: Features | None = None) -> None:
        self.features = features or CountFingerprints()

    def base(self, left: FeatureSets, right: FeatureSets) -> Float[Tensor, "n k"]:
        shared = left.shared(right)
        union = (left.sizes[:, None] + right.sizes[None]).sub_(shared)
        return torch.where(union > 0, shared.div_(union.clamp_(min=1)), 1.0)


@final
class Overlap(Kernel):
    """exp(-d / (8 scale)), d the number of places that differ (at one place: a constant for different tokens).

    A product over places, hence positive semi-definite; places beyond the end of both sequences agree.
    """

    has_scale = True

    def __init__(self, features: Features | None = None) -> None:
        self.features = features or TokenPlaces()

    def base(self, left: FeatureSets, right: FeatureSets) -> Float[Tensor, "n k"]:
        return torch.maximum(left.sizes[:, None], right.sizes[None]) - left.shared(right)

    def __call__(self, base: Float[Tensor, "n k"], scale: Tensor) -> Float[Tensor, "n k"]:
        return (-base / (8 * scale)).exp()


@final
class Linear(Kernel):
    """sum_i x_i y_i of counts: every word adds its own amount (the spectrum kernel, Leslie et al. 2002).

    Alone among the kernels it goes on beyond the counts that were seen.
    """

    is_likeness = False

    def __init__(self, features: Features | None = None) -> None:
        self.features = features or TokenWords()

    def base(self, left: FeatureSets, right: FeatureSets) -> Float[Tensor, "n k"]:
        return left.shared(right)

    def own(self, sets: FeatureSets) -> Float[Tensor, " n"]:
        owners = np.repeat(np.arange(len(sets)), np.diff(sets.offsets))
        both = (owners.astype(np.uint64) << np.uint64(32)) | sets.members
        names, counts = np.unique(both, return_counts=True)
        squares = np.bincount((names >> np.uint64(32)).astype(np.int64), counts.astype(float) ** 2, len(sets))
        return torch.from_numpy(squares)


def default_kernels(candidates: Sequence[Any]) -> list[Kernel]:
    """Fingerprints for molecules; words, places and sums over words for anything else that has a text as its key."""
    from mogen.domain.molecule import Molecule

    if candidates and all(isinstance(item, Molecule) for item in candidates):
        return [Tanimoto()]
    return [Tanimoto(TokenCounts()), Overlap(), Linear()]


def units(kernels: Sequence[Kernel], seen: Sequence[FeatureSets]) -> list[float]:
    """The mean value of the observations with themselves: what amplitudes are in units of."""
    return [float(kernel.own(part).mean()) or 1.0 for kernel, part in zip(kernels, seen, strict=True)]


def likeness(kernels: Sequence[Kernel], left: Sequence[Any], right: Sequence[Any]) -> Float[Tensor, "n k"]:
    """The mean of those kernels that are 1 of a candidate with itself, at a length scale of 1."""
    one = torch.ones((), dtype=torch.float64)
    parts = [
        kernel(kernel.base(kernel.features(left), kernel.features(right)), one).clamp(0, 1)
        for kernel in kernels
        if kernel.is_likeness
    ]
    return torch.stack(parts).mean(0) if parts else torch.zeros(len(left), len(right), dtype=torch.float64)
