"""An exact Gaussian process over several objectives at once: what one teaches helps the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.errors import RunError
from mogen.surrogate.features import FeatureSets
from mogen.surrogate.kernel import Kernel, default_kernels, likeness, units
from mogen.surrogate.surrogate import Observations, Surrogate
from mogen.types import C

_FLOOR = 1e-4
"""smallest believed standard deviation of a measurement, relative to the spread of the values"""


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
class MultiTaskProcess(Surrogate[C]):
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
        self.kernels = list(kernels) if kernels else None
        self.steps, self.most = steps, most
        self._used: list[Kernel] = self.kernels or []
        self._seen: list[FeatureSets] = []
        self._units: list[float] = []
        self._fit: _Fit | None = None

    def fit(self, observations: Observations[C]) -> None:
        if not len(observations):
            raise RunError("expected at least one measured candidate to learn a belief from, got none")
        self._used = self.kernels or self._used or default_kernels(observations.candidates)
        self._seen = [kernel.features(observations.candidates) for kernel in self._used]
        self._units = units(self._used, self._seen)
        bases = [kernel.base(seen, seen) for kernel, seen in zip(self._used, self._seen, strict=True)]
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
        covariance = covariance + torch.diag(torch.where(known.isnan(), noise[task], known.nan_to_num()) + _FLOOR**2)
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
        """The point of the highest posterior density; the gradient is as in `GaussianProcess`."""
        from scipy.optimize import minimize

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
        one = torch.eye(len(y), dtype=torch.float64)

        def loss(point: Any) -> tuple[float, Any]:
            logs = torch.tensor(point, dtype=torch.float64, requires_grad=True)
            amplitude, scale, across, noise = self._parameters(logs, m)
            covariance = self._covariance(bases, amplitude, scale) * across[task][:, task]
            extra = torch.where(known.isnan(), noise[task], known.nan_to_num()) + _FLOOR**2
            covariance = covariance + torch.diag(extra)
            factor, failed = torch.linalg.cholesky_ex(covariance.detach())
            if failed:
                return 1e10, np.zeros(len(start))
            _, weight = _residual(factor, y, task, m)
            inverse = torch.cholesky_solve(one, factor)
            covariance.backward(0.5 * (inverse - weight[:, None] * weight))
            prior = (logs.detach() - start) / width
            value = 0.5 * (y * weight).sum() + torch.diagonal(factor).log().sum() + 0.5 * (prior**2).sum()
            return float(value), (cast(Tensor, logs.grad) + prior / width).numpy()

        limits = [(-12.0, 6.0)] * (len(start) - len(eye)) + [(-5.0, 5.0)] * len(eye)
        found = minimize(
            loss, start.numpy(), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": self.steps}
        )
        return torch.from_numpy(found.x)

    def _covariance(self, bases: list[Tensor], amplitude: Tensor, scale: Tensor) -> Tensor:
        each = zip(self._used, self._units, bases, amplitude, scale, strict=True)
        return torch.stack([a / unit * kernel(base, s) for kernel, unit, base, a, s in each]).sum(0)

    def _known(self) -> _Fit:
        if self._fit is None:
            raise RunError("expected a belief that has been fitted, got one that has seen nothing")
        return self._fit

    def _predict(self, candidates: Sequence[C]) -> tuple[list[FeatureSets], Tensor, Float[Tensor, "m p n"]]:
        """Feature sets, means, and L^-1 cov(known values, values of every objective)."""
        fit = self._known()
        sets = [kernel.features(candidates) for kernel in self._used]
        bases = [kernel.base(new, seen) for kernel, new, seen in zip(self._used, sets, self._seen, strict=True)]
        cross = self._covariance(bases, fit.amplitude, fit.scale)[:, fit.row]
        each = cross[None] * fit.likeness[:, fit.task][:, None]
        mean = (fit.mean[:, None] + each @ fit.weight).T * self.spread + self.centre
        return sets, mean, torch.linalg.solve_triangular(fit.factor, each.mT, upper=False)

    def _between(self, left: Sequence[FeatureSets], right: Sequence[FeatureSets]) -> Float[Tensor, "n k"]:
        fit = self._known()
        bases = [kernel.base(one, two) for kernel, one, two in zip(self._used, left, right, strict=True)]
        return self._covariance(bases, fit.amplitude, fit.scale)

    @property
    def noise(self) -> Float[Tensor, " m"]:
        return self._known().noise.sqrt() * self.spread

    def joint(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "m n n"]]:
        sets, mean, solved = self._predict(candidates)
        prior = self._between(sets, sets) * torch.diagonal(self._known().likeness)[:, None, None]
        covariance = (prior - solved.mT @ solved) * (self.spread**2)[:, None, None]
        jitter = 1e-8 * torch.diagonal(covariance, dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)
        return mean, covariance + jitter[:, None, None] * torch.eye(len(candidates), dtype=torch.float64)

    def cross(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "m n k"]:
        (sets, _, one), (others, _, two) = self._predict(left), self._predict(right)
        prior = self._between(sets, others) * torch.diagonal(self._known().likeness)[:, None, None]
        return (prior - one.mT @ two) * (self.spread**2)[:, None, None]

    def marginal(self, candidates: Sequence[C], chunk: int = 1024) -> tuple[Tensor, Tensor]:
        self._known()
        empty = torch.zeros(0, len(self.spread), dtype=torch.float64)
        means, deviations = [empty], [empty]
        for at in range(0, len(candidates), chunk):
            sets, mean, solved = self._predict(candidates[at : at + chunk])
            fit = self._known()
            each = zip(self._used, self._units, sets, fit.amplitude, strict=True)
            own = torch.stack([a * kernel.own(part) / unit for kernel, unit, part, a in each]).sum(0)
            variance = own[:, None] * torch.diagonal(fit.likeness) - (solved**2).sum(1).T
            means.append(mean)
            deviations.append(variance.clamp(min=1e-12).sqrt() * self.spread)
        return torch.cat(means), torch.cat(deviations)

    def likeness(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "n k"]:
        self._known()
        return likeness(self._used, left, right)

    def posterior(self, candidates: Sequence[C]) -> Any:
        """The joint belief about all values of n candidates, objectives together, as a BoTorch posterior (n x m)."""
        from botorch.posteriors import GPyTorchPosterior
        from gpytorch.distributions import MultitaskMultivariateNormal

        sets, mean, solved = self._predict(candidates)
        m, n = mean.shape[1], len(mean)
        flat = solved.permute(1, 0, 2).reshape(solved.shape[1], m * n)
        prior = torch.kron(self._known().likeness, self._between(sets, sets))
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
