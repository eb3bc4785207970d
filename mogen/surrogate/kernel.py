"""How alike two candidates are: positive semi-definite functions of their feature sets, in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.surrogate.features import CountFingerprints, Features, FeatureSets, TokenCounts, TokenPlaces


class Kernel(ABC):
    """A likeness of feature sets that is 1 of a candidate with itself; may have one length scale."""

    features: Features
    has_scale: bool = False

    @abstractmethod
    def base(self, left: FeatureSets, right: FeatureSets) -> Float[Tensor, "n k"]:
        """What is computed once: a likeness, or a distance where there is a length scale."""

    def __call__(self, base: Float[Tensor, "n k"], scale: Tensor) -> Float[Tensor, "n k"]:
        """The kernel's values; `scale` is looked at only by kernels that have one."""
        del scale
        return base


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


def default_kernels(candidates: Sequence[Any]) -> list[Kernel]:
    """Fingerprints for molecules; words and places for anything else that has a text as its key."""
    from mogen.domain.molecule import Molecule

    if candidates and all(isinstance(item, Molecule) for item in candidates):
        return [Tanimoto()]
    return [Tanimoto(TokenCounts()), Overlap()]
