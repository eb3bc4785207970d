"""Machine code of the published networks for PyTorch's gradients: of their weights, never of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from samplers.gdss.attention import GraphConvolution
from samplers.gdss.native import (
    addresses,
    computed,
    edge_options,
    edge_scores,
    library,
    node_options,
    node_scores,
    parts_of,
)

if TYPE_CHECKING:
    from samplers.gdss.network import ScoreNetworkA, ScoreNetworkX


def edges_said(
    network: ScoreNetworkA, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
) -> Float[Tensor, "b v v"]:
    """What the network says of pairs, with gradients of weights where they are wanted."""
    if not torch.is_grad_enabled():
        return edge_scores(network, x, adj, mask)
    return Said.apply(network, True, x, adj, mask, *weights_of(network))  # type: ignore[no-any-return,no-untyped-call]


def nodes_said(
    network: ScoreNetworkX, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
) -> Float[Tensor, "b v d"]:
    """What the network says of nodes, with gradients of weights where they are wanted."""
    if not torch.is_grad_enabled():
        return node_scores(network, x, adj, mask)
    return Said.apply(network, False, x, adj, mask, *weights_of(network))  # type: ignore[no-any-return,no-untyped-call]


def weights_of(network: ScoreNetworkA | ScoreNetworkX) -> list[Tensor]:
    """The weights that are used, inputs by outputs and each with its bias, in the order of `Packed`."""
    found: list[Tensor] = []
    layer: Any
    for layer in network.layers:
        found += [layer.weight, layer.bias]
        if not isinstance(layer, GraphConvolution):
            found += rows_of(layer.edge_mlp)
            found += rows_of(layer.node_mlp) if layer.has_nodes else []
    return found + rows_of(network.final)


def rows_of(perceptron: Any) -> list[Tensor]:
    """Those of a `Perceptron`."""
    return [part for linear in perceptron.linears for part in (linear.weight.T, linear.bias)]


@final
class Said(torch.autograd.Function):
    """What a network says; backward works it out again, sixteen graphs at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        network: Any,
        is_of_edges: bool,
        x: Float[Tensor, "b v d"],
        adj: Float[Tensor, "b v v"],
        mask: Float[Tensor, "b v"],
        *weights: Tensor,
    ) -> Tensor:
        said = edge_scores(network, x, adj, mask) if is_of_edges else node_scores(network, x, adj, mask)
        ctx.options = edge_options(network) if is_of_edges else node_options(network)
        ctx.is_of_edges, ctx.packed = is_of_edges, network.packed.tensors
        ctx.save_for_backward(x, adj, mask, *weights)
        return said

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        x, adj, mask, *weights = ctx.saved_tensors
        code, packed = library(), ctx.packed
        assert code is not None
        function = code.edge_gradients if ctx.is_of_edges else code.node_gradients
        sizes = [item.numel() for item in packed]
        found = torch.zeros(len(parts_of(len(x))), sum(sizes))
        own = [addresses(row.split(sizes)) for row in found]
        turned = turned_for(packed)
        options = [*ctx.options, addresses(packed), addresses(turned)]
        computed(function, options, x, adj, mask, given.contiguous(), own)
        return (None, None, None, None, None, *unpacked(weights, packed, found.sum(0)))


def turned_for(packed: list[Tensor]) -> list[Tensor]:
    """Every weight outputs by inputs, followed by zeros for as many inputs."""
    nothing = torch.zeros(max(len(item) for item in packed[::2]))
    return [part for weight in packed[::2] for part in (weight.T.contiguous(), nothing)]


def unpacked(weights: list[Tensor], packed: list[Tensor], found: Float[Tensor, " n"]) -> list[Tensor]:
    """Gradients as weights lie, out of those that lie as in `Packed`."""
    done: list[Tensor] = []
    start = index = 0
    for weight in weights[::2]:
        rows, columns = packed[index].shape
        channels = len(weight) if weight.dim() == 3 else 1
        end = start + channels * (rows + 1) * columns
        both = found[start:end].view(channels, rows + 1, columns)
        start, index = end, index + 2 * channels
        if weight.dim() == 3:  # channels of attention: columns that are not used have none
            wide = functional.pad(both, (0, weight.shape[2] - columns))
            done += [wide[:, :-1], wide[:, -1:]]
        else:
            done += [both[0, :-1], both[0, -1]]
    return done
