"""What the denoiser is trained on (Lu et al. 2024; Yim et al. 2023)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import atoms_of
from samplers.diffusion import Fields, ProductSDE
from samplers.diffusion.sde import over
from samplers.str2str.network import Frames
from samplers.str2str.process import NM, implied_score

FINE = 0.25
"""losses of atoms count below this time, with this weight"""
NEAR = 6.0
"""Å within which pairs of atoms count, by their true distance"""


class Losses(NamedTuple):
    """Per item: the sum that is minimised, and its parts."""

    total: Float[Tensor, " b"]
    translations: Float[Tensor, " b"]
    rotations: Float[Tensor, " b"]
    atoms: Float[Tensor, " b"]
    distances: Float[Tensor, " b"]


def losses(sde: ProductSDE, clean: Fields, noisy: Fields, predicted: Frames, t: Float[Tensor, " b"]) -> Losses:
    """L_trans + L_rot + 1[t < 1/4] (L_atoms + L_distances) / 4, over the residues that exist and move.

    L_trans is in nm^2, L_rot compares scores scaled to unit variance, L_atoms (N, CA, C, O, CB) and L_distances are in
    Å^2; the last is 0 where it does not count. Structures are not aligned first: the network is equivariant.
    """
    mask = (clean["exists"] & clean["moves"]).to(t.dtype)
    count = mask.sum(1).clamp(min=1)
    shift = (clean["translations"] - predicted.translations).square().sum(-1)
    translations = (shift * mask).sum(1) / count
    truth = Frames(clean["rotations"], clean["translations"], clean["psi"])
    aim = implied_score(sde, noisy, truth, t)["rotations"]
    found = implied_score(sde, noisy, predicted, t)["rotations"]
    weight = sde.sdes["rotations"].weight(t)
    rotations = weight * ((aim - found).square().sum(-1) * mask).sum(1) / count
    right, made = _atoms(truth), _atoms(predicted)
    atoms = ((right - made).square().sum((-1, -2)) * mask).sum(1) / (5 * count)
    is_fine = t < FINE
    fine, distances = FINE * is_fine.to(t.dtype), torch.zeros_like(atoms)
    if bool(is_fine.any()):
        near = near_distances(right[is_fine], made[is_fine], clean["exists"][is_fine].to(t.dtype))
        distances = distances.index_put((is_fine.nonzero()[:, 0],), near)
    return Losses(translations + rotations + fine * (atoms + distances), translations, rotations, atoms, distances)


def _atoms(structure: Frames) -> Float[Tensor, "b r 5 3"]:
    return atoms_of(structure.rotations, structure.translations / NM, structure.psi)


def near_distances(
    right: Float[Tensor, "b r a 3"], made: Float[Tensor, "b r a 3"], exists: Float[Tensor, "b r"]
) -> Float[Tensor, " b"]:
    """The mean squared error of distances that are below 6 Å in the true structure, Å^2 (an atom and itself aside)."""
    flat_right, flat_made = right.flatten(1, 2), made.flatten(1, 2)
    there = exists.repeat_interleave(right.shape[2], 1)
    truth = _distances(flat_right)
    near = (truth < NEAR).to(truth.dtype) * over(there, truth[:, :, :1]) * there[:, None]
    error = (truth - _distances(flat_made)).square() * near
    return error.sum((1, 2)) / (near.sum((1, 2)) - there.sum(1)).clamp(min=1)


def _distances(points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n n"]:
    """Distances with a gradient (of zero) also for an atom and itself."""
    square = (points[:, :, None] - points[:, None]).square().sum(-1)
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
