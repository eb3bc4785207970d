"""Particle steering: sequential Monte Carlo on predictions of the clean data, for objectives without gradients.

Particles of one group share a preference. At chosen times the expected clean data of every particle are worth
something; the weight of a particle is multiplied by exp(strength (worth now - worth before)), so that the product over
times is exp(strength * last worth) whatever was thought on the way (Wu et al. 2023; Singhal et al. 2025). Where the
effective sample size of a group has fallen, its particles are drawn anew by their weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion.guidance import Guidance
from samplers.diffusion.product import Fields, ProductSDE, Score, rows
from samplers.diffusion.solver import predicted

Worth = Callable[[Fields], Float[Tensor, " b"]]
"""what clean fields are worth, larger is better; `group` and the context are among the fields"""


@dataclass(frozen=True)
class Look:
    """What one look at the particles found."""

    time: float
    size: float
    """mean over groups of the effective sample size over the number of particles"""
    resampled: int
    worth: float
    least: float
    """the least share of any group"""


@final
class ParticleSteering(Guidance):
    """Weighs and resamples the particles of every group (`group` among the fields: (b,) integers).

    Args:
        worth: of predicted clean fields.
        strength: how much a worth of 1 counts, as a logarithm of a weight.
        every: steps between two looks.
        start: the largest time that is looked at; predictions from more noise say little.
        threshold: share of the particles below which the effective sample size makes a group resample.
        predict: the clean fields a particle is expected to become; Tweedie's formula where it is not given.
    """

    def __init__(
        self,
        worth: Worth,
        *,
        strength: float = 10.0,
        every: int = 10,
        start: float = 0.6,
        threshold: float = 0.5,
        predict: Callable[[Score, Fields, Tensor], Fields] | None = None,
    ) -> None:
        if every < 1 or not strength >= 0 or not 0 <= threshold <= 1:
            raise ConfigError(
                "expected every of at least 1, strength of at least 0 and threshold in [0, 1] in steering, got "
                f"{every}, {strength} and {threshold}"
            )
        self.worth, self.strength, self.every, self.start, self.threshold = worth, strength, every, start, threshold
        self.predict = predict
        self.steps = 0
        self.looks: list[Look] = []

    def begin(self, fields: Fields) -> Fields:
        """Fields with weights and worths of nothing yet, for a new batch of particles."""
        self.steps = 0
        zero = torch.zeros(len(fields["group"]), device=fields["group"].device)
        return {**fields, "log_weight": zero, "worth": zero}

    def reweigh(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        mean: Fields,
        memory: Any,
        t: Float[Tensor, " b"],
        generator: torch.Generator | None,
    ) -> tuple[Fields, Fields, Any]:
        self.steps += 1
        time = float(t[0])
        is_end = time <= 0
        if not is_end and (self.steps % self.every or time > self.start):
            return fields, mean, memory
        clean = mean if is_end else self.clean(process, score, fields, t)
        worth = self.worth(clean).to(fields["log_weight"])
        weight = fields["log_weight"] + self.strength * (worth - fields["worth"])
        least = min(effective_shares(weight, fields["group"]), default=1.0)
        index, log_weight, size, count = resampled(weight, fields["group"], self.threshold, generator)
        self.looks.append(Look(time, size, count, float(worth.mean()), least))
        told = {"log_weight": log_weight, "worth": worth[index]}
        return {**rows(fields, index), **told}, {**rows(mean, index), **told}, picked(memory, index)

    def clean(self, process: ProductSDE, score: Score, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        """What the particles are expected to become; one more evaluation of the score."""
        if self.predict is not None:
            return self.predict(score, fields, t)
        return {**fields, **predicted(process, score(fields, t), fields, t)}


def effective_shares(log_weight: Float[Tensor, " b"], group: Int[Tensor, " b"]) -> list[float]:
    """Of every group, the effective sample size (sum w)^2 / sum w^2 over the number of particles."""
    weights = [log_weight[group == name].softmax(0) for name in group.unique()]
    return [float(1 / (weight**2).sum()) / len(weight) for weight in weights]


def resampled(
    log_weight: Float[Tensor, " b"],
    group: Int[Tensor, " b"],
    threshold: float,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, " b"], Float[Tensor, " b"], float, int]:
    """Which particle goes on in every place, with what weight; the mean share of effective ones; groups drawn anew.

    Groups whose effective sample size (sum w)^2 / sum w^2 is below threshold times their size are drawn anew, each by
    systematic resampling, and start again with equal weights whose mean is kept.
    """
    index = torch.arange(len(group), device=group.device)
    log_weight = log_weight.clone()
    share, count = [], 0
    for name in group.unique():
        place = (group == name).nonzero().flatten()
        weight = log_weight[place].softmax(0)
        effective = float(1 / (weight**2).sum()) / len(place)
        share.append(effective)
        if effective >= threshold or len(place) == 1:
            continue
        count += 1
        start = torch.rand(1, generator=generator, device=generator.device if generator else None).to(weight)
        comb = (torch.arange(len(place), device=weight.device) + start) / len(place)
        chosen = torch.searchsorted(weight.cumsum(0), comb).clamp(max=len(place) - 1)
        index[place] = place[chosen]
        log_weight[place] = log_weight[place].logsumexp(0) - torch.log(torch.tensor(float(len(place))))
    return index, log_weight, sum(share) / max(len(share), 1), count


def picked(memory: Any, index: Tensor) -> Any:
    """What a solver remembers, for the chosen particles."""
    if isinstance(memory, Tensor):
        return memory[index]
    if isinstance(memory, dict):
        return {name: picked(value, index) for name, value in memory.items()}
    if isinstance(memory, tuple | list):
        return type(memory)(picked(value, index) for value in memory)
    return memory
