"""Exact Gaussian processes over feature sets, one per objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import RunError
from mogen.surrogate.features import FeatureSets
from mogen.surrogate.kernel import Kernel, default_kernels, likeness, units
from mogen.surrogate.surrogate import Observations, Surrogate
from mogen.types import C

_JITTER = 1e-8
_FLOOR = 1e-4
"""smallest believed standard deviation of a measurement, relative to the spread of the values"""


@dataclass(frozen=True)
class _Output:
    """One objective's process: what is needed to predict."""

    rows: Tensor
    """which observations it has seen"""
    centre: float
    spread: float
    amplitude: Float[Tensor, " c"]
    """mean variance of each kernel, of standardised values"""
    scale: Float[Tensor, " c"]
    noise: float
    """variance of a measurement of unknown noise, of standardised values"""
    mean: float
    factor: Float[Tensor, "n n"]
    """lower Cholesky factor of K + noise"""
    weight: Float[Tensor, " n"]
    """(K + noise)^-1 (y - mean)"""


@final
class GaussianProcess(Surrogate[C]):
    """y = mean + sum_c f_c(x) + noise with f_c ~ GP(0, a_c k_c), one process per objective (Rasmussen, Williams 2.2).

    Variances a_c (in units of a kernel's mean over the observations), length scales and the noise are those of the
    highest marginal likelihood with weak log-normal priors;
    the mean is the generalised least-squares one. Known noise levels are kept as they are given. An objective that a
    candidate lacks is left out for this candidate alone.

    Args:
        kernels: likenesses that are added up; by what the candidates are where none are given.
        steps: most steps of the optimiser (L-BFGS) of the hyperparameters.
        most: hyperparameters are learned from at most so many observations (the newest and a regular sample); the
            prediction uses all of them.
    """

    def __init__(self, kernels: Sequence[Kernel] | None = None, steps: int = 30, most: int = 300) -> None:
        self.kernels = list(kernels) if kernels else None
        self.steps, self.most = steps, most
        self._used: list[Kernel] = self.kernels or []
        self._seen: list[FeatureSets] = []
        self._units: list[float] = []
        self._outputs: list[_Output] = []

    def fit(self, observations: Observations[C]) -> None:
        if not len(observations):
            raise RunError("expected at least one measured candidate to learn a belief from, got none")
        self._used = self.kernels or self._used or default_kernels(observations.candidates)
        self._seen = [kernel.features(observations.candidates) for kernel in self._used]
        self._units = units(self._used, self._seen)
        bases = [kernel.base(seen, seen) for kernel, seen in zip(self._used, self._seen, strict=True)]
        self._outputs = [
            self._output(bases, observations.value[:, i], observations.noise[:, i]) for i in range(observations.m)
        ]

    @property
    def noise(self) -> Float[Tensor, " m"]:
        return torch.tensor([math.sqrt(item.noise) * item.spread for item in self._outputs], dtype=torch.float64)

    def _output(self, bases: list[Tensor], value: Float[Tensor, " n"], noise: Float[Tensor, " n"]) -> _Output:
        rows = value.isfinite().nonzero().flatten()
        y = value[rows]
        centre = float(y.mean()) if len(y) else 0.5
        spread = max(float(y.std()) if len(y) > 1 else 0.0, 1e-3)
        y = (y - centre) / spread
        known = (noise[rows] / spread) ** 2
        bases = [base[rows][:, rows] for base in bases]
        amplitude, scale, level = self._hyperparameters(bases, y, known)
        covariance = self._covariance(bases, amplitude, scale) + torch.diag(_variances(known, level))
        factor = torch.linalg.cholesky(covariance)
        mean, weight = _residual(factor, y)
        return _Output(rows, centre, spread, amplitude, scale, float(level), float(mean), factor, weight)

    def _hyperparameters(
        self, bases: list[Tensor], y: Float[Tensor, " n"], known: Float[Tensor, " n"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Amplitudes, length scales and noise of the highest posterior density, by L-BFGS over their logarithms.

        The gradient of -log N(y; mean, K) is (K^-1 - w w') / 2 by K, with w = K^-1 (y - mean): at the generalised
        least-squares mean, which is itself the most likely one, the mean's own gradient vanishes.
        """
        from scipy.optimize import minimize

        count = len(bases)
        start = torch.tensor([math.log(1 / count)] * count + [0.0] * count + [math.log(1e-2)], dtype=torch.float64)
        chosen = _sample(len(y), self.most)
        if len(chosen) < 2:
            return start[:count].exp(), start[count:-1].exp(), start[-1].exp()
        bases, y, known = [base[chosen][:, chosen] for base in bases], y[chosen], known[chosen]
        eye = torch.eye(len(y), dtype=torch.float64)

        def loss(point: Any) -> tuple[float, Any]:
            logs = torch.tensor(point, dtype=torch.float64, requires_grad=True)
            amplitude, scale, level = logs[:count].exp(), logs[count:-1].exp(), logs[-1].exp()
            covariance = self._covariance(bases, amplitude, scale) + torch.diag(_variances(known, level))
            factor, failed = torch.linalg.cholesky_ex(covariance.detach())
            if failed:
                return 1e10, np.zeros(len(start))
            mean, weight = _residual(factor, y)
            inverse = torch.cholesky_solve(eye, factor)
            covariance.backward(0.5 * (inverse - weight[:, None] * weight))
            prior = (logs.detach() - start) / _widths(count)
            value = 0.5 * ((y - mean) * weight).sum() + torch.diagonal(factor).log().sum() + 0.5 * (prior**2).sum()
            gradient = cast(Tensor, logs.grad) + prior / _widths(count)
            return float(value), gradient.numpy()

        limits = [(-12.0, 6.0)] * len(start)
        found = minimize(
            loss, start.numpy(), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": self.steps}
        )
        best = torch.from_numpy(found.x)
        return best[:count].exp(), best[count:-1].exp(), best[-1].exp()

    def _covariance(self, bases: list[Tensor], amplitude: Tensor, scale: Tensor) -> Tensor:
        each = zip(self._used, self._units, bases, amplitude, scale, strict=True)
        parts = [a / unit * kernel(base, s) for kernel, unit, base, a, s in each]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def _cross(self, candidates: Sequence[C]) -> tuple[list[FeatureSets], list[Tensor]]:
        self._check()
        sets = [kernel.features(candidates) for kernel in self._used]
        bases = [kernel.base(new, seen) for kernel, new, seen in zip(self._used, sets, self._seen, strict=True)]
        return sets, bases

    def _check(self) -> None:
        if not self._outputs:
            raise RunError("expected a belief that has been fitted, got one that has seen nothing")

    def joint(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "m n n"]]:
        sets, crosses = self._cross(candidates)
        own = [kernel.base(new, new) for kernel, new in zip(self._used, sets, strict=True)]
        means, covariances = [], []
        for output in self._outputs:
            mean, solved = self._predict(output, crosses)
            prior = self._covariance(own, output.amplitude, output.scale)
            means.append(mean)
            covariances.append((prior - solved.T @ solved) * output.spread**2)
        covariance = torch.stack(covariances)
        jitter = _JITTER * torch.diagonal(covariance, dim1=-2, dim2=-1).mean(-1).clamp(min=1e-12)
        return torch.stack(means, -1), covariance + jitter[:, None, None] * torch.eye(len(sets[0]), dtype=torch.float64)

    def cross(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "m n k"]:
        sets, crosses = self._cross(left)
        others, others_crosses = self._cross(right)
        between = [kernel.base(one, two) for kernel, one, two in zip(self._used, sets, others, strict=True)]
        found = []
        for output in self._outputs:
            known, new = (self._predict(output, part)[1] for part in (crosses, others_crosses))
            prior = self._covariance(between, output.amplitude, output.scale)
            found.append((prior - known.T @ new) * output.spread**2)
        return torch.stack(found)

    def marginal(self, candidates: Sequence[C], chunk: int = 2048) -> tuple[Tensor, Tensor]:
        parts = [self._marginal(candidates[at : at + chunk]) for at in range(0, len(candidates), chunk)]
        if not parts:
            empty = torch.zeros(0, len(self._outputs), dtype=torch.float64)
            return empty, empty
        return torch.cat([mean for mean, _ in parts]), torch.cat([deviation for _, deviation in parts])

    def _marginal(self, candidates: Sequence[C]) -> tuple[Tensor, Tensor]:
        sets, crosses = self._cross(candidates)
        each = zip(self._used, self._units, sets, strict=True)
        own = torch.stack([kernel.own(part) / unit for kernel, unit, part in each])
        means, deviations = [], []
        for output in self._outputs:
            mean, solved = self._predict(output, crosses)
            variance = (output.amplitude @ own - (solved**2).sum(0)).clamp(min=1e-12)
            means.append(mean)
            deviations.append(variance.sqrt() * output.spread)
        return torch.stack(means, -1), torch.stack(deviations, -1)

    def likeness(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "n k"]:
        self._check()
        return likeness(self._used, left, right)

    def _predict(self, output: _Output, crosses: list[Tensor]) -> tuple[Float[Tensor, " n"], Float[Tensor, "k n"]]:
        """The mean, and L^-1 K(seen, new), whose squares are what has been learned of the variance."""
        bases = crosses if len(output.rows) == crosses[0].shape[1] else [base[:, output.rows] for base in crosses]
        cross = self._covariance(bases, output.amplitude, output.scale)
        mean = (output.mean + cross @ output.weight) * output.spread + output.centre
        return mean, torch.linalg.solve_triangular(output.factor, cross.T, upper=False)


def _widths(count: int) -> Tensor:
    """Standard deviations of the log-normal priors of amplitudes, length scales and noise."""
    return torch.tensor([1.5] * count + [1.0] * count + [2.0], dtype=torch.float64)


def _variances(known: Float[Tensor, " n"], level: Tensor) -> Float[Tensor, " n"]:
    """The noise of each measurement: the given one, or the learned level."""
    return torch.where(known.isnan(), level, known.nan_to_num()) + _FLOOR**2


def _residual(factor: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> tuple[Tensor, Float[Tensor, " n"]]:
    """The generalised least-squares mean, and K^-1 (y - mean)."""
    if not len(y):
        return torch.zeros((), dtype=torch.float64), y
    both = torch.cholesky_solve(torch.stack([y, torch.ones_like(y)], -1), factor)
    mean = both[:, 0].sum() / both[:, 1].sum()
    return mean, both[:, 0] - mean * both[:, 1]


def log_likelihood(covariance: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Tensor:
    """log N(y; mean, covariance) at the generalised least-squares mean."""
    factor = torch.linalg.cholesky(covariance)
    mean, weight = _residual(factor, y)
    half = 0.5 * ((y - mean) * weight).sum() + torch.diagonal(factor).log().sum()
    return -half - 0.5 * len(y) * math.log(2 * math.pi)


def _sample(n: int, most: int) -> Tensor:
    """All of n rows, or the newest half of `most` and evenly spaced ones of the others."""
    if n <= most:
        return torch.arange(n)
    newest = most // 2
    older = torch.linspace(0, n - newest - 1, most - newest).long().unique()
    return torch.cat([older, torch.arange(n - newest, n)])
