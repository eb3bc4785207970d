"""What a policy is told: a preference (or a goal) and an inverse temperature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import ConfigError
from mogen.preference import PreferenceDistribution, thermometer
from mogen.preference.goal import FocusCone, GoalDistribution, UniformGoals, goal_of

Encoding = Literal["thermometer", "vanilla"]


@dataclass(frozen=True)
class Condition:
    """One request per trajectory."""

    preference: Float[Tensor, "n m"]
    """rows on the simplex; for goals, unit vectors"""
    beta: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.beta)

    @staticmethod
    def concatenate(parts: list[Condition]) -> Condition:
        """The requests of all parts, in order."""
        return Condition(torch.cat([part.preference for part in parts]), torch.cat([part.beta for part in parts]))

    def repeated(self, times: int) -> Condition:
        """Every request so many times in a row."""
        return Condition(self.preference.repeat_interleave(times, 0), self.beta.repeat_interleave(times, 0))


class InverseTemperature(ABC):
    """A distribution of the reward exponent beta."""

    highest: float
    """the sharpest beta that training sees, asked for when sampling"""

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        """n exponents."""


@final
class ConstantBeta(InverseTemperature):
    """The same beta always."""

    def __init__(self, value: float = 32.0) -> None:
        self.highest = _positive(value)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        del generator
        return torch.full((n,), self.highest)


@final
class UniformBeta(InverseTemperature):
    """Uniform between low and high."""

    def __init__(self, low: float = 1.0, high: float = 32.0) -> None:
        self.low, self.highest = _ordered(low, high)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        return self.low + (self.highest - self.low) * torch.rand(n, generator=generator)


@final
class LogUniformBeta(InverseTemperature):
    """Uniform in log(beta) between low and high."""

    def __init__(self, low: float = 1.0, high: float = 32.0) -> None:
        self.low, self.highest = _ordered(low, high)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        return self.low * (self.highest / self.low) ** torch.rand(n, generator=generator)


@final
class GammaBeta(InverseTemperature):
    """The gamma distribution with a shape and a scale; its 95th percentile is the beta asked for when sampling."""

    def __init__(self, shape: float = 16.0, scale: float = 1.0) -> None:
        self.shape, self.scale = _positive(shape), _positive(scale)
        self.highest = self.scale * gamma_quantile(self.shape, 0.95)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        draws = torch._standard_gamma(torch.full((n,), self.shape, dtype=torch.float64), generator=generator)
        return (self.scale * draws).clamp(min=1e-3).float()


def gamma_quantile(shape: float, share: float) -> float:
    """The x with P(shape, x) = share, P the regularised lower incomplete gamma function, by bisection."""
    low, high = 0.0, shape + 50.0 * max(1.0, shape**0.5)
    for _ in range(100):
        middle = (low + high) / 2
        at = torch.tensor([shape, middle], dtype=torch.float64)
        below = bool(torch.special.gammainc(at[0], at[1]) < share)
        low, high = (middle, high) if below else (low, middle)
    return high


def _positive(value: float) -> float:
    if not value > 0:
        raise ConfigError(f"expected an inverse temperature above 0, got {value}")
    return float(value)


def _ordered(low: float, high: float) -> tuple[float, float]:
    if not _positive(low) <= _positive(high):
        raise ConfigError(f"expected a lowest inverse temperature of at most the highest, got {low} and {high}")
    return float(low), float(high)


def encode(
    condition: Condition, *, bins: int, highest: float, encoding: Encoding = "thermometer"
) -> Float[Tensor, "n d"]:
    """Preference and beta / highest, beta last; with a thermometer, also as thermometers: d = (m + 1) * (bins + 1)."""
    share = (condition.beta / highest)[:, None]
    parts = torch.cat([condition.preference, share], 1)
    if encoding == "vanilla":
        return parts
    return torch.cat([thermometer(parts, bins).flatten(1), parts], 1)


def encoding_size(m: int, bins: int, encoding: Encoding = "thermometer") -> int:
    """The width of `encode`."""
    return m + 1 if encoding == "vanilla" else (m + 1) * (bins + 1)


class Asking(ABC):
    """What training asks for, how networks are told, and what a candidate is worth to who asked."""

    hindsight: float = 0.0
    """share of the new trajectories that missed what was asked, and are told that they were asked for what they are"""

    @abstractmethod
    def draw(
        self, preference: PreferenceDistribution, n: int, m: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n m"]:
        """n requests of training."""

    @abstractmethod
    def of(self, preference: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        """What a user's preferences become."""

    @abstractmethod
    def encode(self, condition: Condition, *, bins: int, highest: float) -> Float[Tensor, "n d"]:
        """What networks are told; beta is the last column."""

    @abstractmethod
    def size(self, m: int, bins: int) -> int:
        """The width of `encode`."""

    def describe(self) -> dict[str, Any]:
        """The constructor arguments that a saved model needs."""
        return {}

    def scalarization(self, given: Any) -> Any:
        """What makes one number of utilities and a request: the given one, unless requests are of another kind."""
        return given

    def is_missed(self, utility: Float[Tensor, "n m"], asked: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        """True where a candidate is not what was asked for."""
        return torch.ones(len(utility), dtype=torch.bool)

    def relabelled(
        self,
        condition: Condition,
        utility: Float[Tensor, "n m"],
        share: float,
        *,
        generator: torch.Generator | None = None,
    ) -> Condition:
        """A share of the requests that were missed, replaced by those that the candidates answer."""
        if share <= 0:
            return condition
        utility = utility.float().nan_to_num().clamp(0, 1)
        again = torch.rand(len(utility), generator=generator) < share
        again = again & self.is_missed(utility, condition.preference) & (utility.sum(-1) > 0)
        answered = self.of(utility / utility.sum(-1, keepdim=True).clamp(min=1e-12))
        return Condition(torch.where(again[:, None], answered, condition.preference), condition.beta)

    def learn(self, condition: Condition, utility: Float[Tensor, "n m"], progress: float) -> None:
        """Is told what was reached, and the share of training that is done."""
        del condition, utility, progress

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """What a checkpoint kept."""
        del state


@final
class Preferences(Asking):
    """Preferences on the simplex, scalarised (MOGFN-PC, Jain et al. 2023).

    Args:
        encoding: thermometer, or vanilla for the plain numbers.
        hindsight: share of new trajectories whose preference is replaced by their own utilities, normalised.
    """

    def __init__(self, encoding: Encoding = "thermometer", hindsight: float = 0.0) -> None:
        if encoding not in ("thermometer", "vanilla"):
            raise ConfigError(f"expected the encoding thermometer or vanilla of preferences, got {encoding!r}")
        self.encoding: Encoding = encoding
        self.hindsight = _share(hindsight)

    def draw(
        self, preference: PreferenceDistribution, n: int, m: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n m"]:
        return preference.sample(n, m, generator=generator).float()

    def of(self, preference: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        return preference

    def encode(self, condition: Condition, *, bins: int, highest: float) -> Float[Tensor, "n d"]:
        return encode(condition, bins=bins, highest=highest, encoding=self.encoding)

    def size(self, m: int, bins: int) -> int:
        return encoding_size(m, bins, self.encoding)

    def describe(self) -> dict[str, Any]:
        return {"encoding": self.encoding}


@final
class Goals(Asking):
    """Directions in objective space; only what lies in the cone around one is rewarded (Roy et al. 2023).

    A user's preference w is understood as the direction w / |w|. Wants replay.

    Args:
        goals: how directions are drawn in training; uniform by default.
        cosine: cosine of half the opening of a cone.
        limit: share of the reward that is left on the border of a cone.
        hindsight: share of trajectories outside their cone that are told they were asked for their own direction.
        encoding: thermometer, or vanilla for the plain numbers.
    """

    def __init__(
        self,
        goals: GoalDistribution | None = None,
        cosine: float = 0.98,
        limit: float = 0.2,
        hindsight: float = 0.3,
        encoding: Encoding = "thermometer",
    ) -> None:
        if encoding not in ("thermometer", "vanilla"):
            raise ConfigError(f"expected the encoding thermometer or vanilla of goals, got {encoding!r}")
        self.goals, self.cone = goals or UniformGoals(), FocusCone(cosine, limit)
        self.encoding: Encoding = encoding
        self.hindsight = _share(hindsight)

    def draw(
        self, preference: PreferenceDistribution, n: int, m: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n m"]:
        del preference
        return self.goals.sample(n, m, generator=generator)

    def of(self, preference: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        return goal_of(preference)

    def encode(self, condition: Condition, *, bins: int, highest: float) -> Float[Tensor, "n d"]:
        return encode(condition, bins=bins, highest=highest, encoding=self.encoding)

    def size(self, m: int, bins: int) -> int:
        return encoding_size(m, bins, self.encoding)

    def describe(self) -> dict[str, Any]:
        return {"encoding": self.encoding, "cosine": self.cone.cosine, "limit": self.cone.limit}

    def scalarization(self, given: Any) -> FocusCone:
        del given
        return self.cone

    def is_missed(self, utility: Float[Tensor, "n m"], asked: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        return ~self.cone.contains(utility, asked)

    def learn(self, condition: Condition, utility: Float[Tensor, "n m"], progress: float) -> None:
        self.goals.learn(condition.preference, utility.float().nan_to_num(), progress)

    def state(self) -> dict[str, Tensor]:
        return self.goals.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        self.goals.restore(state)


@final
class Unasked(Asking):
    """Nothing is asked for: one policy of the whole front, for order-preserving training."""

    def draw(
        self, preference: PreferenceDistribution, n: int, m: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n m"]:
        del preference, generator
        return torch.full((n, m), 1 / m)

    def of(self, preference: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
        return torch.full_like(preference, 1 / max(1, preference.shape[1]))

    def encode(self, condition: Condition, *, bins: int, highest: float) -> Float[Tensor, "n 1"]:
        return (condition.beta / highest)[:, None]

    def size(self, m: int, bins: int) -> int:
        return 1


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"expected a share between 0 and 1 of trajectories told in hindsight, got {value}")
    return float(value)
