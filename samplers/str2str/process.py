"""Noisy residue frames, the score that a predicted clean structure implies, and the steps of sampling.

Fields: `rotations` (b x r x 3 x 3) and `translations` (b x r x 3, nm) are diffused; `exists`, `moves`, `positions`,
`seen` (the CA positions predicted before, nm) and `psi` are context. Coordinates have their centre at the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone, atoms_of, batch, frames, psi
from mogen.errors import ConfigError
from samplers.diffusion import VP, DPMSolverPlusPlus, Fields, Heun, ProductSDE, RotationVE, Score, Solver, Step
from samplers.diffusion.sde import over
from samplers.diffusion.solver import EulerMaruyama, flow, moved_by, widths
from samplers.str2str.network import Denoiser, Frames

NM = 0.1
"""nm per ångström"""
EARLIEST = 0.01
"""the smallest time of training, and the last of sampling"""
Predict = Callable[[Fields, Tensor], Frames]
"""(noisy fields, times) -> clean frames"""


def process() -> ProductSDE:
    """VP on translations in nm, Brownian motion on rotations; what is fixed or does not exist never moves."""
    return ProductSDE({"translations": VP(0.1, 20.0), "rotations": RotationVE(0.1, 1.5)}, moving)


def moving(fields: Fields) -> dict[str, Tensor]:
    """1 where a residue exists and is not fixed, for tangents."""
    mask = (fields["moves"] & fields["exists"]).to(fields["translations"].dtype)[..., None]
    return {"translations": mask, "rotations": mask}


def fields_of(backbones: Sequence[Backbone], fixed: Sequence[Sequence[int]] | None = None) -> dict[str, Tensor]:
    """Clean fields of backbones, padded to the longest, each with its CA centre at the origin."""
    atoms, positions, mask = batch(backbones)
    exists = mask.bool()
    moves = torch.ones_like(exists)
    for row, places in enumerate(fixed or ()):
        moves[row, list(places)] = False
    centre = (atoms[:, :, 1] * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None].clamp(min=1)
    eye = torch.eye(3).expand(*exists.shape, 3, 3)
    rotations, places_nm = frames(torch.where(exists[..., None, None], atoms - centre[:, :, None], atoms))
    return {
        "rotations": torch.where(exists[..., None, None], rotations, eye).contiguous(),
        "translations": NM * places_nm * mask[..., None],
        "exists": exists,
        "moves": moves,
        "positions": positions,
        "seen": torch.zeros(*exists.shape, 3),
        "psi": psi(atoms) * mask[..., None],
    }


def centre_of(backbone: Backbone) -> Float[Tensor, " 3"]:
    """The CA centre, Å."""
    return backbone.ca.mean(0)


def atoms_of_fields(fields: Fields) -> Float[Tensor, "b r 5 3"]:
    """N, CA, C, O and CB in Å."""
    return atoms_of(fields["rotations"], fields["translations"] / NM, fields["psi"])


def perturbed(
    sde: ProductSDE, fields: Fields, t: Float[Tensor, " b"], *, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Noisy fields at t; fixed residues stay exactly where they are."""
    return kept(fields, sde.perturb(fields, t, generator=generator).fields)


