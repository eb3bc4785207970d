"""How likely a candidate is to be measured at all and to pass its constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Self, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.surrogate.gaussian_process import GaussianProcess
from mogen.surrogate.kernel import Kernel
from mogen.surrogate.surrogate import Observations
from mogen.types import C

_NOISE = 0.1


@final
class Feasibility(Generic[C]):
    """A least-squares Gaussian process classifier of validity (Rasmussen and Williams 6.5).

    Labels are 1 and 0; P(valid) = Phi((mean - 1/2) / sqrt(variance + 0.01)), at least 0.01.
    """

    def __init__(self, process: GaussianProcess[C]) -> None:
        self.process = process

    @classmethod
    def learned(cls, observations: Observations[C], kernels: Sequence[Kernel] | None = None) -> Self | None:
        """The classifier of what was observed; None where all failed or none did: there is nothing to learn."""
        failed = observations.has_failed
        if failed.all() or not failed.any():
            return None
        label = (~failed).double()[:, None]
        process: GaussianProcess[C] = GaussianProcess(kernels)
        noise = torch.full_like(label, _NOISE)
        process.fit(Observations(observations.candidates, label, noise, observations.is_valid, label))
        return cls(process)

    def log_probability(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """log P(valid) of every candidate."""
        mean, deviation = self.process.marginal(candidates)
        score = (mean - 0.5) / (deviation**2 + _NOISE**2).sqrt()
        return torch.special.ndtr(score[:, 0]).clamp(min=1e-2).log()
