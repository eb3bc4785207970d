"""How likely a candidate is to be measured at all and to pass its constraints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, Self, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.surrogate.classifier import HELD_OUT, Alerts, Classifier, Smooth
from mogen.surrogate.kernel import Kernel
from mogen.surrogate.surrogate import Observations
from mogen.types import C

_LEAST = math.log(1e-2)


@final
class Feasibility(Generic[C]):
    """What foresees failures best: likeness to candidates that failed (`Smooth`), or parts they contain (`Alerts`).

    Both learn from the older three quarters of the candidates; the one whose probabilities of the newest quarter have
    the higher likelihood is kept, and learns from all. No probability is below 0.01.
    """

    def __init__(self, classifier: Classifier[C]) -> None:
        self.classifier = classifier

    @classmethod
    def learned(cls, observations: Observations[C], kernels: Sequence[Kernel] | None = None) -> Self | None:
        """The classifier of what was observed; None where all failed or none did: there is nothing to learn."""
        failed, candidates = observations.has_failed, observations.candidates
        if failed.all() or not failed.any():
            return None
        first = round((1 - HELD_OUT) * len(candidates))
        kinds: list[Classifier[C]] = [Smooth(kernels), Alerts()]
        if 0 < first < len(candidates):
            scores = []
            for kind in kinds:
                foreseen = kind.fit(candidates[:first], failed[:first]).log_probability(candidates[first:])
                scores.append(_likelihood(foreseen, failed[first:]))
            kinds = [kinds[scores.index(max(scores))]]
        return cls(kinds[0].fit(candidates, failed))

    def log_probability(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """log P(valid) of every candidate."""
        return self.classifier.log_probability(candidates).clamp(min=_LEAST)


def _likelihood(log_probability: Float[Tensor, " n"], failed: Bool[Tensor, " n"]) -> float:
    """Log-likelihood of what happened; nothing is foreseen more surely than to 1 in 100."""
    chance = log_probability.exp().clamp(0.01, 0.99)
    return float(torch.where(failed, 1 - chance, chance).log().sum())
