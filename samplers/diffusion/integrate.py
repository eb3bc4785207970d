"""The loop of every diffusion sampler, written once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion.guidance import Guidance
from samplers.diffusion.product import Fields, ProductSDE, Score, size
from samplers.diffusion.solver import Solver, predicted


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


def times(steps: int, *, start: float = 1.0, end: float = 1e-4, spacing: float = 1.0) -> Float[Tensor, " s"]:
    """`steps` times from start to end, and 0: as many intervals as steps (Jo et al. 2022).

    Their roots of order `spacing` are evenly spaced: 1 spaces the times themselves, more puts more of them near 0.
    """
    if steps < 1 or not 0 < end < start <= 1 or not spacing > 0:
        raise ConfigError(
            "expected steps of at least 1, 0 < end < start <= 1 and a spacing above 0, got "
            f"{steps}, {end}, {start} and {spacing}"
        )
    grid = torch.linspace(start ** (1 / spacing), end ** (1 / spacing), steps) if steps > 1 else torch.tensor([start])
    return torch.cat([grid**spacing if steps > 1 else grid, torch.zeros(1)])


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
