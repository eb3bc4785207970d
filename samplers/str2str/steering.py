"""Several objectives at once steer conformations: gradients on predicted clean frames, and particles for the rest.

Every evaluation of the network predicts the clean structure. A push moves that prediction along the objectives'
gradients before the score is made of it, so that what follows is a score again and any solver takes it; the last
prediction is never pushed, and near t = 0, where the network would only undo it, nothing is. Particles of one
preference are weighed by what their predictions are worth, and drawn anew (`ParticleSteering`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.domain.conformation import kabsch
from mogen.errors import ConfigError
from mogen.objective import DifferentiableObjective, unclamped
from mogen.preference import Scalarization
from samplers.diffusion import Fields, Guidance, ParticleSteering, ProductSDE, Score
from samplers.diffusion.sde import over
from samplers.str2str.loss import CLOSE
from samplers.str2str.network import Frames
from samplers.str2str.process import NM, PredictedScore, atoms_of_fields, implied_score

ARM = 1.5
"""Å from CA to C: how far an atom moves when its frame turns by one radian"""
CA_CA, C_N = 3.80, 1.33
"""Å: neighbouring CA, and C to the next N"""

Worth = Callable[[Fields], Float[Tensor, " b"]]


@dataclass(frozen=True)
class Steering:
    """How conformations are steered.

    Args:
        particles: of each preference.
        groups: preferences steered together.
        rounds: at most so many of them; the budget usually ends earlier.
        push: how far a prediction is moved along gradients, in standard deviations of the noise it is made from.
        longest: the longest push, Å (root mean square over residues).
        end: the time at and below which nothing is pushed.
        repair: how much of a clash or broken bond in a prediction is mended before it is used, 0 for not at all.
        strength: how much a worth of 1 counts, as a logarithm of a particle's weight.
        looks: how often particles are weighed on the way, at most.
        threshold: share of effective particles below which a group is drawn anew.
        near: the noise time from which `sample` comes back, started at the best conformation measured before.
    """

    particles: int = 4
    groups: int = 4
    rounds: int = 10_000
    push: float = 2.0
    longest: float = 5.0
    end: float = 0.05
    repair: float = 0.0
    strength: float = 20.0
    looks: int = 4
    threshold: float = 0.5
    near: float = 0.08

    def __post_init__(self) -> None:
        for name in ("particles", "groups", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"expected {name} of at least 1 in steering, got {getattr(self, name)}")
        for name in ("push", "longest", "end", "repair", "strength", "looks", "threshold"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"expected {name} of at least 0 in steering, got {getattr(self, name)}")
        if not 0.01 < self.near <= 1:
            raise ConfigError(f"expected near above 0.01 and at most 1 in steering, got {self.near}")


@final
class PushedScore:
    """The score of predictions that were moved along gradients."""

    def __init__(self, score: PredictedScore, push: Callable[[Fields, Frames, Tensor], Frames]) -> None:
        self.score, self.push, self.sde = score, push, score.sde

    def clean(self, fields: Fields, t: Float[Tensor, " b"]) -> Frames:
        """The predicted clean frames after the push."""
        found = self.push(fields, self.score.clean(fields, t), t)
        if self.score.self_conditioning:
            fields["seen"].copy_(found.translations)
        return found

    def __call__(self, fields: Fields, t: Float[Tensor, " b"]) -> dict[str, Tensor]:
        return implied_score(self.sde, fields, self.clean(fields, t), t)


@final
class CoordinateGuidance(Guidance):
    """Pushes predictions along the gradients of objectives, each item by the preference of its group.

    Each objective's gradient (of the unclamped value, along tangents, in Å with a radian counted as 1.5 Å) is scaled
    to one length per structure and weighted by the preference; what has reached its best pulls no more.

    Args:
        objectives: one per place of the preference; None where an objective has no gradient.
        preference: of every group (k x m).
        options: how hard, and until when.
    """

    def __init__(
        self,
        objectives: Sequence[DifferentiableObjective[Any] | None],
        preference: Float[Tensor, "k m"],
        options: Steering,
    ) -> None:
        self.smooth = {place: item for place, item in enumerate(objectives) if item is not None}
        self.preference, self.options = preference, options
        self.gradients = 0
        """gradients of single structures so far"""

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        if not isinstance(score, PredictedScore):
            raise ConfigError(f"expected a score that predicts clean frames, got a {type(score).__name__}")
        return PushedScore(score, lambda fields, clean, t: self.pushed(process, fields, clean, t))

    def pushed(self, process: ProductSDE, fields: Fields, clean: Frames, t: Float[Tensor, " b"]) -> Frames:
        """Predicted frames after a step along the gradients."""
        if self.options.push and self.smooth and bool((t > self.options.end).any()):
            scale, std = process.sdes["translations"].marginal(t)
            far = (self.options.push * std / (scale * NM)).clamp(max=self.options.longest)
            far = torch.where(t > self.options.end, far, 0.0)
            clean = carried(fields, clean, moved(process, fields, clean, self.pull(process, fields, clean, far)))
        if self.options.repair:
            atoms, steps = loose(process, fields, clean)
            with torch.enable_grad():
                mended = -breaks(atoms, fields)
            slope = gradient(process, fields, mended, steps)
            clean = moved(process, fields, clean, {name: self.options.repair * part for name, part in slope.items()})
        return clean

    def pull(
        self, process: ProductSDE, fields: Fields, clean: Frames, far: Float[Tensor, " b"]
    ) -> dict[str, Float[Tensor, "b r 3"]]:
        """The sum over objectives of steps along their gradients, weighted by each group's preference.

        A step is `far` Å long, or as long as it takes to reach the best if the value went on as it begins.
        """
        atoms, steps = loose(process, fields, clean)
        total = {name: torch.zeros_like(step) for name, step in steps.items()}
        with torch.enable_grad():
            values = {place: unclamped(item, atoms[:, :, :4]) for place, item in self.smooth.items()}
        count = (fields["moves"] & fields["exists"]).sum(1).clamp(min=1)
        for place, value in values.items():
            slope = gradient(process, fields, value, steps)
            self.gradients += len(value)
            weight = self.preference[fields["group"].cpu(), place].to(atoms)
            length = rms(fields, slope)
            reach = (1 - value.detach()).to(atoms).clamp(min=0) / (count * length).clamp(min=1e-9)
            share = torch.where(length > 1e-9, weight * torch.minimum(far, reach) / length.clamp(min=1e-9), 0.0)
            share = torch.nan_to_num(share)
            total = {name: total[name] + over(share, part) * part for name, part in slope.items()}
        return total


def loose(
    process: ProductSDE, fields: Fields, clean: Frames
) -> tuple[Float[Tensor, "b r 5 3"], dict[str, Float[Tensor, "b r 3"]]]:
    """Atoms (Å) of frames after steps of zero along their tangents, and these steps, which gradients are taken of."""
    given = {**fields, "rotations": clean.rotations, "translations": clean.translations, "psi": clean.psi}
    with torch.enable_grad():
        steps = {name: torch.zeros_like(clean.translations).requires_grad_() for name, _ in process.items()}
        return atoms_of_fields(process.move(given, steps)), steps


def gradient(
    process: ProductSDE, fields: Fields, value: Float[Tensor, " b"], steps: Fields
) -> dict[str, Float[Tensor, "b r 3"]]:
    """The gradient along tangents, per Å and per 1/1.5 radian; zero where it is not finite or nothing moves."""
    found = torch.autograd.grad(value, list(steps.values()), torch.ones_like(value), retain_graph=True)
    unit = {"translations": NM, "rotations": 1 / ARM}
    finite = {
        name: torch.nan_to_num(part * unit[name], nan=0.0, posinf=0.0, neginf=0.0)
        for name, part in zip(steps, found, strict=True)
    }
    return dict(process.masked(fields, finite))


def moved(process: ProductSDE, fields: Fields, clean: Frames, step: Fields) -> Frames:
    """Frames after a step in Å, and in 1/1.5 radian."""
    given = {**fields, "rotations": clean.rotations, "translations": clean.translations}
    tangent = {"translations": NM * step["translations"], "rotations": step["rotations"] / ARM}
    ended = process.move(given, tangent)
    return Frames(ended["rotations"], ended["translations"], clean.psi)


def carried(fields: Fields, before: Frames, after: Frames, *, reach: int = 2) -> Frames:
    """Frames that also turn as the CA of their neighbours up to two residues away did.

    Objectives of CA alone have no gradient along rotations; a chain bent without its peptide planes is none.
    """
    r = before.translations.shape[1]
    place = torch.arange(r, device=before.translations.device)[:, None] + torch.arange(-reach, reach + 1)
    near = place.clamp(0, r - 1)
    along = fields["positions"][:, near] - fields["positions"][:, :, None]
    is_near = (fields["exists"][:, near] & (along.abs() <= reach) & (place == near)).to(before.translations)[..., None]
    centre = [
        (is_near * x[:, near]).sum(2, keepdim=True) / is_near.sum(2, keepdim=True).clamp(min=1)
        for x in (before.translations, after.translations)
    ]
    old, new = (
        is_near * (x[:, near] - middle)
        for x, middle in zip((before.translations, after.translations), centre, strict=True)
    )
    turn = kabsch(old, new)
    is_free = (fields["moves"] & fields["exists"])[..., None, None] & (is_near.sum((2, 3)) >= 3)[..., None, None]
    return after._replace(rotations=torch.where(is_free, turn @ after.rotations, after.rotations))


def rms(fields: Fields, step: Fields) -> Float[Tensor, " b"]:
    """Root mean square over the residues that move."""
    square = step["translations"].square().sum((1, 2)) + step["rotations"].square().sum((1, 2))
    return (square / (fields["moves"] & fields["exists"]).sum(1).clamp(min=1)).sqrt()


def breaks(atoms: Float[Tensor, "b r 5 3"], fields: Fields) -> Float[Tensor, " b"]:
    """Half the squared excess (Å^2) of CA-CA and C-N bonds over 0.1 Å off, and of CA closer than 3.8 Å."""
    exists = fields["exists"].to(atoms.dtype)
    bonded = exists[:, 1:] * exists[:, :-1] * (fields["positions"].diff(dim=1) == 1)
    ca = (atoms[:, 1:, 1] - atoms[:, :-1, 1]).norm(dim=-1) - CA_CA
    peptide = (atoms[:, 1:, 0] - atoms[:, :-1, 2]).norm(dim=-1) - C_N
    off = sum((part.abs() - 0.1).clamp(min=0).square() for part in (ca, peptide))
    there = torch.triu(exists[:, :, None] * exists[:, None], diagonal=2)
    square = (atoms[:, :, None, 1] - atoms[:, None, :, 1]).square().sum(-1)
    inside = (CLOSE - torch.where(there > 0, square, CLOSE**2).sqrt()).clamp(min=0).square()
    return ((off * bonded).sum(1) + (inside * there).sum((1, 2))) / 2


@final
class Steered(Guidance):
    """Gradients and particles together; particles are weighed on the way, never at the end.

    Args:
        push: gradients on predictions.
        particles: weights and resampling.
    """

    def __init__(self, push: CoordinateGuidance, particles: ParticleSteering | None) -> None:
        self.push, self.particles = push, particles

    def tilt(self, process: ProductSDE, score: Score) -> Score:
        return self.push.tilt(process, score)

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
        if self.particles is None or bool((t <= 0).all()):
            return fields, mean, memory
        return self.particles.reweigh(process, score, fields, mean, memory, t, generator)


def steered(
    objectives: Sequence[DifferentiableObjective[Any] | None],
    preference: Float[Tensor, "k m"],
    worth: Worth,
    options: Steering,
    steps: int,
) -> Steered:
    """The guidance of groups of particles over so many steps of a solver."""
    if not options.looks or options.particles == 1:
        return Steered(CoordinateGuidance(objectives, preference, options), None)
    particles = ParticleSteering(
        worth,
        strength=options.strength,
        every=-(-steps // options.looks),
        start=1.0,
        threshold=options.threshold,
        predict=predicted_frames,
    )
    return Steered(CoordinateGuidance(objectives, preference, options), particles)


def mending(repair: float) -> CoordinateGuidance | None:
    """The guidance that only mends predictions; None where nothing is mended."""
    return CoordinateGuidance([], torch.zeros(1, 0), Steering(repair=repair)) if repair else None


def predicted_frames(score: Score, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
    """The clean fields a score predicts; one more evaluation of the network."""
    assert isinstance(score, PushedScore | PredictedScore)
    clean = score.clean(fields, t)
    return {**fields, "rotations": clean.rotations, "translations": clean.translations, "psi": clean.psi}


def worth_of(
    objectives: Sequence[DifferentiableObjective[Any]],
    scalarization: Scalarization,
    preference: Float[Tensor, "k m"],
) -> Worth:
    """What predictions are worth to their group, from coordinates alone; 0 where a value is undefined."""

    def worth(fields: Fields) -> Tensor:
        atoms = atoms_of_fields(fields)[:, :, :4]
        value = torch.stack([unclamped(item, atoms) for item in objectives], 1).nan_to_num(0.0).clamp(0, 1)
        wanted = preference[fields["group"].cpu()].to(value)
        return scalarization(value, wanted)

    return worth


def groups_of(count: int, particles: int) -> Int[Tensor, " b"]:
    """Which group every particle is in."""
    return torch.arange(count).repeat_interleave(particles)
