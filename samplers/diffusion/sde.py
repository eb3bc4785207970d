"""Stochastic differential equations that turn data into noise, one field at a time.

Every process here is linear, dx = a(t) x dt + g(t) dw for t in [0, 1], so that x_t given x_0 is scale(t) x_0 +
std(t) z. Fields that do not live in a flat space (rotations) keep the interface and replace `noise`, `move`,
`shrink`, `perturb` and `prior`. Times are tensors of shape (b,), one per item of the batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError


class Marginal(NamedTuple):
    """x_t given x_0 has the mean scale * x_0 and the standard deviation std, at every time of a batch."""

    scale: Float[Tensor, " b"]
    std: Float[Tensor, " b"]


@dataclass(frozen=True)
class Perturbed:
    """A noisy value, and the gradient of log p(x_t | x_0) at it, in the shape of a tangent."""

    value: Tensor
    score: Tensor


class SDE(ABC):
    """A forward process of one field, and the geometry of that field.

    A *tangent* is anything `move` takes: noise, a drift, a score. In flat space it has the shape of the value itself;
    a rotation (..., 3, 3) has tangents (..., 3).
    """

    @abstractmethod
    def marginal(self, t: Float[Tensor, " b"]) -> Marginal:
        """How much of x_0 is left at t, and how much noise there is; t <= 0 is noiseless data."""

    @abstractmethod
    def rate(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """a(t) of the drift a(t) x."""

    @abstractmethod
    def diffusion(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """g(t)."""

    def weight(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """What a squared error of the score counts in training: std(t)^2 (Song et al. 2021, eq. 7)."""
        return self.marginal(t).std ** 2

    def drift(self, x: Tensor, t: Float[Tensor, " b"]) -> Tensor:
        """The drift at x, as a tangent."""
        return over(self.rate(t), x) * x

    def shrink(self, x: Tensor, factor: Float[Tensor, " b"]) -> Tensor:
        """The tangent that takes x to factor * x (nothing where a field has no origin, such as rotations)."""
        return (over(factor, x) - 1) * x

    def noise(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """A standard normal tangent at x."""
        return normal(x.shape, x, generator)

    def move(self, x: Tensor, tangent: Tensor) -> Tensor:
        """Where one comes from x along a tangent: x + v here, R exp(v) for rotations."""
        return x + tangent

    def project(self, gradient: Tensor) -> Tensor:
        """The gradient with respect to independent entries, from the one with respect to all of them."""
        return gradient

    def perturb(self, x_0: Tensor, t: Float[Tensor, " b"], noise: Tensor) -> Perturbed:
        """x_t made with a tangent from `noise`, and its conditional score -z / std."""
        scale, std = (over(part, x_0) for part in self.marginal(t))
        return Perturbed(scale * x_0 + std * noise, -noise / std)

    def prior(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """A value of the same shape as x, drawn from what sampling starts with."""
        return self.noise(x, generator=generator)


class _Line(SDE):
    """What the flat processes share: a normal prior with a mean and a standard deviation."""

    def __init__(self, location: float, spread: float) -> None:
        if not spread > 0 or not math.isfinite(location):
            raise ConfigError(f"expected a prior with a finite mean and a spread above 0, got {location} and {spread}")
        self.location, self.spread = location, spread

    def prior(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        return self.location + self.spread * self.noise(x, generator=generator)


@final
class VP(_Line):
    """Variance preserving: beta(t) = beta_min + t (beta_max - beta_min), drift -beta x / 2 (Song et al. 2021, eq. 11).

    Args:
        beta_min: beta at t = 0.
        beta_max: beta at t = 1.
        location: mean of the prior.
        spread: standard deviation of the prior.
    """

    def __init__(
        self, beta_min: float = 0.1, beta_max: float = 20.0, location: float = 0.0, spread: float = 1.0
    ) -> None:
        super().__init__(location, spread)
        _check_rise("beta", beta_min, beta_max)
        self.beta_min, self.beta_max = beta_min, beta_max

    def log_scale(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """log scale(t) = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2."""
        return -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2

    def marginal(self, t: Float[Tensor, " b"]) -> Marginal:
        log_scale = self.log_scale(t.clamp(min=0))
        return Marginal(log_scale.exp(), (-torch.expm1(2 * log_scale)).sqrt())

    def rate(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return -(self.beta_min + t * (self.beta_max - self.beta_min)) / 2

    def diffusion(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return (-2 * self.rate(t)).sqrt()


@final
class SubVP(_Line):
    """The drift of VP with less noise: std = 1 - scale^2 (Song et al. 2021, eq. 13).

    Args:
        beta_min: beta at t = 0.
        beta_max: beta at t = 1.
        location: mean of the prior.
        spread: standard deviation of the prior.
    """

    def __init__(
        self, beta_min: float = 0.1, beta_max: float = 20.0, location: float = 0.0, spread: float = 1.0
    ) -> None:
        super().__init__(location, spread)
        self.twin = VP(beta_min, beta_max)
        self.beta_min, self.beta_max = beta_min, beta_max

    def marginal(self, t: Float[Tensor, " b"]) -> Marginal:
        log_scale = self.twin.log_scale(t.clamp(min=0))
        return Marginal(log_scale.exp(), -torch.expm1(2 * log_scale))

    def rate(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return self.twin.rate(t)

    def diffusion(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return self.twin.diffusion(t) * (-torch.expm1(4 * self.twin.log_scale(t))).sqrt()


@final
class VE(_Line):
    """Variance exploding: sigma(t) = sigma_min (sigma_max / sigma_min)^t, no drift (Song et al. 2021, eq. 9).

    The standard deviation is sigma(t) itself, without - sigma_min^2; at t <= 0 it is 0.

    Args:
        sigma_min: standard deviation just above t = 0.
        sigma_max: standard deviation at t = 1.
        location: mean of the prior.
        spread: standard deviation of the prior; sigma_max where it is not given.
    """

    def __init__(
        self, sigma_min: float = 0.1, sigma_max: float = 1.0, location: float = 0.0, spread: float | None = None
    ) -> None:
        super().__init__(location, sigma_max if spread is None else spread)
        _check_rise("sigma", sigma_min, sigma_max)
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self.growth = math.log(sigma_max / sigma_min)

    def marginal(self, t: Float[Tensor, " b"]) -> Marginal:
        return Marginal(torch.ones_like(t), torch.where(t > 0, self.sigma(t), 0.0))

    def sigma(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """sigma(t), at any t."""
        return self.sigma_min * (t * self.growth).exp()

    def rate(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return torch.zeros_like(t)

    def diffusion(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return self.sigma(t) * math.sqrt(2 * self.growth)


@final
class Symmetric(SDE):
    """A process of symmetric matrices (of numbers or vectors) with an empty diagonal: one draw for every pair of nodes.

    Args:
        sde: the process of every entry.
    """

    def __init__(self, sde: SDE) -> None:
        self.sde = sde

    def marginal(self, t: Float[Tensor, " b"]) -> Marginal:
        return self.sde.marginal(t)

    def rate(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return self.sde.rate(t)

    def diffusion(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return self.sde.diffusion(t)

    def noise(
        self, x: Float[Tensor, "b v v *d"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "b v v *d"]:
        return symmetrised(normal(x.shape, x, generator))

    def prior(
        self, x: Float[Tensor, "b v v *d"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "b v v *d"]:
        return symmetrised(self.sde.prior(x, generator=generator))

    def project(self, gradient: Float[Tensor, "b v v *d"]) -> Float[Tensor, "b v v *d"]:
        return symmetrised(gradient + gradient.transpose(1, 2))


def symmetrised(x: Float[Tensor, "b v v *d"]) -> Float[Tensor, "b v v *d"]:
    """The strict upper triangle (of the second and third dimension) and its mirror image."""
    v = x.shape[1]
    above = torch.ones(v, v, dtype=torch.bool, device=x.device).triu(1).view(v, v, *[1] * (x.ndim - 3))
    upper = x.masked_fill(~above, 0.0)
    return upper + upper.transpose(1, 2)


def normal(shape: torch.Size, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers, drawn where the generator lives and brought to where `like` is."""
    place = generator.device if generator is not None else like.device
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=place).to(like.device)


def over(t: Float[Tensor, " b"], x: Tensor) -> Tensor:
    """Numbers of a batch, shaped so that they multiply whole items of x."""
    return t.to(x.dtype).reshape(t.shape + (1,) * (x.ndim - t.ndim))


def _check_rise(name: str, least: float, most: float) -> None:
    if not 0 < least <= most < math.inf:
        raise ConfigError(f"expected 0 < {name}_min <= {name}_max in an SDE, got {least} and {most}")
