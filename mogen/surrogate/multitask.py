"""An exact Gaussian process over several objectives at once: what one teaches helps the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.surrogate.features import FeatureSets
from mogen.surrogate.kernel import Kernel
from mogen.surrogate.process import KernelProcess, most_likely, steadied, variances
from mogen.surrogate.surrogate import Observations
from mogen.types import C


@dataclass(frozen=True)
class _Fit:
    """What is needed to predict."""

    task: Int[Tensor, " p"]
    row: Int[Tensor, " p"]
    """objective and observation of every known value"""
    amplitude: Float[Tensor, " c"]
    scale: Float[Tensor, " c"]
    likeness: Float[Tensor, "m m"]
    """covariance of the objectives, B"""
    noise: Float[Tensor, " m"]
    mean: Float[Tensor, " m"]
    factor: Float[Tensor, "p p"]
    weight: Float[Tensor, " p"]


@final
class MultiTaskProcess(KernelProcess[C]):
    """cov(y_i(x), y_j(x')) = B_ij sum_c a_c k_c(x, x') + noise_i (intrinsic coregionalisation, Bonilla et al. 2008).

    B = L L' with L lower triangular. An objective that was measured of few candidates learns from the others where they
    go together: values missing for some objectives are simply absent. B, the a_c, length scales and noises are those of
    the highest marginal likelihood with weak priors (log-normal; L normal around the identity). `joint` gives the
    blocks of single objectives; `posterior` the whole covariance.

    Args:
        kernels: likenesses that are added up; by what the candidates are where none are given.
        steps: most steps of the optimiser (L-BFGS) of the hyperparameters.
        most: hyperparameters are learned from at most so many values (a regular sample of them).
    """

    def __init__(self, kernels: Sequence[Kernel] | None = None, steps: int = 40, most: int = 400) -> None:
        super().__init__(kernels, steps, most, chunk=1024)
        self._fit: _Fit

    def _learn(self, bases: list[Tensor], observations: Observations[C]) -> None:
        value = observations.value
        centre, spread = _moments(value)
        self.centre, self.spread = centre, spread
        task, row = value.T.isfinite().nonzero(as_tuple=True)
        y = ((value - centre) / spread).T[task, row]
        known = (observations.noise / spread).T[task, row] ** 2
        m = value.shape[1]
        logs = self._hyperparameters(bases, y, known, task, row, m)
        amplitude, scale, across, noise = self._parameters(logs, m)
        covariance = self._covariance(bases, amplitude, scale)[row][:, row] * across[task][:, task]
        covariance = covariance + torch.diag(variances(known, noise[task]))
        factor = torch.linalg.cholesky(covariance)
        mean, weight = _residual(factor, y, task, m)
        self._fit = _Fit(task, row, amplitude, scale, across, noise, mean, factor, weight)

    def _parameters(self, logs: Tensor, m: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Amplitudes, length scales, covariance of the objectives and their noises."""
        count = len(self._used)
        sizes = [count, count, m, m * (m + 1) // 2]
        amplitude, scale, noise, lower = logs.split(sizes)
        i, j = torch.tril_indices(m, m)
        root = torch.zeros(m, m, dtype=torch.float64).index_put((i, j), lower)
        return amplitude.exp(), scale.exp(), root @ root.T, noise.exp()

    def _hyperparameters(
        self, bases: list[Tensor], y: Tensor, known: Tensor, task: Tensor, row: Tensor, m: int
    ) -> Float[Tensor, " h"]:
        """Those of the highest posterior density, as `_parameters` reads them."""
        count = len(bases)
        eye = torch.eye(m, dtype=torch.float64)[tuple(torch.tril_indices(m, m))]
        logs = [math.log(1 / count)] * count + [0.0] * count + [math.log(1e-2)] * m
        start = torch.cat([torch.tensor(logs, dtype=torch.float64), eye])
        width = torch.tensor([1.5] * count + [1.0] * count + [2.0] * m + [1.0] * len(eye), dtype=torch.float64)
        if len(y) < 2:
            return start
        chosen = torch.linspace(0, len(y) - 1, min(len(y), self.most)).long()
        y, known, task, row = y[chosen], known[chosen], task[chosen], row[chosen]
        bases = [base[row][:, row] for base in bases]

        def covariance(point: Tensor) -> Tensor:
            amplitude, scale, across, noise = self._parameters(point, m)
            values = self._covariance(bases, amplitude, scale) * across[task][:, task]
            return values + torch.diag(variances(known, noise[task]))

        def residual(factor: Tensor) -> tuple[Tensor, Tensor]:
            weight = _residual(factor, y, task, m)[1]
            return (y * weight).sum(), weight

        limits = [(-12.0, 6.0)] * (len(start) - len(eye)) + [(-5.0, 5.0)] * len(eye)
        return most_likely(start, width, limits, covariance, residual, self.steps)

    def _predict(self, candidates: Sequence[C]) -> tuple[list[FeatureSets], Tensor, Float[Tensor, "m p n"]]:
        """Feature sets, means, and L^-1 cov(known values, values of every objective)."""
        sets, fit = self._features(candidates), self._fit
        cross = self._between(sets, self._seen)[:, fit.row]
        each = cross[None] * fit.likeness[:, fit.task][:, None]
        mean = (fit.mean[:, None] + each @ fit.weight).T * self.spread + self.centre
        return sets, mean, torch.linalg.solve_triangular(fit.factor, each.mT, upper=False)

    def _between(self, left: Sequence[FeatureSets], right: Sequence[FeatureSets]) -> Float[Tensor, "n k"]:
        return self._covariance(self._bases(left, right), self._fit.amplitude, self._fit.scale)

    @property
    def noise(self) -> Float[Tensor, " m"]:
        self._check()
        return self._fit.noise.sqrt() * self.spread

    def joint(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "m n n"]]:
        sets, mean, solved = self._predict(candidates)
        prior = self._between(sets, sets) * torch.diagonal(self._fit.likeness)[:, None, None]
        return mean, steadied((prior - solved.mT @ solved) * (self.spread**2)[:, None, None])

    def cross(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "m n k"]:
        (sets, _, one), (others, _, two) = self._predict(left), self._predict(right)
        prior = self._between(sets, others) * torch.diagonal(self._fit.likeness)[:, None, None]
        return (prior - one.mT @ two) * (self.spread**2)[:, None, None]

    def _marginal(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
        (sets, mean, solved), fit = self._predict(candidates), self._fit
        each = zip(self._used, self._units, sets, fit.amplitude, strict=True)
        own = torch.stack([a * kernel.own(part) / unit for kernel, unit, part, a in each]).sum(0)
        variance = own[:, None] * torch.diagonal(fit.likeness) - (solved**2).sum(1).T
        return mean, variance.clamp(min=1e-12).sqrt() * self.spread

    def posterior(self, candidates: Sequence[C]) -> Any:
        """The joint belief about all values of n candidates, objectives together, as a BoTorch posterior (n x m)."""
        from botorch.posteriors import GPyTorchPosterior
        from gpytorch.distributions import MultitaskMultivariateNormal

        sets, mean, solved = self._predict(candidates)
        m, n = mean.shape[1], len(mean)
        flat = solved.permute(1, 0, 2).reshape(solved.shape[1], m * n)
        prior = torch.kron(self._fit.likeness, self._between(sets, sets))
        spread = self.spread.repeat_interleave(n)
        covariance = (prior - flat.T @ flat) * spread[:, None] * spread
        covariance = covariance + 1e-10 * torch.eye(m * n, dtype=torch.float64)
        return GPyTorchPosterior(MultitaskMultivariateNormal(mean, covariance, interleaved=False))


def _moments(value: Float[Tensor, "n m"]) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Mean and standard deviation of what is known of every objective."""
    centre = value.nanmean(0).nan_to_num(nan=0.5)
    count = value.isfinite().sum(0)
    variance = (value - centre).nan_to_num().square().sum(0) / (count - 1).clamp(min=1)
    return centre, variance.sqrt().clamp(min=1e-3)


def _residual(factor: Tensor, y: Tensor, task: Tensor, m: int) -> tuple[Float[Tensor, " m"], Float[Tensor, " p"]]:
    """Generalised least-squares means of the objectives, and K^-1 (y - mean); 0 where an objective has no value."""
    which = torch.nn.functional.one_hot(task, m).double()
    solved = torch.cholesky_solve(torch.cat([y[:, None], which], 1), factor)
    information = which.T @ solved[:, 1:]
    absent = torch.diag((torch.diagonal(information) == 0).double())
    mean = torch.linalg.solve(information + absent, which.T @ solved[:, 0])
    return mean, solved[:, 0] - solved[:, 1:] @ mean
