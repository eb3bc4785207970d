"""How a preference takes hold of a diffusion: by tilting the score, or by choosing among particles.

The loop knows only this interface; what a guidance believes or measures is its own affair. What it wants of every item
stands among the fields, as context: `preference` (b x m, on the simplex), `value` (b x m, the values that are asked
for) or `group` (b, whose preference a particle shares).
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError, ShapeError
from mogen.preference import Scalarization
from samplers.diffusion.product import Fields, ProductSDE, Score, size
from samplers.diffusion.sde import over

Values = Callable[[Fields, Tensor], Float[Tensor, "b m"]]
"""(noisy fields, times) -> what the values (not clamped) of the clean data are expected to be, with gradients"""


class Guidance(ABC):  # noqa: B024 - a guidance replaces either method, not both
    """Tilts a score, or reweighs particles; by itself it does neither."""

    forwards: int = 0
    """evaluations of its own network, one per item of a batch"""
    backwards: int = 0
    """gradients through that network, one per item of a batch"""

    @property
    def cost(self) -> int:
        """Evaluations of its own network, a gradient counted as two."""
        return self.forwards + 2 * self.backwards

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        """The score that is followed instead of the given one."""
        del process
        return score

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
        """The particles that live on after a step that ended at t: fields, their means and a solver's memory."""
        del process, score, t, generator
        return fields, mean, memory


@final
class Together(Guidance):
    """Several guidances, the first one nearest to the score.

    Args:
        parts: the guidances.
    """

    def __init__(self, parts: Sequence[Guidance]) -> None:
        self.parts = tuple(parts)

    @property
    def cost(self) -> int:
        return sum(part.cost for part in self.parts)

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        for part in self.parts:
            score = part.tilt(process, score)
        return score

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
        for part in self.parts:
            fields, mean, memory = part.reweigh(process, score, fields, mean, memory, t, generator)
        return fields, mean, memory


