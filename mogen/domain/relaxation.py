"""A relaxation that closes peptide bonds and moves no CA by more than a stated distance."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone, atoms_of, dihedral, frames

TARGETS = (((2, 0), 1.329), ((1, 0), 2.425), ((2, 1), 2.425), ((1, 1), 3.802))
"""Å within a trans peptide unit: C-N, CA-N, C-CA and CA-CA of the next residue (Engh and Huber 1991)"""
HOLD = 0.02
"""how much a squared displacement of N, CA or C counts beside a squared error of a distance"""
CIS = 2.95
"""Å between the CA of a cis peptide unit"""
CIS_BELOW = 3.4
"""CA closer than this (Å) are taken to be cis, where omega is within 60 degrees of 0 as well"""


def relaxed(backbones: list[Backbone], *, reach: float = 0.3, steps: int = 150, rate: float = 0.03) -> list[Backbone]:
    """Conformations of one chain whose residue frames turned and shifted so that their peptide units become whole.

    Adam minimises the squared errors of four distances in every peptide unit, with N, CA and C of ideal residues that
    are held weakly where they were. A shift is written as reach * u / sqrt(1 + |u|^2), so that no CA can move by
    `reach` (Å) or more. O goes to its place in the peptide plane; residues without a next one keep theirs.
    """
    if not backbones:
        return []
    start = torch.stack([item.coordinates for item in backbones]).double()
    bonded = torch.tensor(backbones[0].is_bonded, dtype=torch.bool)
    rotations, ca = frames(start)
    angle = dihedral(*(start[:, :, i] for i in range(4)))
    psi = -torch.stack((angle.sin(), angle.cos()), -1)
    shift = torch.zeros_like(ca).requires_grad_()
    turn = torch.zeros_like(ca).requires_grad_()
    optimizer = torch.optim.Adam([shift, turn], lr=rate)
    omega = dihedral(start[:, :-1, 1], start[:, :-1, 2], start[:, 1:, 0], start[:, 1:, 1])
    is_cis = ((ca[:, 1:] - ca[:, :-1]).norm(dim=-1) < CIS_BELOW) & (omega.abs() < math.pi / 3)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            atoms = atoms_of(*_moved(rotations, ca, turn, shift, reach), psi)
            away = (atoms[:, :, :3] - start[:, :, :3]).square().sum()
            (strain(atoms, bonded, is_cis).sum() + HOLD * away).backward()
            optimizer.step()
    with torch.no_grad():
        atoms = _with_oxygen(atoms_of(*_moved(rotations, ca, turn, shift, reach), psi)[:, :, :4], bonded)
    return [item.moved(found) for item, found in zip(backbones, atoms, strict=True)]


def strain(atoms: Float[Tensor, "b r a 3"], bonded: Tensor, is_cis: Tensor) -> Float[Tensor, " b"]:
    """The squared errors (Å^2) of the distances of peptide units, C-N counted ten times."""
    total = torch.zeros(len(atoms), dtype=atoms.dtype)
    for (here, there), target in TARGETS:
        aim = torch.where(is_cis, CIS if (here, there) == (1, 1) else target, target)
        error = (atoms[:, :-1, here] - atoms[:, 1:, there]).norm(dim=-1) - aim
        if (here, there) == (2, 1):
            error = torch.where(is_cis, 0.0, error)
        total = total + (10.0 if (here, there) == (2, 0) else 1.0) * (error.square() * bonded).sum(1)
    return total


def _moved(
    rotations: Float[Tensor, "b r 3 3"],
    ca: Float[Tensor, "b r 3"],
    turn: Float[Tensor, "b r 3"],
    shift: Float[Tensor, "b r 3"],
    reach: float,
) -> tuple[Float[Tensor, "b r 3 3"], Float[Tensor, "b r 3"]]:
    """Frames after the turns of quaternions (1, turn) and shifts shorter than `reach`."""
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))
    small = 2 * (cross + cross @ cross) / (1 + turn.square().sum(-1))[..., None, None]
    limit = 0.99 * reach * shift / (1 + shift.square().sum(-1, keepdim=True)).sqrt()
    return rotations + rotations @ small, ca + limit


def _with_oxygen(atoms: Float[Tensor, "b r 4 3"], bonded: Tensor) -> Float[Tensor, "b r 4 3"]:
    """O in the plane of CA, C and the next N, 1.231 Å from C, opposite the bisector of the two bonds."""
    unit = torch.nn.functional.normalize
    to_ca = unit(atoms[:, :-1, 1] - atoms[:, :-1, 2], dim=-1)
    to_n = unit(atoms[:, 1:, 0] - atoms[:, :-1, 2], dim=-1)
    placed = atoms[:, :-1, 2] - 1.231 * unit(to_ca + to_n, dim=-1)
    found = atoms.clone()
    found[:, :-1, 3] = torch.where(bonded[:, None], placed, atoms[:, :-1, 3])
    return found
