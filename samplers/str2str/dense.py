"""Matrix products of the network, and how pair tensors are made in pieces that stay in the processor's cache.

Without gradients on a CPU, products go to oneDNN (which torch otherwise keeps for bfloat16) and pair tensors are made a
few thousand pairs at a time: the products are the same, but what lies between them is never written to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from samplers.products import onednn

PAIRS = 4096
"""pairs made at a time: 384 float32 of each are 6 MB"""


@final
class Linear(nn.Linear):
    """A linear layer whose product is `dense`."""

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b e"]:
        return dense(x, self.weight, self.bias)


def dense(
    x: Float[Tensor, "*b d"],
    weight: Float[Tensor, "e d"],
    bias: Float[Tensor, " e"] | None = None,
    *,
    relu: bool = False,
) -> Float[Tensor, "*b e"]:
    """x W^T + b, or its positive part, in the type of autocast where that is on."""
    dtype = working(x)
    x, weight = x.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if _is_plain_cpu(x) and dtype in (torch.float32, torch.bfloat16) and onednn() is not None:
        return onednn()(x.contiguous(), weight.contiguous(), bias, "relu" if relu else "none", [], "")
    found = nn.functional.linear(x, weight, bias)
    return found.relu() if relu else found


def working(x: Tensor) -> torch.dtype:
    """The type products are made in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) and x.dtype != torch.float64 else x.dtype


def by_pieces(
    make: Callable[[slice, slice], Float[Tensor, "k i r e"]], exists: Bool[Tensor, "b r"]
) -> Float[Tensor, "b r r e"]:
    """A pair tensor (b x r x r x e) from a function of slices of items and rows; whole where gradients are wanted."""
    if not _is_plain_cpu(exists):
        return make(slice(None), slice(None))
    b, r = exists.shape
    whole: Tensor | None = None
    for items, rows in pieces(b, r):
        made = make(items, rows)
        whole = made.new_empty(b, r, r, made.shape[-1]) if whole is None else whole
        whole[items, rows] = made
    assert whole is not None
    return whole


def pieces(b: int, r: int) -> Iterator[tuple[slice, slice]]:
    """Slices over items and rows that hold about `PAIRS` pairs each and together all of them."""
    if r * r <= PAIRS:
        step = PAIRS // (r * r)
        for first in range(0, b, step):
            yield slice(first, min(first + step, b)), slice(0, r)
        return
    count = -(-r * r // PAIRS)
    step = -(-r // count)
    for item in range(b):
        for first in range(0, r, step):
            yield slice(item, item + 1), slice(first, min(first + step, r))


def _is_plain_cpu(x: Tensor) -> bool:
    """No gradients are wanted, and the processor is the CPU."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()
