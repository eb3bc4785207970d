"""What a policy is told: a preference and an inverse temperature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from mogen.preference import thermometer


@dataclass(frozen=True)
class Condition:
    """One request per trajectory."""

    preference: Float[Tensor, "n m"]
    beta: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.beta)

    @staticmethod
    def concatenate(parts: list[Condition]) -> Condition:
        """The requests of all parts, in order."""
        return Condition(torch.cat([part.preference for part in parts]), torch.cat([part.beta for part in parts]))


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
        self.low, self.highest = _positive(low), _positive(high)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        return self.low + (self.highest - self.low) * torch.rand(n, generator=generator)


@final
class LogUniformBeta(InverseTemperature):
    """Uniform in log(beta) between low and high."""

    def __init__(self, low: float = 1.0, high: float = 32.0) -> None:
        self.low, self.highest = _positive(low), _positive(high)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
        return self.low * (self.highest / self.low) ** torch.rand(n, generator=generator)


def _positive(value: float) -> float:
    if not value > 0:
        raise ConfigError(f"expected an inverse temperature above 0, got {value}")
    return float(value)


def encode(condition: Condition, *, bins: int, highest: float) -> Float[Tensor, "n d"]:
    """Thermometer and raw preference, thermometer and raw beta: d = (m + 1) * (bins + 1)."""
    share = (condition.beta / highest)[:, None]
    parts = torch.cat([condition.preference, share], 1)
    return torch.cat([thermometer(parts, bins).flatten(1), parts], 1)


def encoding_size(m: int, bins: int) -> int:
    """The width of `encode`."""
    return (m + 1) * (bins + 1)
