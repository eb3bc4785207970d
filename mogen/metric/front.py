"""The figures of one front."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from mogen.pareto import hypervolume, igd_plus, is_non_dominated, r2
from mogen.preference import simplex_lattice


def front_metrics(utility: Float[Tensor, "n m"], true_front: Float[Tensor, "k m"] | None = None) -> dict[str, Any]:
    """What a summary says of the front among the utilities of valid candidates (others belong left out).

    `hypervolume` from the origin (exact up to 6 objectives, approximate above), `reference_point`, `front_size`
    (candidates, so equal utilities count each), `zero_share` (share of them with a utility of 0 somewhere: the
    hypervolume does not see those), `r2` in both forms over the simplex lattice of 10 partitions (3 above 6
    objectives), `igd_plus` (None where no true front is known). No candidates: the figures of the origin, size 0.
    """
    front = utility[is_non_dominated(utility)]
    m = utility.shape[1]
    lattice = simplex_lattice(m, 10 if m <= 6 else 3)
    return {
        "hypervolume": hypervolume(front),
        "reference_point": [0.0] * m,
        "front_size": len(front),
        "zero_share": float((front <= 0).any(1).double().mean()) if len(front) else 0.0,
        "r2": {"mean": r2(front, lattice, kind="mean"), "sum_norm": r2(front, lattice, kind="sum_norm")},
        "igd_plus": None if true_front is None else igd_plus(front, true_front),
    }
