"""What we believe about candidates not yet measured, and how well we believed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import ShapeError
from mogen.objective import Evaluation, Status
from mogen.types import C


@final
@dataclass(frozen=True)
class Observations(Generic[C]):
    """Measured candidates: what a belief learns from.

    `value` is unclamped, (raw - worst) / (best - worst), NaN where an objective was not measured or failed. `noise` is
    the standard deviation of a value, in the same unit (NaN where unknown).
    """

    candidates: list[C]
    value: Float[Tensor, "n m"]
    noise: Float[Tensor, "n m"]
    is_valid: Bool[Tensor, " n"]
    utility: Float[Tensor, "n m"]
    failed: Bool[Tensor, " n"] | None = None
    """a measurement failed or a constraint does not hold; what is merely missing has not; the invalid ones if None"""

    def __post_init__(self) -> None:
        if len(self.candidates) != len(self.value):
            raise ShapeError(f"expected {len(self.candidates)} rows of values, got {len(self.value)}")

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def m(self) -> int:
        """Objectives."""
        return self.value.shape[1]

    @property
    def has_failed(self) -> Bool[Tensor, " n"]:
        """Whether a candidate is known to be invalid."""
        return ~self.is_valid if self.failed is None else self.failed

    @classmethod
    def of(
        cls, candidates: Sequence[C], evaluation: Evaluation, span: Float[Tensor, " m"] | None = None
    ) -> Observations[C]:
        """Candidates and their evaluation; `span` is best - worst, by which a noise of raw values is divided."""
        is_known = (evaluation.status == Status.MEASURED) & evaluation.value.isfinite()
        is_whole = (evaluation.status == Status.MEASURED).all(1)
        failed = (evaluation.status == Status.FAILED).any(1) | (is_whole & ~evaluation.is_valid)
        noise = torch.full_like(evaluation.value, torch.nan)
        if evaluation.noise is not None:
            noise = evaluation.noise / (span.abs() if span is not None else 1.0)
        return cls(
            list(candidates),
            evaluation.value.double().where(is_known, torch.nan),
            noise.double(),
            evaluation.is_valid,
            evaluation.utility.double(),
            failed,
        )


class Surrogate(ABC, Generic[C]):
    """A belief about the unclamped values of candidates under every objective."""

    @abstractmethod
    def fit(self, observations: Observations[C]) -> None:
        """Learns from all observations anew."""

    @abstractmethod
    def joint(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "m n n"]]:
        """Mean and covariance of the values, without measurement noise; objectives are independent of each other."""

    @abstractmethod
    def marginal(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
        """Mean and standard deviation of every value alone, without measurement noise; n may be large."""

    def cross(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "m n k"]:
        """Covariance of the values of some candidates with those of others, without measurement noise."""
        _, covariance = self.joint([*left, *right])
        return covariance[:, : len(left), len(left) :]

    @abstractmethod
    def likeness(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "n k"]:
        """How alike candidates are to this belief, in [0, 1], 1 of a candidate with itself."""

    @property
    @abstractmethod
    def noise(self) -> Float[Tensor, " m"]:
        """Standard deviation of one measurement, as believed."""

    def posterior(self, candidates: Sequence[C]) -> Any:
        """The joint belief about n candidates as a BoTorch posterior (n x m)."""
        return gaussian_posterior(*self.joint(candidates))


def gaussian_posterior(mean: Float[Tensor, "*b n m"], covariance: Float[Tensor, "*b m n n"]) -> Any:
    """A BoTorch posterior of independent objectives."""
    from botorch.posteriors import GPyTorchPosterior
    from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
    from linear_operator import to_linear_operator
    from linear_operator.operators import BlockDiagLinearOperator

    if mean.shape[-1] == 1:
        return GPyTorchPosterior(MultivariateNormal(mean[..., 0], to_linear_operator(covariance[..., 0, :, :])))
    blocks = BlockDiagLinearOperator(to_linear_operator(covariance))
    return GPyTorchPosterior(MultitaskMultivariateNormal(mean, blocks, interleaved=False))


@final
@dataclass(frozen=True)
class Calibration:
    """How well a belief foresaw new measurements, by objective; NaN where none was measured."""

    coverage: Float[Tensor, " m"]
    """share of values inside the central 90 % interval"""
    nlpd: Float[Tensor, " m"]
    """mean negative log predictive density, in nats of a value on the common scale"""
    rmse: Float[Tensor, " m"]
    """root mean squared error of the mean, in values"""
    count: int


def calibration(surrogate: Surrogate[C], observations: Observations[C]) -> Calibration:
    """A belief that has not seen these observations, against them; measurement noise is part of the prediction."""
    mean, deviation = surrogate.marginal(observations.candidates)
    known_noise = observations.noise.nan_to_num(nan=-1)
    noise = torch.where(known_noise >= 0, known_noise, surrogate.noise)
    variance = deviation**2 + noise**2
    error = observations.value - mean
    is_known = observations.value.isfinite()
    score = 0.5 * (error**2 / variance + variance.log() + math.log(2 * math.pi))
    inside = (error.abs() <= 1.6448536269514722 * variance.sqrt()).double()

    def average(values: Tensor) -> Tensor:
        return values.where(is_known, torch.nan).nanmean(0)

    return Calibration(average(inside), average(score), average(error**2).sqrt(), int(is_known.any(1).sum()))
