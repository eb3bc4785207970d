"""The volume a front dominates."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ShapeError
from mogen.pareto.dominance import as_points

EXACT_UP_TO = 6
"""Number of objectives up to which hypervolumes are exact; above it they are approximate."""


def hypervolume(utility: Float[Tensor, "n m"], reference: Float[Tensor, " m"] | None = None) -> float:
    """The volume dominated by the rows and bounded below by the reference point (the origin unless given).

    Exact up to 6 objectives (moocore). Above that it is moocore's `hv_approx` (Rphi-FWE+, 262,144 fixed directions):
    deterministic, but an approximation. Rows with a NaN, and rows that do not exceed the reference in every objective,
    add nothing; no rows give 0.0. Dominated rows and duplicates may be given.
    """
    points = as_points(utility)
    corner = _corner(reference, points.shape[1])
    return _volume(_front(_above(points, corner)), corner)


def hypervolume_contributions(
    utility: Float[Tensor, "n m"], reference: Float[Tensor, " m"] | None = None
) -> Float[Tensor, " n"]:
    """What the front would lose with each row alone: HV(front) - HV(front without the row), in float64.

    Dominated rows, duplicates of another row, rows with a NaN and rows not above the reference contribute 0, and
    dominated rows do not affect the contribution of the others. Above 6 objectives a difference of approximations.
    """
    points = as_points(utility)
    corner = _corner(reference, points.shape[1])
    is_above = _is_above(points, corner)
    result = np.zeros(len(points))
    if is_above.any():
        result[is_above] = _contributions(points[is_above], corner)
    return torch.from_numpy(result)


def hypervolume_curve(
    utility: Float[Tensor, "n m"], counts: Sequence[int], reference: Float[Tensor, " m"] | None = None
) -> list[float]:
    """The hypervolume of the first k rows, for each k in counts (any order; a k above n means all n rows).

    Keeps the front while it walks through the rows and measures it only where it has changed.
    """
    points = as_points(utility)
    corner = _corner(reference, points.shape[1])
    if any(count < 0 for count in counts):
        raise ShapeError(f"counts must not be negative, got {min(counts)}")
    volumes: dict[int, float] = {}
    front, done, volume = points[:0], 0, 0.0
    for count in sorted(set(counts)):
        grown = _front(np.concatenate([front, _above(points[done:count], corner)]))
        if not np.array_equal(grown, front):
            front, volume = grown, _volume(grown, corner)
        done = max(done, count)
        volumes[count] = volume
    return [volumes[count] for count in counts]


def _corner(reference: Float[Tensor, " m"] | None, m: int) -> np.ndarray:
    if reference is None:
        return np.zeros(m)
    if reference.shape != (m,):
        raise ShapeError(f"reference must have {m} values, got shape {tuple(reference.shape)}")
    return reference.detach().cpu().numpy().astype(np.float64)


def _is_above(points: np.ndarray, corner: np.ndarray) -> np.ndarray:
    return np.asarray((points > corner).all(axis=1))


def _above(points: np.ndarray, corner: np.ndarray) -> np.ndarray:
    return points[_is_above(points, corner)]


def _front(points: np.ndarray) -> np.ndarray:
    """The non-dominated rows in their order, each value once."""
    return points[moocore.is_nondominated(points, maximise=True)] if len(points) else points


def _volume(front: np.ndarray, corner: np.ndarray) -> float:
    if not len(front):
        return 0.0
    if len(corner) <= EXACT_UP_TO:
        return float(moocore.hypervolume(front, ref=corner, maximise=True))
    return float(moocore.hv_approx(front, ref=corner, maximise=True, seed=0, method="Rphi-FWE+"))


def _contributions(points: np.ndarray, corner: np.ndarray) -> np.ndarray:
    if 1 < len(corner) <= EXACT_UP_TO:  # moocore's contributions start at two objectives
        return np.maximum(moocore.hv_contributions(points, ref=corner, maximise=True), 0.0)
    kept = np.flatnonzero(moocore.is_nondominated(points, maximise=True, keep_weakly=True))
    front = points[kept]
    whole = _volume(front, corner)
    result = np.zeros(len(points))
    for row, place in enumerate(kept):
        result[place] = max(0.0, whole - _volume(np.delete(front, row, axis=0), corner))
    return result
