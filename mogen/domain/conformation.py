"""What can be said of one conformation or two: sizes, distances, contacts, superpositions.

CA positions are r x 3, or k x r x 3 for several conformations, in ångström; gradients flow through everything but the
rotation of a superposition and the search of the TM-score.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import ShapeError


def pair_distances(ca: Float[Tensor, "k r 3"], *, apart: int = 3) -> Float[Tensor, "k p"]:
    """Distances of pairs at least so many residues apart, row by row of the upper triangle."""
    i, j = torch.triu_indices(ca.shape[1], ca.shape[1], apart)
    return (ca[:, i].double() - ca[:, j].double()).norm(dim=-1)


def radius_of_gyration(ca: Float[Tensor, "k r 3"]) -> Float[Tensor, " k"]:
    """sqrt(mean |x - mean x|^2), Å."""
    ca = ca.double()
    return (ca - ca.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()


def superpose(moving: Float[Tensor, "*b r 3"], fixed: Float[Tensor, "*c r 3"]) -> Float[Tensor, "*d r 3"]:
    """The moving structures after the best proper rotation and translation onto the fixed ones (Kabsch 1976).

    Never a reflection. The rotation carries no gradient: at the optimum it does not matter.
    """
    centre, aim = moving.mean(-2, keepdim=True), fixed.mean(-2, keepdim=True)
    with torch.no_grad():
        rotation = kabsch(moving - centre, fixed - aim)
    return (moving - centre) @ rotation.mT + aim


def kabsch(a: Float[Tensor, "*b r 3"], b: Float[Tensor, "*c r 3"]) -> Float[Tensor, "*d 3 3"]:
    """The proper rotation R that minimises sum |R a - b|^2 of centred points (Kabsch 1976)."""
    u, _, v = torch.linalg.svd(b.mT @ a)
    sign = torch.linalg.det(u) * torch.linalg.det(v)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), -1)
    return u @ (flip[..., None] * v)


def rmsd(a: Float[Tensor, "*b r 3"], b: Float[Tensor, "*c r 3"]) -> Float[Tensor, "*d"]:
    """Root mean square deviation after superposition, Å."""
    a, b = a.double(), b.double()
    return (superpose(a, b) - b).square().sum(-1).mean(-1).clamp(min=1e-24).sqrt()


def tm_score(moving: Float[Tensor, "r 3"], fixed: Float[Tensor, "r 3"]) -> float:
    """TM-score of two structures with the same residues, scaled by their length (Zhang and Skolnick 2004).

    The largest sum of 1 / (1 + (d / d0)^2) over superpositions, d0 = 1.24 (r - 15)^(1/3) - 1.8, at least 0.5 Å: started
    from fragments of the chain of lengths r, r/2, r/4 ... and refined on the residues that come close.
    """
    moving, fixed = moving.double(), fixed.double()
    n = len(moving)
    if moving.shape != fixed.shape or n < 3:
        raise ShapeError(f"expected two chains of the same 3 or more residues, got {len(moving)} and {len(fixed)}")
    scale = max(0.5, 1.24 * max(n - 15, 0) ** (1 / 3) - 1.8)
    chosen = _fragments(n)
    best = torch.tensor(0.0, dtype=torch.float64)
    for _ in range(12):
        square = _squares_after(moving, fixed, chosen)
        best = torch.maximum(best, (1 / (1 + square / scale**2)).mean(1).max())
        near = square < max(scale, 4.5) ** 2
        few = near.sum(1) < 3
        near = torch.where(few[:, None], square <= square.sort(1).values[:, 2:3], near)
        if torch.equal(near, chosen):
            break
        chosen = near
    return float(best)


def _fragments(n: int) -> Bool[Tensor, "f r"]:
    """Stretches of the chain of halving lengths, each every half of its length."""
    rows, size = [], n
    while True:
        step = max(1, size // 2)
        for start in range(0, n - size + 1, step):
            row = torch.zeros(n, dtype=torch.bool)
            row[start : start + size] = True
            rows.append(row)
        if size <= 4:
            return torch.stack(rows)
        size = max(4, size // 2)


def _squares_after(
    moving: Float[Tensor, "r 3"], fixed: Float[Tensor, "r 3"], chosen: Bool[Tensor, "f r"]
) -> Float[Tensor, "f r"]:
    """Squared distances of all residues after superposing the chosen ones."""
    weight = chosen.double()[..., None]
    count = weight.sum(1, keepdim=True)
    centre, aim = (moving * weight).sum(1, keepdim=True) / count, (fixed * weight).sum(1, keepdim=True) / count
    rotation = kabsch((moving - centre) * weight, (fixed - aim) * weight)
    return ((moving - centre) @ rotation.mT + aim - fixed).square().sum(-1)


def native_contacts(
    ca: Float[Tensor, "k r 3"], native: Float[Tensor, "r 3"], *, beta: float = 5.0, slack: float = 1.2
) -> Float[Tensor, " k"]:
    """The fraction of native contacts: mean of sigmoid(-5 (d - 1.2 d0)) over CA pairs with d0 <= 10 Å, |i - j| > 3.

    NaN where the native structure has none (Lewis et al. 2025).
    """
    before, now = pair_distances(native[None], apart=4), pair_distances(ca, apart=4)
    is_native = before[0] <= 10
    return torch.sigmoid(-beta * (now - slack * before))[:, is_native].mean(1)
