"""Rotations of space: their exponential and logarithm, quaternions, and uniform draws.

A tangent at R is a rotation vector v in the body frame: its direction is the axis, its length the angle in radians, and
it leads to R Exp(v).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from samplers.diffusion.sde import normal


def exp(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation by a rotation vector: I + sin(w)/w [v] + (1 - cos w)/w^2 [v]^2 (Rodrigues), smooth at v = 0."""
    square = (vector**2).sum(-1)[..., None, None]
    is_small = square < 1e-4
    angle = torch.where(is_small, 1.0, square).sqrt()
    first = torch.where(is_small, 1 - square / 6 + square**2 / 120, angle.sin() / angle)
    second = torch.where(is_small, 0.5 - square / 24 + square**2 / 720, 2 * (angle / 2).sin() ** 2 / angle**2)
    cross = skew(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * (cross @ cross)


def log(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """The rotation vector of length at most pi, with gradients everywhere but at pi itself."""
    q = quaternion(rotation)
    w, xyz = q[..., :1], q[..., 1:]
    square = (xyz**2).sum(-1, keepdim=True)
    is_small = square < 1e-4
    length = torch.where(is_small, 1.0, square).sqrt()
    ratio = square / torch.where(is_small, w, 1.0) ** 2
    series = 2 / torch.where(is_small, w, 1.0) * (1 - ratio / 3 + ratio**2 / 5)
    return torch.where(is_small, series, 2 * torch.atan2(length, w) / length) * xyz


def quaternion(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """The unit quaternion (w, x, y, z) with w >= 0, in closed form.

    4 q q^T is linear in R; its row with the largest diagonal entry, scaled to length 1, is q or -q.
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    entries: tuple[Tensor, ...] = (1 + xx + yy + zz, wx, wy, wz, wx, 1 + xx - yy - zz, xy, xz)
    entries += (wy, xy, 1 - xx + yy - zz, yz, wz, xz, yz, 1 - xx - yy + zz)
    outer = torch.stack(entries, -1).unflatten(-1, (4, 4))
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = row / row.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def from_quaternion(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation of a quaternion (w, x, y, z) of any length but 0."""
    w, v = q[..., :1, None], q[..., 1:]
    cross = skew(v)
    eye = torch.eye(3, dtype=q.dtype, device=q.device)
    return eye + 2 * (w * cross + cross @ cross) / (q**2).sum(-1)[..., None, None]


def skew(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """[v] with [v] u = v x u."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))


def uniform(like: Float[Tensor, "*b 3 3"], *, generator: torch.Generator | None = None) -> Float[Tensor, "*b 3 3"]:
    """Rotations drawn from the Haar measure: a normal quaternion scaled to length 1."""
    return from_quaternion(normal(torch.Size((*like.shape[:-2], 4)), like, generator))


def orthonormalized(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation near a nearly orthogonal matrix, by Gram-Schmidt on its columns (rounding errors are removed)."""
    x = torch.nn.functional.normalize(matrix[..., 0], dim=-1)
    y = matrix[..., 1] - (matrix[..., 1] * x).sum(-1, keepdim=True) * x
    y = torch.nn.functional.normalize(y, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), -1)
