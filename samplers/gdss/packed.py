"""States of unordered pairs: every one of two nodes is held once, a node with itself included.

`unpack` and `fold` are made of look-ups alone, their gradients too: scattered sums are slow on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """The p = v (v + 1) / 2 pairs i <= j of v nodes, row by row.

    Args:
        nodes: v.
        first: i.
        second: j.
        upper: where (i, j) lies in a flat v x v table.
        lower: where (j, i) lies.
        table: which pair every place of such a table holds.
        own: 1 for pairs of a node with itself, 0 for others.
    """

    nodes: int
    first: Int[Tensor, " p"]
    second: Int[Tensor, " p"]
    upper: Int[Tensor, " p"]
    lower: Int[Tensor, " p"]
    table: Int[Tensor, " vv"]
    own: Float[Tensor, " p"]

    def pack(self, dense: Float[Tensor, "b v v e"]) -> Float[Tensor, "b p e"]:
        """The mean of (i, j) and (j, i)."""
        return self.fold(dense) / 2

    def fold(self, dense: Float[Tensor, "b v v e"]) -> Float[Tensor, "b p e"]:
        """The sum of (i, j) and (j, i)."""
        folded: Tensor = _Fold.apply(dense, self)
        return folded

    def unpack(self, pairs: Float[Tensor, "b p e"]) -> Float[Tensor, "b v v e"]:
        """The same for (i, j) and (j, i)."""
        dense: Tensor = _Unpack.apply(pairs, self)
        return dense

    def ends(self, nodes: Float[Tensor, "b v e"]) -> Float[Tensor, "b p e"]:
        """The sum over both nodes of a pair."""
        summed: Tensor = _Ends.apply(nodes, self)
        return summed

    def doubled(self, pairs: Float[Tensor, "b p e"], factor: float) -> Float[Tensor, "b p e"]:
        """Pairs of a node with itself times a factor."""
        return pairs * (1 + (factor - 1) * self.own.to(pairs.dtype)).unsqueeze(-1)


@lru_cache(maxsize=256)
def pairs_of(v: int, device: torch.device) -> Pairs:
    """The pairs of v nodes; made once."""
    first, second = torch.triu_indices(v, v, device=device)
    table = torch.zeros(v, v, dtype=torch.long, device=device)
    table[first, second] = table[second, first] = torch.arange(len(first), device=device)
    return Pairs(v, first, second, first * v + second, second * v + first, table.flatten(), (first == second).float())


def _folded(dense: Tensor, pairs: Pairs) -> Tensor:
    flat = dense.flatten(1, 2)
    return flat.index_select(1, pairs.upper).add_(flat.index_select(1, pairs.lower))


def _unpacked(packed: Tensor, pairs: Pairs) -> Tensor:
    return packed.index_select(1, pairs.table).unflatten(1, (pairs.nodes, pairs.nodes))


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, pairs: Pairs) -> Tensor:
        ctx.pairs = pairs
        return _folded(dense, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return _unpacked(ctx.pairs.doubled(slopes[0], 2), ctx.pairs), None


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, pairs: Pairs) -> Tensor:
        ctx.pairs = pairs
        return _unpacked(packed, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return ctx.pairs.doubled(_folded(slopes[0], ctx.pairs), 0.5), None


class _Ends(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, pairs: Pairs) -> Tensor:
        ctx.pairs = pairs
        return nodes.index_select(1, pairs.first).add_(nodes.index_select(1, pairs.second))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return _unpacked(ctx.pairs.doubled(slopes[0], 2), ctx.pairs).sum(2), None