@final
class PredictorGuidance(Guidance):
    """Follows the gradient of what a predictor expects the clean data to be worth to each item's preference.

    With g the gradient of the scalarised values along tangents, per field: s <- (1 - sqrt(novelty)) s + strength g, the
    score of data tilted by exp(strength worth) as far as the expected worth tells it, weak where the predictor knows
    nothing; or, relative to the score, + strength decay^t (|s|_1 / |g|_1) g with norms over each item (Lee et al. 2023,
    MOOD, eqs. 9 to 11).

    Args:
        values: what is expected of noisy fields.
        scalarization: how a preference makes one number of many values.
        strength: of the push, or one for every field by name (0 where none is given).
        is_relative: whether the push is measured by the size of the score.
        decay: such a push shrinks towards t = 1 by decay^t.
        novelty: MOOD's lambda in [0, 1): how far to leave the distribution of the data.
        end: the time at and below which there is no push.
        preference: the preference (m) of all items, for fields that hold none of their own.
    """

    def __init__(
        self,
        values: Values,
        scalarization: Scalarization,
        *,
        strength: float | Mapping[str, float] = 0.5,
        is_relative: bool = True,
        decay: float = 0.1,
        novelty: float = 0.0,
        end: float = 0.0,
        preference: Float[Tensor, " m"] | None = None,
    ) -> None:
        check_push(decay, novelty)
        self.values, self.scalarization, self.preference = values, scalarization, preference
        self.strength, self.is_relative, self.decay = strength, is_relative, decay
        self.novelty, self.end = novelty, end

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        kept = 1 - self.novelty**0.5

        def directed(fields: Fields, t: Tensor) -> Fields:
            slope = score(fields, t)
            wanted = [name for name, _ in process.items() if self.strength_of(name)]
            if not wanted or bool((t <= self.end).all()):
                return {name: kept * part for name, part in slope.items()}
            push = self.gradient(process, fields, t, {name: slope[name] for name in wanted})
            made = {}
            for name, part in slope.items():
                made[name] = kept * part
                if name in push:
                    size = self.strength_of(name) * torch.where(t > self.end, 1.0, 0.0)
                    if self.is_relative:
                        size = size * self.decay**t * length(part) / length(push[name]).clamp(min=1e-12)
                    made[name] = made[name] + over(size, part) * push[name]
            return made

        return directed

    def strength_of(self, name: str) -> float:
        """How hard a field is pushed."""
        return self.strength.get(name, 0.0) if isinstance(self.strength, Mapping) else self.strength

    def gradient(self, process: ProductSDE, fields: Fields, t: Float[Tensor, " b"], like: Fields) -> Fields:
        """The gradient of each item's worth along tangents shaped as the given ones."""
        with torch.enable_grad():
            steps = {name: torch.zeros_like(part).requires_grad_() for name, part in like.items()}
            worth = self.worth(process.move(fields, steps), t)
            found = torch.autograd.grad(worth.sum(), list(steps.values()), allow_unused=True)
        self.forwards += size(fields)
        self.backwards += size(fields)
        sdes = dict(process.items())
        made = {
            name: sdes[name].project(torch.zeros_like(step) if part is None else part)
            for (name, step), part in zip(steps.items(), found, strict=True)
        }
        return process.masked(fields, made)

    def worth(self, fields: Fields, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """What noisy fields are expected to be worth, by values squashed into (0, 1) so that gradients never vanish."""
        value = self.values(fields, t)
        preference = fields.get("preference", self.preference)
        if preference is None:
            raise ShapeError("expected a preference among the fields or one for all of them, got none")
        return self.scalarization(squashed(value), preference.to(value).expand_as(value))


@final
class ClassifierFree(Guidance):
    """Leads away from what is usual towards what was asked for: s(free) + weight (s(told) - s(free)).

    The score is one that reads `value` among the fields where `told` (b) is 1, and was trained with `told` 0 now and
    then (Ho and Salimans 2022); both evaluations count.

    Args:
        weight: 1 is the conditional score itself, more exaggerates the condition.
    """

    def __init__(self, weight: float = 2.0) -> None:
        if not weight >= 0:
            raise ConfigError(f"expected a weight of at least 0 for classifier-free guidance, got {weight}")
        self.weight = weight

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        del process

        def directed(fields: Fields, t: Tensor) -> Fields:
            if self.weight == 1:
                return score({**fields, "told": torch.ones_like(t)}, t)
            free = score({**fields, "told": torch.zeros_like(t)}, t)
            told = score({**fields, "told": torch.ones_like(t)}, t)
            return {name: free[name] + self.weight * (told[name] - free[name]) for name in free}

        return directed


@final
class Kept(Guidance):
    """Inpainting: entries that are known stay as they are.

    `known_<field>` holds the clean field and `keep_<field>` is 1 where it is known. There the score is the exact one of
    the known value's own diffusion, -(x - scale known) / std^2, so that it arrives with all others; its last mean is
    the known value itself. For flat fields.

    Args:
        names: the fields with known entries.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        sdes = dict(process.items())

        def directed(fields: Fields, t: Tensor) -> Fields:
            slope = dict(score(fields, t))
            for name in self.names:
                scale, std = (over(part, fields[name]) for part in sdes[name].marginal(t))
                own = (scale * fields[f"known_{name}"] - fields[name]) / std.clamp(min=1e-12) ** 2
                slope[name] = torch.where(fields[f"keep_{name}"] > 0, own, slope[name])
            return slope

        return directed

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
        del process, score, generator
        if bool((t > 0).any()):
            return fields, mean, memory
        known = {name: torch.where(mean[f"keep_{name}"] > 0, mean[f"known_{name}"], mean[name]) for name in self.names}
        return {**fields, **known}, {**mean, **known}, memory


def check_push(decay: float, novelty: float) -> None:
    """Raises `ConfigError` for a push that is not defined."""
    if not 0 <= novelty < 1 or not 0 < decay <= 1:
        raise ConfigError(f"expected novelty in [0, 1) and decay in (0, 1], got {novelty} and {decay}")


def squashed(value: Tensor) -> Tensor:
    """A smooth, rising stand-in for clamping to [0, 1], with slope 1 in the middle and nowhere 0."""
    return (4 * (value - 0.5)).sigmoid()


def length(tangent: Tensor) -> Float[Tensor, " b"]:
    """The sum of absolute entries of every item."""
    return tangent.abs().flatten(1).sum(1)


def asked_values(
    preference: Float[Tensor, "k m"],
    known: Float[Tensor, "n m"],
    scalarization: Scalarization,
    *,
    share: float = 0.02,
    reach: float = 0.2,
) -> Float[Tensor, "k m"]:
    """The values to ask a conditional model for: a trade-off the data show to be possible, and a step beyond it.

    The mean of the `share` of known values worth most to each preference, moved by `reach` standard deviations of the
    data along the preference (scaled so that its largest weight is 1).
    """
    if not len(known):
        raise ShapeError("expected known values to ask a conditional model for more, got none")
    count = max(1, round(share * len(known)))
    spread = known.std(0, unbiased=False)
    rows = []
    for wish in preference:
        best = scalarization(known, wish.expand_as(known)).topk(count).indices
        rows.append(known[best].mean(0) + reach * spread * wish / wish.amax().clamp(min=1e-12))
    return torch.stack(rows)
