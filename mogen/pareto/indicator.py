"""How near a front is to a known one, or to what was wished for.

In every function a row with a NaN is left out, and a front without rows counts as the origin: having no candidate is
worth as much as one candidate of utility 0 everywhere, so that every figure is finite.
"""

from __future__ import annotations

from typing import Literal

import moocore
import numpy as np
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ShapeError
from mogen.pareto.dominance import as_points


def igd(front: Float[Tensor, "n m"], true_front: Float[Tensor, "k m"]) -> float:
    """Mean distance from the points of the true front to the nearest point of the front; 0 is best.

    (1/k) sum_p min_a |p - a|, Euclidean, not squared.
    """
    points, truth = _pair(front, true_front)
    return float(moocore.igd(points, ref=truth, maximise=True))


def igd_plus(front: Float[Tensor, "n m"], true_front: Float[Tensor, "k m"]) -> float:
    """Mean shortfall of the front seen from the true front; 0 is best; never better for a dominated front.

    (1/k) sum_p min_a |max(p - a, 0)| (Ishibuchi et al. 2015).
    """
    points, truth = _pair(front, true_front)
    return float(moocore.igd_plus(points, ref=truth, maximise=True))


def gd_plus(front: Float[Tensor, "n m"], true_front: Float[Tensor, "k m"]) -> float:
    """Mean shortfall of the points of the front; 0 is best.

    (1/n) sum_a min_p |max(p - a, 0)| (Ishibuchi et al. 2015).
    """
    points, truth = _pair(front, true_front)
    nearest = [np.linalg.norm(np.maximum(truth - point, 0.0), axis=1).min() for point in points]
    return float(np.mean(nearest))


def epsilon(front: Float[Tensor, "n m"], true_front: Float[Tensor, "k m"]) -> float:
    """The least amount that, added to every utility of the front, makes it cover the true front (additive epsilon).

    max_p min_a max_i (p_i - a_i); negative where the front is beyond the one called true.
    """
    points, truth = _pair(front, true_front)
    return float(moocore.epsilon_additive(points, ref=truth, maximise=True))


def r2(
    front: Float[Tensor, "n m"], preferences: Float[Tensor, "k m"], kind: Literal["mean", "sum_norm"] = "mean"
) -> float:
    """How far from the utopia point 1 the front leaves the wishes of many preferences; 0 is best.

    With d(v) = min_a max_i v_i |1 - a_i| for a preference v: "mean" is (1/k) sum_v d(v); "sum_norm" is
    sum_v d(v) / |V|_F, the form of the multi-objective GFlowNet papers (Jain et al. 2023), which grows with the
    number of preferences, so compare it only on the same lattice.
    """
    points, wishes = _pair(front, preferences, "preferences")
    gap = np.abs(1.0 - points)
    distance = np.array([(wish * gap).max(1).min() for wish in wishes])
    if kind == "mean":
        return float(distance.mean())
    if kind == "sum_norm":
        return float(distance.sum() / np.linalg.norm(wishes))
    raise ShapeError(f"kind of R2 must be 'mean' or 'sum_norm', got {kind!r}")


def _pair(
    front: Float[Tensor, "n m"], other: Float[Tensor, "k m"], name: str = "true_front"
) -> tuple[np.ndarray, np.ndarray]:
    points, others = as_points(front, "front"), as_points(other, name)
    if points.shape[1] != others.shape[1] or not len(others):
        raise ShapeError(f"{name} must be at least 1 x {points.shape[1]}, got {tuple(others.shape)}")
    points = points[~np.isnan(points).any(1)]
    return points if len(points) else np.zeros((1, others.shape[1])), others
