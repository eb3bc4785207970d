"""The loop of every diffusion sampler, written once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import betainc
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion.guidance import Guidance
from samplers.diffusion.product import Fields, ProductSDE, Score, size
from samplers.diffusion.solver import Solver, predicted

Spacing = float | tuple[float, float]
"""how times are spaced, see `times`"""
SQUARES = 0.2
"""share of times that are squares of evenly spaced numbers whatever the others follow, so that there are some near 0"""


@final
class SelfConditioned:
    """A score of flat fields that keeps the clean fields it predicted last (Tweedie), to be told them in the next step.

    `integrate` puts them among the fields as `last_<name>` (Chen et al. 2023, Analog Bits, section 3.2).

    Args:
        process: of the fields.
        score: one that reads these entries.
    """

    def __init__(self, process: ProductSDE, score: Score) -> None:
        self.process, self.score = process, score
        self.last: Fields = {}

    def __call__(self, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        slope = self.score(fields, t)
        clean = predicted(self.process, slope, fields, t)
        self.last = {f"last_{name}": value for name, value in clean.items()}
        return slope


def times(steps: int, *, start: float = 1.0, end: float = 1e-4, spacing: Spacing = 1.0) -> Float[Tensor, " s"]:
    """`steps` times from start to end, and 0: as many intervals as steps (Jo et al. 2022).

    Their roots of order `spacing` are evenly spaced: 1 spaces the times themselves, more puts more of them near 0. With
    two numbers a and b four fifths of them are quantiles of Beta(a, b), so that most steps are taken where most is
    decided (the rest are squares of evenly spaced ones).
    """
    if steps < 1 or not 0 < end < start <= 1 or not is_spacing(spacing):
        raise ConfigError(
            "expected steps of at least 1, 0 < end < start <= 1 and a spacing above 0 (or two numbers above 0), got "
            f"{steps}, {end}, {start} and {spacing}"
        )
    if steps == 1:
        return torch.tensor([start, 0.0])
    if isinstance(spacing, Sequence):
        return torch.cat([quantiles(steps, start, end, *spacing), torch.zeros(1)])
    grid = torch.linspace(start ** (1 / spacing), end ** (1 / spacing), steps)
    return torch.cat([grid**spacing, torch.zeros(1)])


def is_spacing(spacing: object) -> bool:
    """Whether times can be spaced so: a number above 0, or two of them."""
    numbers = spacing if isinstance(spacing, tuple | list) and len(spacing) == 2 else [spacing]
    return all(isinstance(item, int | float) and 0 < item < float("inf") for item in numbers)


def quantiles(steps: int, start: float, end: float, a: float, b: float) -> Float[Tensor, " s"]:
    """Falling times, evenly spaced by the share of Beta(a, b) and of squares of uniform numbers below them."""
    fine = np.linspace(0, 1, 20_001) ** 2
    below = (1 - SQUARES) * betainc(a, b, fine) + SQUARES * np.sqrt(fine)
    first, last = np.interp([start, end], fine, below)
    grid = torch.from_numpy(np.interp(np.linspace(first, last, steps), below, fine)).float()
    grid[0], grid[-1] = start, end
    return grid


@torch.no_grad()
def integrate(
    process: ProductSDE,
    score: Score,
    solver: Solver,
    fields: Fields,
    grid: Float[Tensor, " s"],
    *,
    guidance: Guidance | None = None,
    generator: torch.Generator | None = None,
) -> Fields:
    """Fields at the first time of a falling grid, taken to its last; the last step ends without its noise.

    Str2Str's sampler is `perturb(x_0, T)` followed by this from T; generation is `prior` followed by this from 1.
    """
    if len(grid) < 2 or not bool((grid[1:] < grid[:-1]).all()):
        raise ConfigError(f"expected a grid of at least 2 falling times, got {grid.tolist()[:5]}")
    device = next(iter(fields.values())).device
    grid = grid.to(device)
    directed = score if guidance is None else guidance.tilt(process, score)
    memory: Any = None
    for now, then in pairwise(grid):
        t, t_next = (time.expand(size(fields)) for time in (now, then))
        step = solver.step(process, directed, fields, t, t_next, generator=generator, memory=memory)
        fields, mean, memory = step.fields, step.mean, step.memory
        if isinstance(score, SelfConditioned):
            fields, mean = {**fields, **score.last}, {**mean, **score.last}
        if guidance is not None:
            fields, mean, memory = guidance.reweigh(process, directed, fields, mean, memory, t_next, generator)
    return mean
