"""Beliefs as measures: what a sampler is trained on in place of the objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.acquisition.acquisition import Acquisition, Belief
from mogen.objective import Evaluation, Status
from mogen.types import C


@final
class AcquisitionMeasure(Generic[C]):
    """One objective: u = exp(min(a(x) - a*, 0)), a the log-acquisition and a* the highest among `anchors`.

    With the reward R = S(u)^beta this is R = (acquisition / its level)^beta, as MOGFN-AL trains (mogfn.md 1.9); what
    exceeds the level counts as the level. Log acquisitions span many orders of magnitude, which `temper` < 1 narrows:
    u = exp(temper (a - a*)).
    """

    def __init__(self, acquisition: Acquisition[C], anchors: Sequence[C], temper: float = 1.0) -> None:
        self.acquisition, self.temper = acquisition, temper
        self.level = float(acquisition.score(anchors).max()) if len(anchors) else 0.0

    def __call__(self, candidates: Sequence[C], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        del preference
        value = (self.temper * (self.acquisition.score(candidates) - self.level)).exp()[:, None]
        return believed(value.nan_to_num(nan=0.0, posinf=1.0))


@final
class BoundMeasure(Generic[C]):
    """All objectives: the upper bound mean + kappa sd of every value, which a sampler scalarises by its preferences.

    What is unlikely to be valid is worth less: the bound is multiplied by P(valid).
    """

    def __init__(self, belief: Belief[C], kappa: float = 1.0) -> None:
        self.belief, self.kappa = belief, kappa

    def __call__(self, candidates: Sequence[C], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        del preference
        mean, deviation = self.belief.surrogate.marginal(candidates)
        likely = self.belief.log_feasible(candidates).exp()[:, None]
        return believed((mean + self.kappa * deviation) * likely)


def believed(value: Float[Tensor, "n m"]) -> Evaluation:
    """Believed values as an evaluation of which nothing is missing (worst 0 and best 1)."""
    status = torch.full(value.shape, int(Status.MEASURED))
    everything = torch.ones(len(value), dtype=torch.bool)
    return Evaluation(value, status, everything, value, value.clamp(0, 1))