def from_prior(sde: ProductSDE, fields: Fields, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
    """Pure noise in the place of every residue that is not fixed."""
    return kept(fields, sde.prior(fields, generator=generator))


def kept(fields: Fields, changed: Fields) -> dict[str, Tensor]:
    """The changed frames where residues exist and move, the given ones elsewhere."""
    is_moving = (fields["moves"] & fields["exists"])[..., None]
    return {
        **changed,
        "translations": torch.where(is_moving, changed["translations"], fields["translations"]),
        "rotations": torch.where(is_moving[..., None], changed["rotations"], fields["rotations"]),
    }


def centred(fields: Fields, translations: Float[Tensor, "b r 3"]) -> Float[Tensor, "b r 3"]:
    """Translations with their mean over existing residues at the origin, where nothing is fixed.

    The data has its centre there, but an equivariant network cannot know it.
    """
    exists = fields["exists"].to(translations.dtype)[..., None]
    mean = (translations * exists).sum(1, keepdim=True) / exists.sum(1, keepdim=True).clamp(min=1)
    is_free = (fields["moves"] | ~fields["exists"]).all(1)[:, None, None]
    return torch.where(is_free, translations - mean, translations)


def network_prediction(network: Denoiser, *, bf16: bool = False) -> Predict:
    """The clean frames a network predicts, centred."""

    def predict(fields: Fields, t: Tensor) -> Frames:
        with torch.autocast(fields["translations"].device.type, torch.bfloat16, enabled=bf16):
            found = network(
                fields["rotations"],
                fields["translations"],
                t,
                exists=fields["exists"],
                moves=fields["moves"],
                positions=fields["positions"],
                seen=fields["seen"],
            )
        return Frames(found.rotations, centred(fields, found.translations), found.psi)

    return predict


@final
class PredictedScore:
    """The score that predicted clean frames imply: the conditional score given them.

    The CA positions of the prediction are remembered in the field `seen`, in place, for the next evaluation
    (self-conditioning); where particles are resampled, what they have seen goes with them.
    """

    def __init__(self, sde: ProductSDE, predict: Predict, *, self_conditioning: bool = True) -> None:
        self.sde, self.predict, self.self_conditioning = sde, predict, self_conditioning
        self.evaluations = 0
        """network evaluations so far"""

    def clean(self, fields: Fields, t: Float[Tensor, " b"]) -> Frames:
        """The predicted clean frames."""
        found = self.predict(fields, t)
        self.evaluations += 1
        if self.self_conditioning:
            fields["seen"].copy_(found.translations.detach())
        return found

    def __call__(self, fields: Fields, t: Float[Tensor, " b"]) -> dict[str, Tensor]:
        return implied_score(self.sde, fields, self.clean(fields, t), t)


def implied_score(sde: ProductSDE, fields: Fields, clean: Frames, t: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """-(x_t - a x_0) / v on translations, the IGSO(3) score of Log(R_0^T R_t) on rotations."""
    scale, std = sde.sdes["translations"].marginal(t)
    moved = fields["translations"] - over(scale, fields["translations"]) * clean.translations
    turning = sde.sdes["rotations"]
    assert isinstance(turning, RotationVE)  # `process` made it
    return {
        "translations": -moved / over(std, moved) ** 2,
        "rotations": turning.conditional_score(fields["rotations"], clean.rotations, t),
    }


@final
class EndsAtPrediction(Solver):
    """A solver whose step to t = 0 is the predicted clean structure itself.

    Args:
        solver: the method of all other steps.
        score: where the prediction comes from.
    """

    def __init__(self, solver: Solver, score: PredictedScore) -> None:
        self.solver, self.score, self.evaluations = solver, score, solver.evaluations

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        if bool((t_next > 0).all()):
            return self.solver.step(process, score, fields, t, t_next, generator=generator, memory=memory)
        clean = self.score.clean(fields, t)
        ended = {**fields, "rotations": clean.rotations, "translations": clean.translations}
        ended = {**kept(fields, ended), "psi": clean.psi}
        return Step(ended, ended)


@final
class StochasticHeun(Solver):
    """The reverse process with the average of the drifts at both ends of a step, and one noise for both.

    Args:
        noise_scale: what the noise is multiplied by.
    """

    evaluations = 2

    def __init__(self, noise_scale: float = 1.0) -> None:
        self.noise_scale = noise_scale

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del memory
        first = flow(process, score(fields, t), fields, t, t_next, 1.0)
        noise = process.noise(fields, generator=generator)
        width = widths(process, t, t_next, self.noise_scale)
        ahead = moved_by(process, fields, first, noise, width).fields
        last = flow(process, score(ahead, t_next), ahead, t_next, 2 * t_next - t, 1.0)
        mean = {name: (first[name] + last[name]) / 2 for name in first}
        return moved_by(process, fields, mean, noise, width)


@final
class FastTranslations(Solver):
    """DPM-Solver++(2M) on translations and Euler's probability flow on rotations, from one evaluation a step."""

    evaluations = 1

    def __init__(self) -> None:
        self.translations = DPMSolverPlusPlus()

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del generator
        slope = score(fields, t)
        flat = ProductSDE({"translations": process.sdes["translations"]}, process.mask)
        made = self.translations.step(flat, lambda *_: slope, fields, t, t_next, memory=memory)
        turn = flow(process, slope, fields, t, t_next, 0.5)["rotations"]
        moved = {**process.move(fields, {"rotations": turn}), "translations": made.fields["translations"]}
        return Step(moved, moved, made.memory)


@final
class Released(Solver):
    """The update of the released Str2Str code, kept for comparison: it is not the process it names.

    Every step is as long as 1 / int(1000 T) though times are 1/1000 apart (4 times too long at T = 0.25), the
    probability flow has half the linear drift, and the centre is taken to the origin after every step.

    Args:
        start: T, the time sampling starts from.
        noise_scale: what the noise is multiplied by.
        is_deterministic: the probability flow.
    """

    evaluations = 1

    def __init__(self, start: float, noise_scale: float = 1.0, is_deterministic: bool = True) -> None:
        self.length, self.noise_scale = 1 / int(1000 * start), noise_scale
        self.is_deterministic = is_deterministic

    def step(
        self,
        process: ProductSDE,
        score: Score,
        fields: Fields,
        t: Float[Tensor, " b"],
        t_next: Float[Tensor, " b"],
        *,
        generator: torch.Generator | None = None,
        memory: Any = None,
    ) -> Step:
        del memory
        slope, after = score(fields, t), t - self.length
        mean = flow(process, slope, fields, t, after, 1.0)
        if self.is_deterministic:
            half = {name: 0.5 * value for name, value in mean.items()}
            return self._ended(process.move(fields, half))
        noise = process.noise(fields, generator=generator)
        return self._ended(moved_by(process, fields, mean, noise, widths(process, t, after, self.noise_scale)).fields)

    @staticmethod
    def _ended(fields: Fields) -> Step:
        centre = {**fields, "translations": centred(fields, fields["translations"])}
        return Step(centre, centre)


Method = Literal["euler", "heun", "dpm", "sde", "stochastic_heun"]
Schedule = Literal["exact", "str2str_released"]


def solver_of(method: str, schedule: str, start: float, noise_scale: float) -> Solver:
    """The solver a name stands for; euler, heun and dpm follow the probability flow, the others have noise."""
    if schedule == "str2str_released":
        if method not in ("euler", "sde"):
            raise ConfigError(f"expected euler or sde with the schedule str2str_released, got {method!r}")
        return Released(start, noise_scale, is_deterministic=method == "euler")
    if schedule != "exact":
        raise ConfigError(f"expected the schedule exact or str2str_released, got {schedule!r}")
    solvers: dict[str, Callable[[], Solver]] = {
        "euler": lambda: EulerMaruyama(is_deterministic=True),
        "heun": Heun,
        "dpm": FastTranslations,
        "sde": lambda: EulerMaruyama(noise_scale=noise_scale),
        "stochastic_heun": lambda: StochasticHeun(noise_scale),
    }
    if method not in solvers:
        raise ConfigError(f"expected a method among {', '.join(solvers)}, got {method!r}")
    return solvers[method]()


def grid_of(schedule: str, start: float, steps: int) -> Float[Tensor, " s"]:
    """Falling times from start to 0.01, then 0, where the prediction ends it.

    The released schedule always has int(1000 start) times.
    """
    if not EARLIEST < start <= 1:
        raise ConfigError(f"expected a start time above {EARLIEST} and at most 1, got {start}")
    if steps < 1:
        raise ConfigError(f"expected at least 1 step, got {steps}")
    count = int(1000 * start) if schedule == "str2str_released" else steps + 1
    return torch.cat((torch.linspace(start, EARLIEST, count), torch.zeros(1)))
