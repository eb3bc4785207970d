"""A belief about candidates as a BoTorch model: a design point is the number of a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.gpytorch import GPyTorchModel
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ShapeError
from mogen.surrogate import Surrogate
from mogen.surrogate.surrogate import gaussian_posterior


@final
class BeliefModel(GPyTorchModel):
    """BoTorch acquisitions see X of shape b x q x 1, numbers of candidates that were given to `number`.

    Every posterior is the surrogate's joint one over the different candidates of X, put in the shape of X.
    """

    def __init__(self, surrogate: Surrogate[Any], m: int) -> None:
        super().__init__()
        self.surrogate, self.m = surrogate, m
        self.fixed: list[Any] = []
        self.fresh: list[Any] = []

    def keep(self, candidates: Sequence[Any]) -> Float[Tensor, "n 1"]:
        """Numbers of candidates that stay known."""
        first = len(self.fixed)
        self.fixed += candidates
        return torch.arange(first, len(self.fixed), dtype=torch.float64)[:, None]

    def number(self, candidates: Sequence[Any]) -> Float[Tensor, "n 1 1"]:
        """Numbers of candidates, one design point each, until the next call."""
        self.fresh = list(candidates)
        first = len(self.fixed)
        return torch.arange(first, first + len(self.fresh), dtype=torch.float64)[:, None, None]

    def posterior(  # type: ignore[override]
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> Any:
        if output_indices is not None or observation_noise is not False or posterior_transform is not None:
            raise ShapeError("a belief about candidates has a plain posterior only")
        numbers, place = X[..., 0].long().unique(return_inverse=True)
        table = [*self.fixed, *self.fresh]
        mean, covariance = self.surrogate.joint([table[number] for number in numbers.tolist()])
        spread = covariance[:, place[..., :, None], place[..., None, :]]
        return gaussian_posterior(mean[place], spread.movedim(0, -3))

    @property
    def num_outputs(self) -> int:
        return self.m

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    def forward(self, X: Tensor) -> Any:
        return self.posterior(X).distribution
