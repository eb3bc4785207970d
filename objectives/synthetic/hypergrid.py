"""Functions of a point in [-1, 1]^d, scaled to [0, 1]: the objectives of the HyperGrid experiments (Jain et al. 2023).

Shubert and Beale were published in two variants that differ a lot: "2022" (the first experiments of the MOGFN
authors) and "op_gfn" (Chen and Mauch 2024). Branin, Currin and the sphere are the same in both. As published, Currin
passes 1 by up to 0.002 near its maximum, where its utility is clamped.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.point import Point
from mogen.errors import ConfigError, ObjectiveError
from mogen.objective.objective import Objective

Variant = Literal["2022", "op_gfn"]


class PointObjective(Objective[Point]):
    """A formula over the coordinates of points."""

    dimension: int | None = 2
    """how many coordinates a point must have; None for any number"""

    @abstractmethod
    def formula(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Values of n points."""

    def evaluate(self, candidates: Sequence[Point]) -> Float[Tensor, " n"]:
        if not len(candidates):
            return torch.zeros(0, dtype=torch.float64)
        lengths = {len(point.coordinates) for point in candidates}
        if len(lengths) > 1 or self.dimension not in (None, *lengths):
            expected = f"{self.dimension}" if self.dimension else "equally many"
            raise ObjectiveError(f"{self.name!r} expects points of {expected} coordinates, got {sorted(lengths)}")
        return self.formula(torch.tensor([point.coordinates for point in candidates], dtype=torch.float64))


@final
class Branin(PointObjective):
    """1 - Branin / 308.13: with a = 15 (x0 / 2 + 1/2) - 5 and b = 15 (x1 / 2 + 1/2), large where Branin is small."""

    name = "branin"
    source = "Jain et al. 2023, HyperGrid; Branin 1972"

    def __init__(self, *, worst: float = 0.0, best: float = 1.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def formula(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        a, b = (7.5 * (x + 1)).unbind(-1)
        a = a - 5
        bowl = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
        wave = 10 * (1 - 1 / (8 * math.pi)) * torch.cos(a)
        return 1 - (bowl**2 + wave + 10) / 308.13


@final
class Currin(PointObjective):
    """Currin's exponential function / 13.77, with a = x0 / 2 + 1/2 and b = x1 / 2 + 1/2."""

    name = "currin"
    source = "Jain et al. 2023, HyperGrid; Currin et al. 1991"

    def __init__(self, *, worst: float = 0.0, best: float = 1.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def formula(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        a, b = (x / 2 + 0.5).unbind(-1)
        decay = 1 - torch.exp(-1 / (2 * b + 1e-10))
        ratio = (2300 * a**3 + 1900 * a**2 + 2092 * a + 60) / (100 * a**3 + 500 * a**2 + 4 * a + 20)
        return decay * ratio / 13.77


@final
class Sphere(PointObjective):
    """(x0^2 + x1^2) / 2."""

    name = "sphere"
    source = "Jain et al. 2023, HyperGrid"

    def __init__(self, *, worst: float = 0.0, best: float = 1.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def formula(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        return (x**2).sum(-1) / 2


@final
class Shubert(PointObjective):
    """A product of two sums of five cosines, s_0 s_1, shifted and scaled to [0, 1].

    2022: s_k = sum over i = 1..5 of i cos((i + 1) x_k + 10 i).
    op_gfn: s_k = sum over i = 1..5 of i cos((i + 1) (-1.5 x_k) + i), value (s_0 s_1 + 186.8) / 397.
    """

    name = "shubert"
    source = "Jain et al. 2023 (2022 branch) and Chen and Mauch 2024, HyperGrid; Shubert 1972"

    def __init__(self, variant: Variant = "2022", *, worst: float = 0.0, best: float = 1.0) -> None:
        self.variant = known_variant(variant)
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"variant": variant}

    def formula(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        i = torch.arange(1, 6, dtype=x.dtype)
        scale, phase = (1.0, 10 * i) if self.variant == "2022" else (-1.5, i)
        product = (i * torch.cos((i + 1) * scale * x[..., None] + phase)).sum(-1).prod(-1)
        if self.variant == "op_gfn":
            return (product + 186.8) / 397
        low, high = -12.58133095975989, 12.85231572911876
        return (product - low) / (high - low)


@final
class Beale(PointObjective):
    """Beale's function, a sum of three squares, scaled to [0, 1]; as published, larger is better.

    2022: (raw - 4.3699...) / (38.703125 - 4.3699...). op_gfn: raw / 38.8.
    """

    name = "beale"
    source = "Jain et al. 2023 (2022 branch) and Chen and Mauch 2024, HyperGrid; Beale 1958"

    def __init__(self, variant: Variant = "2022", *, worst: float = 0.0, best: float = 1.0) -> None:
        self.variant = known_variant(variant)
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"variant": variant}

    def formula(self, x: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        a, b = x.unbind(-1)
        raw = (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2
        if self.variant == "op_gfn":
            return raw / 38.8
        low, high = 4.369943360497595, 38.703125
        return (raw - low) / (high - low)


@final
class Corners(PointObjective):
    """Plateaus near the corners of [-1, 1]^d, any d: r0 + r1 [all |x_i| > 1/2] + r2 [all 0.6 < |x_i| < 0.8]."""

    name = "corners"
    source = "Bengio et al. 2021, HyperGrid"
    dimension = None

    def __init__(
        self, r0: float = 1e-3, r1: float = 0.5, r2: float = 2.0, *, worst: float = 0.0, best: float | None = None
    ) -> None:
        if min(r0, r1, r2) < 0 or r0 + r1 + r2 <= 0:
            raise ConfigError(f"expected plateaus r0, r1, r2 >= 0 that are not all 0, got {r0}, {r1} and {r2}")
        self.r0, self.r1, self.r2 = float(r0), float(r1), float(r2)
        self.worst, self.best = float(worst), float(r0 + r1 + r2 if best is None else best)
        self.parameters = {"r0": self.r0, "r1": self.r1, "r2": self.r2}

    def formula(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        far = x.abs()
        plateau = (far > 0.5).all(-1).to(x.dtype)
        ring = ((far > 0.6) & (far < 0.8)).all(-1).to(x.dtype)
        return self.r0 + self.r1 * plateau + self.r2 * ring


def known_variant(variant: str) -> str:
    """The variant; raises `ConfigError` for a name that was not published."""
    if variant not in ("2022", "op_gfn"):
        raise ConfigError(f"expected the variant '2022' or 'op_gfn' of a hypergrid objective, got {variant!r}")
    return variant
