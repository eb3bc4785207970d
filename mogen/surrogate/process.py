"""What exact Gaussian processes share: kernels that are added up, their hyperparameters, covariances of candidates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import RunError
from mogen.surrogate.features import FeatureSets
from mogen.surrogate.kernel import Kernel, default_kernels, likeness, units
from mogen.surrogate.surrogate import Observations, Surrogate
from mogen.types import C

FLOOR = 1e-4
"""smallest believed standard deviation of a measurement, relative to the spread of the values"""
JITTER = 1e-8
"""what is added to the variances of a joint belief, relative to their mean"""


class KernelProcess(Surrogate[C]):
    """A Gaussian process with covariance sum_c a_c k_c(x, x'), amplitudes in units of a kernel's mean value.

    Args:
        kernels: likenesses that are added up; by what the candidates are where none are given.
        steps: most steps of the optimiser (L-BFGS) of the hyperparameters.
        most: hyperparameters are learned from at most so many values.
        chunk: candidates whose marginals are computed together, unless `marginal` is told otherwise.
    """

    def __init__(self, kernels: Sequence[Kernel] | None, steps: int, most: int, chunk: int) -> None:
        self.kernels = list(kernels) if kernels else None
        self.steps, self.most, self.chunk = steps, most, chunk
        self._used: list[Kernel] = self.kernels or []
        self._seen: list[FeatureSets] = []
        self._units: list[float] = []
        self._is_fitted = False

    def fit(self, observations: Observations[C]) -> None:
        if not len(observations):
            raise RunError("expected at least one measured candidate to learn a belief from, got none")
        self._is_fitted = False
        self._used = self.kernels or self._used or default_kernels(observations.candidates)
        self._seen = [kernel.features(observations.candidates) for kernel in self._used]
        self._units = units(self._used, self._seen)
        self._learn(self._bases(self._seen, self._seen), observations)
        self._is_fitted = True

    @abstractmethod
    def _learn(self, bases: list[Tensor], observations: Observations[C]) -> None:
        """Everything that predictions need, given what the kernels say of the observations."""

    @abstractmethod
    def _marginal(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
        """Mean and standard deviation of every value of a few candidates."""

    def marginal(
        self, candidates: Sequence[C], chunk: int | None = None
    ) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
        self._check()
        chunk = chunk or self.chunk
        # room for all results at first: small tensors kept between the large ones of each chunk would split the heap
        mean, deviation = torch.empty(2, len(candidates), len(self.noise), dtype=torch.float64)
        for at in range(0, len(candidates), chunk):
            part = slice(at, at + chunk)
            mean[part], deviation[part] = self._marginal(candidates[part])
        return mean, deviation

    def likeness(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "n k"]:
        self._check()
        return likeness(self._used, left, right)

    def _check(self) -> None:
        if not self._is_fitted:
            raise RunError("expected a belief that has been fitted, got one that has seen nothing")

    def _features(self, candidates: Sequence[C]) -> list[FeatureSets]:
        """The candidates as every kernel sees them."""
        self._check()
        return [kernel.features(candidates) for kernel in self._used]

    def _bases(self, left: Sequence[FeatureSets], right: Sequence[FeatureSets]) -> list[Float[Tensor, "n k"]]:
        """What every kernel computes once, whatever its length scale."""
        return [kernel.base(one, two) for kernel, one, two in zip(self._used, left, right, strict=True)]

    def _covariance(
        self, bases: list[Float[Tensor, "n k"]], amplitude: Float[Tensor, " c"], scale: Float[Tensor, " c"]
    ) -> Float[Tensor, "n k"]:
        each = zip(self._used, self._units, bases, amplitude, scale, strict=True)
        parts = [a / unit * kernel(base, s) for kernel, unit, base, a, s in each]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def most_likely(
    start: Float[Tensor, " h"],
    width: Float[Tensor, " h"],
    limits: Sequence[tuple[float, float]],
    covariance: Callable[[Float[Tensor, " h"]], Float[Tensor, "p p"]],
    residual: Callable[[Float[Tensor, "p p"]], tuple[Tensor, Float[Tensor, " p"]]],
    steps: int,
) -> Float[Tensor, " h"]:
    """The hyperparameters of the highest posterior density, by L-BFGS; their prior is normal around the start.

    The gradient of -log N(y; mean, K) is (K^-1 - w w') / 2 by K, with w = K^-1 (y - mean): at the generalised
    least-squares mean, which is itself the most likely one, the mean's own gradient vanishes. `residual` gives
    (y - mean)' w and w, from the Cholesky factor of K.
    """
    from scipy.optimize import minimize

    def loss(point: Any) -> tuple[float, Any]:
        given = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        believed = covariance(given)
        factor, failed = torch.linalg.cholesky_ex(believed.detach())
        if failed:
            return 1e10, np.zeros(len(start))
        square, weight = residual(factor)
        inverse = torch.cholesky_solve(torch.eye(len(factor), dtype=torch.float64), factor)
        believed.backward(0.5 * (inverse - weight[:, None] * weight))
        prior = (given.detach() - start) / width
        value = 0.5 * square + torch.diagonal(factor).log().sum() + 0.5 * (prior**2).sum()
        return float(value), (cast(Tensor, given.grad) + prior / width).numpy()

    found = minimize(loss, start.numpy(), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": steps})
    return torch.from_numpy(found.x)


def variances(known: Float[Tensor, " p"], level: Tensor) -> Float[Tensor, " p"]:
    """The noise of each measurement: the given one, or the learned level."""
    return torch.where(known.isnan(), level, known.nan_to_num()) + FLOOR**2


def steadied(covariance: Float[Tensor, "m n n"]) -> Float[Tensor, "m n n"]:
    """With variances a little larger, so that rounding leaves it positive definite."""
    jitter = JITTER * torch.diagonal(covariance, dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)
    return covariance + jitter[:, None, None] * torch.eye(covariance.shape[-1], dtype=torch.float64)
