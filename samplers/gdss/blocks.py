"""The blocks of a graph transformer as machine code for this computer, gradients included; nothing else needs it.

Without a C compiler, on other devices and in other precisions the blocks run in PyTorch, which is also what `blocks.c`
is tested against. MOGEN_NATIVE=0 switches it off.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from samplers.gdss.native import LANES, addresses, are_plain, library, parts_of, workers

if TYPE_CHECKING:
    from samplers.gdss.transformer import Block

SOURCE = Path(__file__).with_name("blocks.c")


def suits(nodes: Tensor, edges: Tensor, blocks: Sequence[Block]) -> bool:
    """Whether these can be computed outside PyTorch: single precision on the processor."""
    return bool(blocks) and are_plain(nodes, edges, blocks[0].qkv.weight) and library(SOURCE) is not None


def through(
    blocks: Sequence[Block],
    nodes: Float[Tensor, "b v d"],
    edges: Float[Tensor, "b p e"],
    mask: Float[Tensor, "b v"],
    told: Float[Tensor, "b d"],
) -> tuple[Float[Tensor, "b v d"], Float[Tensor, "b p e"]]:
    """The states after all blocks, with gradients of first order."""
    modulation = torch.stack([block.modulate(told) for block in blocks], dim=1)
    weights = [value for block in blocks for layer in layers_of(block) for value in (layer.weight, layer.bias)]
    made: tuple[Tensor, Tensor] = _Through.apply(nodes, edges, mask, modulation, blocks[0].heads, *weights)
    return made


def layers_of(block: Block) -> list[Any]:
    """The linear layers of a block in the order of `blocks.c`."""
    nodes, edges = block.node_mlp, block.edge_mlp
    first = [block.qkv, block.edge_to_heads, block.heads_to_edge, block.ends, block.out]
    return [*first, nodes[0], nodes[2], edges[0], edges[2]]


@final
class _Through(torch.autograd.Function):
    """Blocks in machine code."""

    @staticmethod
    def forward(
        ctx: Any, nodes: Tensor, edges: Tensor, mask: Tensor, modulation: Tensor, heads: int, *weights: Tensor
    ) -> Any:
        made = [item.clone(memory_format=torch.contiguous_format) for item in (nodes, edges)]
        given = [modulation.contiguous(), mask.contiguous().to(nodes.dtype), *made]
        groups, depth = -(-len(nodes) // LANES), modulation.shape[1]
        states = nodes[0].numel() + edges[0].numel()
        has_gradients = any(ctx.needs_input_grad)
        kept = nodes.new_empty((groups if has_gradients else 0) * depth * states * LANES)
        turned = [weight.T.contiguous() if weight.ndim == 2 else weight for weight in weights]
        ctx.shape = [nodes.shape[1], nodes.shape[2], edges.shape[2], heads, depth]

        def part(start: int, end: int) -> int:
            where = [ctypes.c_void_p(item[start:end].data_ptr()) for item in given]
            at = kept[start // LANES * depth * states * LANES :].data_ptr() if has_gradients else None
            return int(code().blocks(end - start, *ctx.shape, addresses(turned), *where, ctypes.c_void_p(at)))

        run(part, len(nodes))
        if has_gradients:
            ctx.save_for_backward(*given[:2], kept, *turned, *[weight for weight in weights if weight.ndim == 2])
        return tuple(made)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        modulation, mask, kept, *rest = ctx.saved_tensors
        count = 18 * modulation.shape[1]
        turned, weights = rest[:count], [weight.contiguous() for weight in rest[count:]]
        made = [item.clone(memory_format=torch.contiguous_format) for item in gradients]
        given = [modulation, mask]
        of_modulation = torch.empty_like(modulation)
        parts = parts_of(len(modulation))
        of_weights = kept.new_zeros(len(parts), sum(item.numel() for item in turned))
        states = len(kept) // -(-len(modulation) // LANES)

        def part(start: int, end: int) -> int:
            where = [ctypes.c_void_p(item[start:end].data_ptr()) for item in given]
            at = ctypes.c_void_p(kept[start // LANES * states :].data_ptr())
            out = [ctypes.c_void_p(item[start:end].data_ptr()) for item in (*made, of_modulation)]
            own = ctypes.c_void_p(of_weights[parts.index((start, end))].data_ptr())
            both = addresses(turned), addresses(weights)
            return int(code().blocks_back(end - start, *ctx.shape, *both, *where, at, *out, own))

        run(part, len(modulation))
        found = of_weights.sum(0).split([item.numel() for item in turned])
        shaped = [gradient.view(item.shape) for gradient, item in zip(found, turned, strict=True)]
        return *made, None, of_modulation, None, *[item.T if item.ndim == 2 else item for item in shaped]


def code() -> Any:
    """The compiled functions."""
    return library(SOURCE)


def run(part: Callable[[int, int], int], graphs: int) -> None:
    """Calls a function for the graphs of every thread."""
    parts = parts_of(graphs)
    done = [part(*parts[0])] if len(parts) < 2 else list(workers(len(parts)).map(lambda one: part(*one), parts))
    if any(done):
        raise MemoryError("expected memory for the blocks of a graph transformer, got none")
