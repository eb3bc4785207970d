"""Exact Gaussian processes over feature sets, one per objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.surrogate.kernel import Kernel
from mogen.surrogate.process import KernelProcess, most_likely, steadied, variances
from mogen.surrogate.surrogate import Observations
from mogen.types import C


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
class GaussianProcess(KernelProcess[C]):
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
        super().__init__(kernels, steps, most, chunk=2048)
        self._outputs: list[_Output] = []

    def _learn(self, bases: list[Tensor], observations: Observations[C]) -> None:
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
        covariance = self._covariance(bases, amplitude, scale) + torch.diag(variances(known, level))
        factor = torch.linalg.cholesky(covariance)
        mean, weight = _residual(factor, y)
        return _Output(rows, centre, spread, amplitude, scale, float(level), float(mean), factor, weight)

    def _hyperparameters(
        self, bases: list[Tensor], y: Float[Tensor, " n"], known: Float[Tensor, " n"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Amplitudes, length scales and noise of the highest posterior density."""
        count = len(bases)
        start = torch.tensor([math.log(1 / count)] * count + [0.0] * count + [math.log(1e-2)], dtype=torch.float64)
        width = torch.tensor([1.5] * count + [1.0] * count + [2.0], dtype=torch.float64)
        chosen = _sample(len(y), self.most)
        bases, y, known = [base[chosen][:, chosen] for base in bases], y[chosen], known[chosen]

        def parameters(logs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return logs[:count].exp(), logs[count:-1].exp(), logs[-1].exp()

        def covariance(logs: Tensor) -> Tensor:
            amplitude, scale, level = parameters(logs)
            return self._covariance(bases, amplitude, scale) + torch.diag(variances(known, level))

        def residual(factor: Tensor) -> tuple[Tensor, Tensor]:
            mean, weight = _residual(factor, y)
            return ((y - mean) * weight).sum(), weight

        if len(chosen) < 2:
            return parameters(start)
        limits = [(-12.0, 6.0)] * len(start)
        return parameters(most_likely(start, width, limits, covariance, residual, self.steps))

    def joint(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "m n n"]]:
        sets = self._features(candidates)
        crosses, own = self._bases(sets, self._seen), self._bases(sets, sets)
        means, covariances = [], []
        for output in self._outputs:
            mean, solved = self._predict(output, crosses)
            prior = self._covariance(own, output.amplitude, output.scale)
            means.append(mean)
            covariances.append((prior - solved.T @ solved) * output.spread**2)
        return torch.stack(means, -1), steadied(torch.stack(covariances))

    def cross(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "m n k"]:
        sets, others = self._features(left), self._features(right)
        crosses, between = [self._bases(part, self._seen) for part in (sets, others)], self._bases(sets, others)
        found = []
        for output in self._outputs:
            one, two = (self._predict(output, part)[1] for part in crosses)
            prior = self._covariance(between, output.amplitude, output.scale)
            found.append((prior - one.T @ two) * output.spread**2)
        return torch.stack(found)

    def _marginal(self, candidates: Sequence[C]) -> tuple[Tensor, Tensor]:
        sets = self._features(candidates)
        crosses = self._bases(sets, self._seen)
        each = zip(self._used, self._units, sets, strict=True)
        own = torch.stack([kernel.own(part) / unit for kernel, unit, part in each])
        means, deviations = [], []
        for output in self._outputs:
            mean, solved = self._predict(output, crosses)
            variance = (output.amplitude @ own - (solved**2).sum(0)).clamp(min=1e-12)
            means.append(mean)
            deviations.append(variance.sqrt() * output.spread)
        return torch.stack(means, -1), torch.stack(deviations, -1)

    def _predict(self, output: _Output, crosses: list[Tensor]) -> tuple[Float[Tensor, " n"], Float[Tensor, "k n"]]:
        """The mean, and L^-1 K(seen, new), whose squares are what has been learned of the variance."""
        bases = crosses if len(output.rows) == crosses[0].shape[1] else [base[:, output.rows] for base in crosses]
        cross = self._covariance(bases, output.amplitude, output.scale)
        mean = (output.mean + cross @ output.weight) * output.spread + output.centre
        return mean, torch.linalg.solve_triangular(output.factor, cross.T, upper=False)


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
