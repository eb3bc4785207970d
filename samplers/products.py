"""Dense layers, with automatic gradients (`Linear`) or without: large products on a CPU go to oneDNN, which has fast
kernels for every maker of processors.

The BLAS that torch is built with (MKL) reaches half of that on CPUs of other makers than its own; for small products
it is called all the same, since a call costs less.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST = 1 << 22
"""multiplications of a product from which oneDNN is called"""
ROWS = 1216
"""rows of a transposed product at a time, so that what is rearranged stays in the cache"""


@final
class Linear(nn.Linear):
    """A linear layer with gradients of first order whose three products are those below."""

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        if self.bias is None or torch.compiler.is_compiling() or not _suits(x, self.out_features):
            return super().forward(x)
        rows: Tensor = _Rows.apply(x.reshape(-1, self.in_features), self.weight, self.bias)
        return rows.view(*x.shape[:-1], self.out_features)


class _Rows(torch.autograd.Function):
    """x W^T + b and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        slope, wanted = slopes[0].contiguous(), ctx.needs_input_grad
        return (
            product(slope, weight.T.contiguous()) if wanted[0] else None,
            outer(slope, x) if wanted[1] else None,
            slope.sum(0) if wanted[2] else None,
        )


@lru_cache(maxsize=1)
def onednn() -> Any:
    """oneDNN's product x W^T (+ b, then an activation) on plain tensors; None where torch was built without it."""
    try:
        return torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None
    except AttributeError:
        return None


def _suits(x: Tensor, outputs: int) -> bool:
    is_plain = x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return is_plain and x.numel() * outputs >= LEAST and onednn() is not None


def product(
    x: Float[Tensor, "r i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None = None
) -> Float[Tensor, "r o"]:
    """x W^T + b."""
    if _suits(x, len(weight)):
        return onednn()(x, weight, bias, "none", [], "")
    return torch.nn.functional.linear(x, weight, bias)


def activated(
    x: Float[Tensor, "r i"], weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"], slope: float
) -> Float[Tensor, "r o"]:
    """leaky_relu(x W^T + b)."""
    if _suits(x, len(weight)):
        return onednn()(x, weight, bias, "leaky_relu", [slope], "")
    return torch.nn.functional.leaky_relu_(torch.nn.functional.linear(x, weight, bias), slope)


def outer(a: Float[Tensor, "r o"], b: Float[Tensor, "r i"]) -> Float[Tensor, "o i"]:
    """a^T b, the sum over rows of their outer products: the gradient of a weight."""
    if not _suits(a, b.shape[1]):
        return a.T @ b
    if a.shape[1] > b.shape[1]:  # the wider one second is faster
        return outer(b, a).T
    parts = zip(a.split(ROWS), b.split(ROWS), strict=True)
    total, *rest = (onednn()(one.T, other.T, None, "none", [], "") for one, other in parts)
    for part in rest:
        total.add_(part)
    return total
