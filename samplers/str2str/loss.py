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
CLOSE = 3.8
"""Å below which two CA that are no neighbours are taken to clash"""


class Losses(NamedTuple):
    """Per item: the sum that is minimised, and its parts."""

    total: Float[Tensor, " b"]
    translations: Float[Tensor, " b"]
    rotations: Float[Tensor, " b"]
    atoms: Float[Tensor, " b"]
    distances: Float[Tensor, " b"]
    chain: Float[Tensor, " b"]
    clash: Float[Tensor, " b"]


def losses(
    sde: ProductSDE,
    clean: Fields,
    noisy: Fields,
    predicted: Frames,
    t: Float[Tensor, " b"],
    *,
    chain_weight: float = 0.0,
    clash_weight: float = 0.0,
) -> Losses:
    """L_trans + L_rot + 1[t < 1/4] ((L_atoms + L_distances) / 4 + w L_chain + v L_clash), over residues that move.

    L_trans is in nm^2, L_rot compares scores scaled to unit variance, L_atoms (N, CA, C, O, CB) and L_distances are in
    Å^2; the last two are 0 where they do not count. L_chain and L_clash are ours (w = v = 0 is the published loss):
    what is rigid in a peptide unit, and CA that clash. Structures are not aligned first: the network is equivariant.
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
    fine, distances, chain, clash = is_fine.to(t.dtype), *(torch.zeros_like(atoms) for _ in range(3))
    if bool(is_fine.any()):
        where, exists = (is_fine.nonzero()[:, 0],), clean["exists"][is_fine].to(t.dtype)
        distances = distances.index_put(where, near_distances(right[is_fine], made[is_fine], exists))
        if chain_weight:
            bonded = exists[:, 1:] * exists[:, :-1] * (clean["positions"][is_fine].diff(dim=1) == 1)
            chain = chain.index_put(where, peptide_distances(right[is_fine], made[is_fine], bonded))
        if clash_weight:
            clash = clash.index_put(where, clashes(made[is_fine][:, :, 1], exists))
    ours = chain_weight * chain + clash_weight * clash
    total = translations + rotations + fine * (FINE * (atoms + distances) + ours)
    return Losses(total, translations, rotations, atoms, distances, chain, clash)


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


def peptide_distances(
    right: Float[Tensor, "b r a 3"], made: Float[Tensor, "b r a 3"], bonded: Float[Tensor, "b s"]
) -> Float[Tensor, " b"]:
    """Squared errors (Å^2) of the six distances from CA, C and O to the next N and CA, summed, per bond.

    A peptide unit is rigid, so that these distances hold whatever the conformation is.
    """
    error = torch.zeros_like(bonded)
    for here, there in ((1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)):
        truth = (right[:, :-1, here] - right[:, 1:, there]).norm(dim=-1)
        error = error + (truth - (made[:, :-1, here] - made[:, 1:, there]).norm(dim=-1)).square()
    return (error * bonded).sum(1) / bonded.sum(1).clamp(min=1)


def clashes(ca: Float[Tensor, "b r 3"], exists: Float[Tensor, "b r"]) -> Float[Tensor, " b"]:
    """Squares of what CA at least two residues apart are closer than 3.8 Å, summed over the structure (Å^2)."""
    there = torch.triu(exists[:, :, None] * exists[:, None], diagonal=2)
    inside = (CLOSE - _distances(ca)).clamp(min=0).square()
    return (inside * there).sum((1, 2))


def _distances(points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n n"]:
    """Distances with a gradient (of zero) also for an atom and itself."""
    square = (points[:, :, None] - points[:, None]).square().sum(-1)
    return torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
