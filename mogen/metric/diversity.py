"""How different candidates are from one another.

Similarities are symmetric, in [0, 1], with ones on the diagonal; a distance is 1 - similarity. Diversity is worth
something only beside quality: random candidates are the most diverse of all.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Real
from torch import Tensor

from mogen.errors import ShapeError
from mogen.preference.goal import cube_faces


def intdiv(similarity: Float[Tensor, "n n"]) -> float:
    """Internal diversity, 1 - mean similarity over all n^2 pairs, the diagonal included (MOSES, p = 1); 0.0 for none.

    The diagonal makes it at most 1 - 1/n.
    """
    _check_square(similarity)
    return float(1 - similarity.double().mean()) if len(similarity) else 0.0


def circles(distance: Float[Tensor, "n n"], threshold: float = 0.75) -> int:
    """How many candidates are farther than the threshold from each other, taken greedily in the order given.

    A lower bound of #Circles (Xie et al. 2023), which is the largest such set; the order decides how tight.
    """
    _check_square(distance)
    is_far = (distance > threshold).cpu()
    is_free = torch.ones(len(distance), dtype=torch.bool)
    count = 0
    for row in range(len(distance)):
        if is_free[row]:
            count += 1
            is_free &= is_far[row]
    return count


def vendi(similarity: Float[Tensor, "n n"]) -> float:
    """The effective number of candidates: exp of the entropy of the eigenvalues of K/n (Friedman et al. 2023).

    1 for n identical ones, n for n with nothing in common, 0.0 for none. O(n^3).
    """
    _check_square(similarity)
    return _effective(similarity.double() / len(similarity)) if len(similarity) else 0.0


def vendi_of_features(features: Float[Tensor, "n d"]) -> float:
    """The Vendi score under the cosine kernel K = X X^T of rows scaled to length 1.

    Uses X X^T / n, or X^T X / n where n > d (the same non-zero eigenvalues), so O(n d min(n, d)). A row of zeros
    raises `ShapeError`: it has no direction.
    """
    if features.ndim != 2:
        raise ShapeError(f"features must be n x d, got shape {tuple(features.shape)}")
    n, d = features.shape
    if not n:
        return 0.0
    length = features.double().norm(dim=1, keepdim=True)
    if not (length > 0).all():
        raise ShapeError(f"features must not be zero in a whole row, got {int((length <= 0).sum())} such rows")
    rows = features.double() / length
    return _effective(rows.T @ rows / n if n > d else rows @ rows.T / n)


def top_k_diversity(similarity: Float[Tensor, "n n"], score: Real[Tensor, " n"], k: int = 100) -> float:
    """1 - mean similarity of different pairs among the k best (all, where there are fewer; ties by order).

    The diagonal is left out; fewer than two candidates have no diversity, 0.0.
    """
    _check_square(similarity)
    best = top_k(score, k)
    chosen = similarity.double()[best][:, best]
    pairs = len(best) * (len(best) - 1)
    return float(1 - (chosen.sum() - chosen.diagonal().sum()) / pairs) if pairs else 0.0


def top_k(score: Real[Tensor, " n"], k: int) -> Tensor:
    """Positions of the k highest scores, best first; equal ones in the order given, NaN last."""
    filled = score.double().nan_to_num(nan=float("-inf"))
    return torch.sort(filled, descending=True, stable=True).indices[: max(k, 0)]


def pc_entropy(utility: Float[Tensor, "n m"], reference: Float[Tensor, "k m"] | None = None) -> float:
    """Pareto-cluster entropy: how evenly candidates spread over reference points, each at its nearest (Euclidean).

    -sum_j p_j log p_j in nats, p_j the share nearest to point j, without the 1e-8 the papers add to p_j (a difference
    below k 1e-8). The reference is the upper faces of the unit cube unless given; ties go to the first point; rows
    with a NaN are left out; 0.0 for none (Roy et al. 2023).
    """
    points = (cube_faces(utility.shape[1]) if reference is None else reference).double()
    rows = utility.detach().double()
    rows = rows[~rows.isnan().any(1)]
    if not len(rows):
        return 0.0
    nearest = [((part[:, None] - points[None]) ** 2).sum(-1).argmin(1) for part in rows.split(64)]
    share = torch.bincount(torch.cat(nearest), minlength=len(points)).double() / len(rows)
    return float(torch.special.entr(share).sum())


def _effective(kernel: Float[Tensor, "n n"]) -> float:
    share = torch.linalg.eigvalsh(kernel).clamp_min(0)
    return float(torch.special.entr(share).sum().exp())


def _check_square(matrix: Float[Tensor, "n n"]) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(f"expected one row and one column per candidate, got shape {tuple(matrix.shape)}")
