"""How conformations are drawn: from the input to a noise time and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.domain.backbone import Backbone
from mogen.errors import ConfigError
from samplers.diffusion import Fields, Guidance, integrate
from samplers.str2str.process import (
    EndsAtPrediction,
    Predict,
    PredictedScore,
    atoms_of_fields,
    centre_of,
    fields_of,
    from_prior,
    grid_of,
    perturbed,
    process,
    solver_of,
)
from samplers.str2str.steering import mending

STARTS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
"""the published noise times, which conformations take in turn"""


@dataclass(frozen=True)
class Protocol:
    """How conformations are drawn.

    Args:
        starts: noise times T the input is taken to, in turn; 1 with `is_prior` for plain generation.
        steps: intervals from T to 0.01; the schedule str2str_released always takes int(1000 T) - 1.
        method: euler, heun and dpm follow the probability flow, sde and stochastic_heun have noise.
        schedule: exact, or str2str_released: the wrong step length of the released code, for comparison.
        noise_scale: what noise is multiplied by on the way back.
        self_conditioning: whether the network sees its prediction before.
        is_prior: start from pure noise instead of the noisy input; only the chain's length and numbers are used.
        batch: replicas denoised together.
        repair: how much of a clash or broken bond in a prediction on the way is mended before it is used (a step along
            the gradient of half the squared excess), 0 for not at all; the last prediction is always the network's own.
        precision: float32, or bf16: matrix products in bfloat16, geometry in float32.
    """

    starts: tuple[float, ...] = STARTS
    steps: int = 50
    method: str = "heun"
    schedule: str = "exact"
    noise_scale: float = 1.0
    self_conditioning: bool = True
    is_prior: bool = False
    batch: int = 16
    repair: float = 0.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not self.starts or self.batch < 1:
            raise ConfigError(f"expected at least one start time and a batch of at least 1, got {self}")
        if not self.repair >= 0:
            raise ConfigError(f"expected a repair of at least 0, got {self.repair}")
        if self.precision not in ("float32", "bf16"):
            raise ConfigError(f"expected the precision float32 or bf16, got {self.precision!r}")
        for start in self.starts:
            grid_of(self.schedule, start, self.steps)
            solver_of(self.method, self.schedule, start, self.noise_scale)


@torch.no_grad()
def conformations(
    predict: Predict,
    backbone: Backbone,
    start: float,
    n: int,
    protocol: Protocol,
    *,
    fixed: Sequence[int] = (),
    guidance: Guidance | None = None,
    generator: torch.Generator | None = None,
) -> tuple[list[Backbone], int]:
    """n conformations from one noise time, and the evaluations of the network each took.

    Fixed residues (by place in the chain, from 0) keep the input's coordinates, bit for bit.
    """
    found: list[Backbone] = []
    evaluations = 0
    for first in range(0, n, protocol.batch):
        count = min(protocol.batch, n - first)
        clean = fields_of([backbone] * count, [fixed] * count)
        ended, evaluations = denoised(predict, clean, start, protocol, guidance=guidance, generator=generator)
        found += backbones_of(backbone, ended)
    return found, evaluations


@torch.no_grad()
def denoised(
    predict: Predict,
    clean: Fields,
    start: float,
    protocol: Protocol,
    *,
    noisy: Fields | None = None,
    guidance: Guidance | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Fields, int]:
    """Clean fields taken to a noise time (or noisy ones that are given) and back, and the evaluations each took.

    A guidance takes the place of the protocol's repair.
    """
    guidance = guidance if guidance is not None else mending(protocol.repair)
    sde, t = process(), torch.full((len(clean["exists"]),), start)
    score = PredictedScore(sde, predict, self_conditioning=protocol.self_conditioning)
    if noisy is None and protocol.is_prior:
        noisy = from_prior(sde, clean, generator=generator)
    elif noisy is None:
        noisy = perturbed(sde, clean, t, generator=generator)
    if protocol.self_conditioning:
        score.clean(noisy, t)
    solver = solver_of(protocol.method, protocol.schedule, start, protocol.noise_scale)
    grid = grid_of(protocol.schedule, start, protocol.steps)
    ended = integrate(sde, score, EndsAtPrediction(solver, score), noisy, grid, guidance=guidance, generator=generator)
    return ended, score.evaluations


def grouped(clean: Fields, group: Int[Tensor, " b"]) -> Fields:
    """Fields whose items belong to groups of particles, without weights so far."""
    zero = torch.zeros(len(group))
    return {**clean, "group": group, "log_weight": zero, "worth": zero}


def backbones_of(backbone: Backbone, fields: Fields) -> list[Backbone]:
    """The conformations that fields hold, where the input was."""
    return placed_back(backbone, atoms_of_fields(fields)[:, :, :4], fields["moves"])


def placed_back(backbone: Backbone, atoms: Float[Tensor, "b r 4 3"], moves: Tensor) -> list[Backbone]:
    """Backbones where the input was, with the input's own atoms in fixed residues."""
    atoms = atoms + centre_of(backbone)
    whole = torch.where(moves[..., None, None], atoms, backbone.coordinates)
    return [backbone.moved(item) for item in whole]
