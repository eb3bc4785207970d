"""Conformations without a model: noise on backbone torsions, and modes of an elastic network.

Both draw `n` conformations about an input whose mean CA RMSD from it is a wanted one, so that they can be compared with
a model at equal RMSD.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone
from mogen.domain.conformation import rmsd


def torsion_noise(
    backbone: Backbone, n: int, wanted: float, *, generator: torch.Generator
) -> tuple[Float[Tensor, "n r 4 3"], float]:
    """Gaussian noise on all phi and psi, and its width in radians."""
    draws = torch.randn(n, len(backbone), 2, dtype=torch.float64, generator=generator)
    return matched(backbone, wanted, lambda width: turned(backbone, width * draws), 3.0)


def turned(backbone: Backbone, change: Float[Tensor, "n r 2"]) -> Float[Tensor, "n r 4 3"]:
    """Conformations with phi and psi changed, everything behind a bond turning with it; bonds and angles stay."""
    atoms = backbone.coordinates.double().expand(len(change), -1, -1, -1).clone()
    flat = atoms.flatten(1, 2)
    for i in range(len(backbone)):
        n, ca, c = 4 * i, 4 * i + 1, 4 * i + 2
        flat[:, c:] = rotated(flat[:, c:], flat[:, n], flat[:, ca], change[:, i, 0])
        flat[:, c + 1 :] = rotated(flat[:, c + 1 :], flat[:, ca], flat[:, c], change[:, i, 1])
    return flat.unflatten(1, (-1, 4))


def rotated(
    points: Float[Tensor, "n p 3"], start: Float[Tensor, "n 3"], end: Float[Tensor, "n 3"], angle: Float[Tensor, " n"]
) -> Float[Tensor, "n p 3"]:
    """Points turned about the axis from start to end (Rodrigues)."""
    axis = torch.nn.functional.normalize(end - start, dim=-1)[:, None].expand_as(points)
    arm, cos, sin = points - end[:, None], angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = (arm * axis).sum(-1, keepdim=True) * axis
    return end[:, None] + cos * arm + sin * torch.linalg.cross(axis, arm) + (1 - cos) * along


def elastic_network(
    backbone: Backbone, n: int, wanted: float, *, generator: torch.Generator, cutoff: float = 15.0
) -> tuple[Float[Tensor, "n r 4 3"], float]:
    """Thermal displacements of the anisotropic network model (Atilgan et al. 2001), and their amplitude.

    CA within the cutoff are joined by equal springs; residues move as wholes.
    """
    ca = backbone.ca.double()
    values, modes = torch.linalg.eigh(hessian(ca, cutoff))
    kept = values > 1e-6
    draws = torch.randn(n, int(kept.sum()), dtype=torch.float64, generator=generator)
    shift = (draws / values[kept].sqrt()) @ modes[:, kept].T
    shift = shift / shift.square().mean().sqrt()
    shift = shift.view(n, len(ca), 1, 3)
    return matched(backbone, wanted, lambda width: backbone.coordinates.double() + width * shift, 50.0)


def hessian(ca: Float[Tensor, "r 3"], cutoff: float) -> Float[Tensor, "d d"]:
    """Second derivatives of the energy of unit springs between CA within the cutoff."""
    difference = ca[:, None] - ca[None]
    square = difference.square().sum(-1)
    near = (square < cutoff**2) & (square > 0)
    blocks = -near.double()[..., None, None] * difference[..., None] * difference[..., None, :]
    blocks = blocks / square.clamp(min=1e-9)[..., None, None]
    blocks[range(len(ca)), range(len(ca))] = -blocks.sum(1)
    return blocks.transpose(1, 2).reshape(3 * len(ca), 3 * len(ca))


def matched(
    backbone: Backbone, wanted: float, make: Callable[[float], Float[Tensor, "n r 4 3"]], largest: float
) -> tuple[Float[Tensor, "n r 4 3"], float]:
    """Conformations at the width where their mean RMSD is the wanted one, by bisection."""
    low, high = 0.0, largest
    for _ in range(25):
        middle = (low + high) / 2
        away = float(rmsd(make(middle)[:, :, 1], backbone.ca).mean())
        low, high = (middle, high) if away < wanted else (low, middle)
    return make(high), high
