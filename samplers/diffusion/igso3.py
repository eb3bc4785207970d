"""The isotropic Gaussian on SO(3), and Brownian motion of rotations that it is the transition density of.

With s = sigma^2 the Brownian time (Nikolayev and Savyolov 1997), the density relative to the uniform one is
f(w, s) = sum_l (2l + 1) exp(-l (l + 1) s / 2) sin((l + 1/2) w) / sin(w / 2), and of the angle (1 - cos w) / pi f(w, s).
128 terms are exact to float64 for sigma >= 0.1. The same sum after Poisson's summation formula,
f = sqrt(2 pi) e^(s/8) s^(-3/2) / sin(w/2) sum_k (-1)^k (w - 2 pi k) exp(-(w - 2 pi k)^2 / (2 s)),
needs 4 terms and keeps its relative accuracy in the tails; scores are taken from it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion import so3
from samplers.diffusion.sde import SDE, Marginal, Perturbed, normal, over

TERMS = 128
"""terms of the series over l"""
WRAPS = 4
"""terms of the series over k, on either side; exact to float64 for sigma <= 3"""
GRID = 1024
"""angles between 0 and pi at which the distribution function is tabled before it is inverted"""


def density(angle: Float[Tensor, "*b"], sigma: Float[Tensor, "*b"], terms: int = TERMS) -> Float[Tensor, "*b"]:
    """f(w, sigma): how much likelier than under the uniform distribution, by the truncated series."""
    order = torch.arange(terms, dtype=angle.dtype, device=angle.device)
    angle, sigma = angle[..., None], sigma[..., None]
    is_small = angle.abs() < 1e-4
    half = torch.where(is_small, 1.0, angle)
    ratio = torch.where(is_small, 2 * order + 1, ((order + 0.5) * half).sin() / (half / 2).sin())
    return ((2 * order + 1) * (-order * (order + 1) * sigma**2 / 2).exp() * ratio).sum(-1)


def angle_density(angle: Float[Tensor, "*b"], sigma: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """The density of the angle of rotation on [0, pi]."""
    return 2 * (angle / 2).sin() ** 2 / math.pi * log_density(angle, sigma).exp()


def log_density(angle: Float[Tensor, "*b"], sigma: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """log f(w, sigma) for w in [0, pi], to full relative accuracy for sigma <= 3."""
    square, s = angle**2, sigma**2
    halved = torch.sinc(angle / (2 * math.pi)) / 2  # sin(w/2) / w
    wrapped = _wraps(square, s)[0]
    return s / 8 + 0.5 * math.log(2 * math.pi) - 1.5 * s.log() - square / (2 * s) + wrapped.log() - halved.log()


def score(vector: Float[Tensor, "*b 3"], sigma: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3"]:
    """The gradient of log f at Exp(v), a tangent: d log f / dw * v / w, for |v| <= pi.

    It is v times a smooth function of w^2, so v = 0 is nothing special.
    """
    square = (vector**2).sum(-1)
    return score_ratio(square, sigma**2)[..., None] * vector


def score_ratio(square: Float[Tensor, "*b"], s: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """(d log f / dw) / w as a function of w^2 and sigma^2."""
    value, slope = _wraps(square, s)
    is_small = square < 1e-2
    w = torch.where(is_small, 1.0, square).sqrt()
    series = 1 / 12 + square / 720 + square**2 / 30240
    return -1 / s + slope / value + torch.where(is_small, series, (1 / w - 0.5 / (w / 2).tan()) / w)


def _wraps(square: Float[Tensor, "*b"], s: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Q = sum_k (-1)^k (w - 2 pi k) e_k / w with e_0 = 1, and (dQ/dw) / w.

    Terms k and -k together are 2 (-1)^k exp(-2 pi^2 k^2 / s) [cosh x - (4 pi^2 k^2 / s) sinh(x) / x], x = 2 pi k w / s.
    """
    is_zero = square < 1e-12
    w = torch.where(is_zero, 1e-6, torch.where(is_zero, 1.0, square).sqrt())
    value, slope = torch.ones_like(square * s), torch.zeros_like(square * s)
    for k in range(1, WRAPS + 1):
        x, decay, rate = 2 * math.pi * k * w / s, 2 * (math.pi * k) ** 2 / s, 2 * math.pi * k / s
        rising, falling = (x - decay).exp(), (-x - decay).exp()
        cosh, is_small = (rising + falling) / 2, x < 0.3
        far = torch.where(is_small, 1.0, x)
        near = (-decay).exp()
        sinhc = torch.where(is_small, near * (1 + x**2 / 6 + x**4 / 120 + x**6 / 5040), (rising - falling) / (2 * far))
        bend = torch.where(
            is_small, near * (1 / 3 + x**2 / 30 + x**4 / 840 + x**6 / 45360), (cosh - sinhc) / far**2
        )  # (d sinhc / dx) / x
        sign = -2.0 if k % 2 else 2.0
        value = value + sign * (cosh - 2 * decay * sinhc)
        slope = slope + sign * rate**2 * (sinhc - 2 * decay * bend)
    return value, slope


