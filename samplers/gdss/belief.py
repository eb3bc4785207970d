"""What was measured, as a belief about graphs not yet measured: kernel regression with Tanimoto similarity.

Molecules are Morgan fingerprints. Plain graphs are counts: how many nodes, edges, nodes of each degree, of each tenth
of clustering coefficients, of each label; the same similarity of counts is sum min / sum max (Ralaivola et al. 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.graph import Graph
from mogen.errors import CandidateError
from mogen.metric import fingerprints

NOISE = 1e-2
"""variance of a measurement beside a prior variance of 1"""
DEGREES, CLUSTERINGS, LABELS = 32, 10, 64
"""counts of degrees (the last one for all that are higher), of clustering coefficients, and of labels (modulo)"""
AT_ONCE = 128
"""graphs whose similarities are computed together"""


@final
class Belief:
    """The posterior mean of a Gaussian process with the Tanimoto kernel (Ralaivola et al. 2005), one per objective.

    Args:
        bits: descriptors of what was measured: k x 2048 of 0 or 1, or counts of plain graphs.
        utility: their utilities.
        is_plain: whether these are plain graphs.
    """

    def __init__(self, bits: np.ndarray, utility: Float[Tensor, "k m"], is_plain: bool = False) -> None:
        self.bits, self.utility, self.is_plain = (
            bits.astype(np.int32 if is_plain else np.uint8),
            utility.double(),
            is_plain,
        )
        self.mean = self.utility.mean(0)
        kernel = self.likeness(self.bits) + NOISE * torch.eye(len(bits), dtype=torch.float64)
        self.alpha = torch.linalg.solve(kernel, self.utility - self.mean)

    @classmethod
    def of(
        cls, keys: Sequence[str], utility: Float[Tensor, "k m"], most: int = 1500, is_plain: bool = False
    ) -> Self | None:
        """The belief from at most so many graphs: the best by each objective and by their mean, and the newest."""
        rows, bits = described(keys, is_plain)
        if len(rows) < 2:
            return None
        utility = utility[torch.tensor(rows)].double()
        if len(rows) > most:
            views = torch.cat([utility, utility.mean(1, keepdim=True)], dim=1)
            best = torch.cat([views[:, k].topk(most // (2 * views.shape[1])).indices for k in range(views.shape[1])])
            newest = torch.arange(len(rows) - most // 2, len(rows))
            kept = torch.cat([best, newest]).unique()
            bits, utility = bits[kept.numpy()], utility[kept]
        return cls(bits, utility, is_plain)

    def __call__(self, keys: Sequence[str]) -> Float[Tensor, "n m"]:
        """Expected utilities; the mean of everything measured for what cannot be read."""
        found = self.mean.repeat(len(keys), 1)
        rows, bits = described(keys, self.is_plain)
        if rows:
            value = self.mean + self.likeness(bits) @ self.alpha
            place = {keys[row]: value[k] for k, row in enumerate(rows)}
            found = torch.stack([place.get(key, found[k]) for k, key in enumerate(keys)])
        return found.clamp(0, 1)

    def likeness(self, bits: np.ndarray) -> Float[Tensor, "n k"]:
        """Similarities of descriptors to those of what was measured."""
        return shared_counts(bits, self.bits) if self.is_plain else similarity(bits, self.bits)


def described(keys: Sequence[str], is_plain: bool) -> tuple[list[int], np.ndarray]:
    """The positions of the keys that can be read, and their descriptors."""
    if not is_plain:
        return fingerprints(list(keys))
    rows, found = [], []
    for row, key in enumerate(keys):
        try:
            found.append(graph_counts(Graph.from_key(key)))
        except CandidateError:
            continue
        rows.append(row)
    return rows, np.stack(found) if found else np.zeros((0, 0), dtype=np.int32)


def graph_counts(graph: Graph) -> np.ndarray:
    """Counts that do not depend on the names of nodes: nodes, edges, degrees, clustering coefficients, labels."""
    adj = graph.adjacency.numpy()
    degree = adj.sum(1)
    triangles = ((adj @ adj) * adj).sum(1) / 2
    share = triangles / np.maximum(degree * (degree - 1) / 2, 1)
    return np.concatenate(
        [
            [graph.nodes, len(graph.edges)],
            np.bincount(degree.astype(int).clip(max=DEGREES - 1), minlength=DEGREES),
            np.bincount((CLUSTERINGS * share + 1e-6).astype(int).clip(max=CLUSTERINGS - 1), minlength=CLUSTERINGS),
            np.bincount(np.array(graph.labels, dtype=int) % LABELS, minlength=LABELS),
        ]
    ).astype(np.int32)


def similarity(one: np.ndarray, two: np.ndarray) -> Float[Tensor, "n k"]:
    """Tanimoto similarities of fingerprints."""
    a, b = torch.from_numpy(one.astype(np.float32)), torch.from_numpy(two.astype(np.float32))
    shared = (a @ b.T).double()
    either = a.sum(1, keepdim=True).double() + b.sum(1).double() - shared
    return torch.where(either > 0, shared / either.clamp(min=1), 1.0)


def shared_counts(one: np.ndarray, two: np.ndarray) -> Float[Tensor, "n k"]:
    """Tanimoto similarities of counts: sum min / sum max."""
    a, b = torch.from_numpy(one.astype(np.float32)), torch.from_numpy(two.astype(np.float32))
    shared = torch.cat([torch.minimum(part[:, None], b[None]).sum(-1) for part in a.split(AT_ONCE)]).double()
    either = a.sum(1, keepdim=True).double() + b.sum(1).double() - shared
    return torch.where(either > 0, shared / either.clamp(min=1), 1.0)