def cdf(angle: Float[Tensor, "*b"], sigma: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """The distribution function of the angle, term by term: exactly 1 at pi.

    1/pi sum_l (2l + 1) exp(-l (l + 1) s / 2) [sin(l w) / l - sin((l + 1) w) / (l + 1)], the first of them w.
    """
    order = torch.arange(1, TERMS + 1, dtype=angle.dtype, device=angle.device)
    waves = (order * angle[..., None]).sin() / order
    rises = torch.cat((angle[..., None], waves[..., :-1]), -1) - waves
    return (_weights(sigma) * rises).sum(-1)


def _weights(sigma: Float[Tensor, "*b"]) -> Float[Tensor, "*b l"]:
    """(2l + 1) exp(-l (l + 1) s / 2) / pi."""
    order = torch.arange(TERMS, dtype=sigma.dtype, device=sigma.device)
    return (2 * order + 1) * (-order * (order + 1) * sigma[..., None] ** 2 / 2).exp() / math.pi


@lru_cache(maxsize=4)
def _table(device: torch.device) -> tuple[Float[Tensor, " w"], Float[Tensor, "l w"]]:
    """Angles from 0 to pi, and what the terms of the distribution function rise to there (float64)."""
    angle = torch.linspace(0, math.pi, GRID, dtype=torch.float64, device=device)
    order = torch.arange(1, TERMS + 1, dtype=torch.float64, device=device)[:, None]
    waves = (order * angle).sin() / order
    return angle, torch.cat((angle[None], waves[:-1])) - waves


def quantile(share: Float[Tensor, "b *d"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b *d"]:
    """The angle below which a share in [0, 1] of the distribution with an item's sigma lies (float64 inside).

    The tabled distribution function, inverted linearly, then two steps of Newton's method with the exact one.
    """
    share_64, sigma_64 = share.double().reshape(len(sigma), -1).clamp(0, 1), sigma.double()
    grid, rises = _table(share.device)
    below = (_weights(sigma_64) @ rises).clamp(0, 1).cummax(1).values
    right = torch.searchsorted(below.contiguous(), share_64.contiguous()).clamp(1, GRID - 1)
    low, high = below.gather(1, right - 1), below.gather(1, right)
    part = ((share_64 - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    angle = grid[right - 1] + part * (grid[1] - grid[0])
    spread = sigma_64[:, None].expand_as(angle)
    for _ in range(2):
        slope = angle_density(angle, spread)
        change = (cdf(angle, spread) - share_64) / slope.clamp(min=1e-300)
        step = change.clamp(-0.25 * grid[1], 0.25 * grid[1])
        angle = torch.where(slope > 1e-9, angle - step, angle).clamp(0, math.pi)
    return angle.to(share.dtype).reshape(share.shape)


def score_scale(sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """sqrt(E[|score|^2] / 3), by quadrature over the angle."""
    s = sigma.double()[:, None]
    span = (8 * sigma.double()).clamp(max=math.pi)[:, None]
    angle = span * (torch.arange(512, dtype=torch.float64, device=sigma.device) + 0.5) / 512
    weight = angle_density(angle, s.expand_as(angle))
    square = (score_ratio(angle**2, s.expand_as(angle) ** 2) * angle) ** 2
    return ((weight * square).sum(1) / weight.sum(1) / 3).sqrt().to(sigma.dtype)


def chi3_share(radius: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """The share of three-dimensional standard normal vectors shorter than a radius."""
    return torch.special.erf(radius / math.sqrt(2)) - math.sqrt(2 / math.pi) * radius * (-(radius**2) / 2).exp()


@final
class RotationVE(SDE):
    """Brownian motion of rotations, variance exploding: r_t = r_0 Exp(v), v of direction uniform and angle IGSO(3).

    sigma(t) = log(t e^sigma_max + (1 - t) e^sigma_min), g(t)^2 = d sigma^2 / dt (Yim et al. 2023). At t <= 0 there is
    no noise. The prior is uniform. A tangent from `noise` becomes an IGSO(3) draw by keeping its direction and
    matching the quantile of its length.

    Args:
        sigma_min: scale just above t = 0.
        sigma_max: scale at t = 1.
    """

    def __init__(self, sigma_min: float = 0.1, sigma_max: float = 1.5) -> None:
        if not 0.08 <= sigma_min < sigma_max <= 3:
            raise ConfigError(
                f"expected 0.08 <= sigma_min < sigma_max <= 3 for rotations, got {sigma_min} and {sigma_max}"
            )
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def sigma(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """sigma(t), at any t in [0, 1]."""
        return (t * math.exp(self.sigma_max) + (1 - t) * math.exp(self.sigma_min)).log()

    def marginal(self, t: Float[Tensor, " b"]) -> Marginal:
        """Scale 1 and sigma(t), the IGSO(3) scale in the place of a standard deviation."""
        return Marginal(torch.ones_like(t), torch.where(t > 0, self.sigma(t.clamp(min=0)), 0.0))

    def rate(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return torch.zeros_like(t)

    def diffusion(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        sigma = self.sigma(t)
        return (2 * (math.exp(self.sigma_max) - math.exp(self.sigma_min)) * sigma * (-sigma).exp()).sqrt()

    def weight(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """1 / (E[|score|^2] / 3)."""
        return score_scale(self.sigma(t)) ** -2

    def drift(self, x: Float[Tensor, "*b 3 3"], t: Float[Tensor, " b"]) -> Float[Tensor, "*b 3"]:
        del t
        return torch.zeros_like(x[..., 0])

    def shrink(self, x: Float[Tensor, "*b 3 3"], factor: Float[Tensor, " b"]) -> Float[Tensor, "*b 3"]:
        """Nothing: rotations have no origin to shrink to."""
        del factor
        return torch.zeros_like(x[..., 0])

    def noise(self, x: Float[Tensor, "*b 3 3"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*b 3"]:
        return normal(x.shape[:-1], x, generator)

    def move(self, x: Float[Tensor, "*b 3 3"], tangent: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
        """R Exp(v), kept orthogonal."""
        return so3.orthonormalized(x @ so3.exp(tangent))

    def perturb(
        self, x_0: Float[Tensor, "b *d 3 3"], t: Float[Tensor, " b"], noise: Float[Tensor, "b *d 3"]
    ) -> Perturbed:
        sigma = self.marginal(t).std
        if not bool((sigma > 0).all()):
            raise ConfigError(f"expected times above 0 to perturb rotations, got {float(t.min()):.4g}")
        length = noise.norm(dim=-1)
        angle = quantile(chi3_share(length.double()), sigma).to(noise.dtype)
        vector = noise * (angle / length.clamp(min=1e-12))[..., None]
        spread = over(sigma, length).expand_as(length)
        return Perturbed(so3.orthonormalized(x_0 @ so3.exp(vector)), score(vector, spread))

    def prior(self, x: Float[Tensor, "*b 3 3"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*b 3 3"]:
        return so3.uniform(x, generator=generator)

    def conditional_score(
        self, x_t: Float[Tensor, "b *d 3 3"], x_0: Float[Tensor, "b *d 3 3"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b *d 3"]:
        """The gradient of log p(x_t | x_0) at x_t, a tangent there."""
        vector = so3.log(x_0.transpose(-1, -2) @ x_t)
        return score(vector, over(self.marginal(t).std, vector[..., 0]).expand_as(vector[..., 0]))
