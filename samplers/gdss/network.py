"""The score networks of GDSS, from their description (Jo et al. 2022, section 3.1); they are not told the time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplers.diffusion import Fields
from samplers.gdss.attention import AttentionLayer, GraphConvolution, Pairs, Perceptron, normalised, pack, unpack
from samplers.gdss.native import Packed, suits
from samplers.gdss.native_gradient import edges_said, nodes_said


@final
class ScoreNetworkX(nn.Module):
    """Nodes from graph convolutions over the noisy adjacency.

    Args:
        features: numbers per node.
        depth: convolutions.
        hidden: their width.
    """

    def __init__(self, features: int, depth: int = 2, hidden: int = 16) -> None:
        super().__init__()
        widths = [features, *[hidden] * depth]
        self.layers = nn.ModuleList(GraphConvolution(a, b) for a, b in pairwise(widths))
        total = features + depth * hidden
        self.final = Perceptron(3, total, 2 * total, features)
        self.packed = Packed()

    def forward(
        self, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b v d"]:
        if suits(x, adj, mask, weights=self.parameters()):
            return nodes_said(self, x, adj, mask)
        loops = torch.eye(adj.shape[-1], dtype=torch.bool, device=adj.device)
        smooth = normalised(adj.masked_fill(loops, 1.0))
        states = [x]
        for layer in self.layers:
            states.append(torch.tanh(layer(states[-1], smooth)))
        return self.final(torch.cat(states, dim=-1)) * mask.unsqueeze(-1)


@final
class ScoreNetworkXAttention(nn.Module):
    """Nodes from layers of graph multi-head attention (the second published network for ZINC250k, and MOOD's).

    Args:
        features: numbers per node.
        depth: attention layers.
        hidden: width of nodes.
        attention: width of queries and keys after the first layer.
        layers: linear layers of the edge perceptrons.
        heads: attention heads.
        c_init: powers of the adjacency that are looked at.
        c_hidden: edge channels between layers.
        c_final: edge channels after the last layer.
    """

    def __init__(
        self,
        features: int,
        depth: int = 2,
        hidden: int = 16,
        attention: int = 16,
        layers: int = 3,
        heads: int = 4,
        c_init: int = 2,
        c_hidden: int = 8,
        c_final: int = 4,
    ) -> None:
        super().__init__()
        self.c_init, self.pairs = c_init, Pairs()
        self.layers = attention_stack(features, hidden, attention, depth, layers, heads, c_init, c_hidden, c_final)
        total = features + depth * hidden
        self.final = Perceptron(3, total, 2 * total, features)

    def forward(
        self, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b v d"]:
        pairs = self.pairs(x.shape[1], x.device)
        edges, edge_mask = powers(adj, self.c_init, pairs[0]), pair_mask(mask, pairs[0])
        states = [x]
        for layer in self.layers:
            x, edges = layer(x, edges, mask.unsqueeze(-1), edge_mask, pairs)
            x = torch.tanh(x)
            states.append(x)
        return self.final(torch.cat(states, dim=-1)) * mask.unsqueeze(-1)


@final
class ScoreNetworkA(nn.Module):
    """Edges from layers of graph multi-head attention over powers of the noisy adjacency.

    Args:
        features: numbers per node.
        depth: attention layers.
        hidden: width of nodes, and of the first layer's queries and keys.
        attention: width of queries and keys after the first layer.
        layers: linear layers of the edge perceptrons.
        heads: attention heads.
        c_init: powers of the adjacency that are looked at.
        c_hidden: edge channels between layers.
        c_final: edge channels after the last layer.
    """

    def __init__(
        self,
        features: int,
        depth: int = 3,
        hidden: int = 16,
        attention: int = 16,
        layers: int = 3,
        heads: int = 4,
        c_init: int = 2,
        c_hidden: int = 8,
        c_final: int = 4,
    ) -> None:
        super().__init__()
        self.c_init, self.pairs, self.packed = c_init, Pairs(), Packed()
        self.layers = attention_stack(
            features, hidden, attention, depth, layers, heads, c_init, c_hidden, c_final, False
        )
        total = c_init + c_hidden * (depth - 1) + c_final
        self.final = Perceptron(3, total, 2 * total, 1)

    def forward(
        self, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b v v"]:
        if suits(x, adj, mask, weights=self.parameters()):
            return edges_said(self, x, adj, mask)
        pairs = self.pairs(x.shape[1], x.device)
        edges, edge_mask = powers(adj, self.c_init, pairs[0]), pair_mask(mask, pairs[0])
        states = [edges]
        for layer in self.layers:
            x, edges = layer(x, edges, mask.unsqueeze(-1), edge_mask, pairs)
            states.append(edges)
        score = self.final(torch.cat(states, dim=1).transpose(1, 2)).squeeze(-1) * edge_mask.squeeze(1)
        return unpack(score, pairs[2], mask.shape[1], 0.0)


def attention_stack(
    features: int,
    hidden: int,
    attention: int,
    depth: int,
    layers: int,
    heads: int,
    c_init: int,
    c_hidden: int,
    c_final: int,
    is_last_seen: bool = True,
) -> nn.ModuleList:
    """First (c_init -> c_hidden), middle (c_hidden -> c_hidden) and last (c_hidden -> c_final) attention layers.

    Where nobody looks at the nodes of the last layer, they are not computed.
    """
    stack = []
    for index in range(depth):
        is_first, is_last = index == 0, index == depth - 1
        stack.append(
            AttentionLayer(
                features if is_first else hidden,
                hidden if is_first else attention,
                hidden,
                c_init if is_first else c_hidden,
                c_final if is_last else c_hidden,
                layers,
                heads,
                is_last_seen or not is_last,
            )
        )
    return nn.ModuleList(stack)


def powers(adj: Float[Tensor, "b v v"], count: int, upper: Tensor) -> Float[Tensor, "b c p"]:
    """A, A^2, ... as packed channels."""
    stack = [adj]
    for _ in range(count - 1):
        stack.append(stack[-1] @ adj)
    return torch.stack([pack(power, upper) for power in stack], dim=1)


def pair_mask(mask: Float[Tensor, "b v"], upper: Tensor) -> Float[Tensor, "b 1 p"]:
    """1 for the pairs whose nodes both exist."""
    return pack(mask.unsqueeze(2) * mask.unsqueeze(1), upper).unsqueeze(1)


@final
class PublishedNetwork(nn.Module):
    """Both networks of GDSS side by side: x, adj and mask in, raw outputs out; the time is not looked at.

    Args:
        features: numbers per node.
        x: options of the node network (`kind`: convolution or attention).
        adj: options of the edge network.
    """

    def __init__(self, features: int, x: Mapping[str, Any] | None = None, adj: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.options = {"features": features, "x": dict(x or {}), "adj": dict(adj or {})}
        options = dict(x or {})
        kind = {"convolution": ScoreNetworkX, "attention": ScoreNetworkXAttention}[options.pop("kind", "convolution")]
        self.x = kind(features, **options)
        self.adj = ScoreNetworkA(features, **dict(adj or {}))

    def forward(self, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        del t
        x, adj, mask = fields["x"], fields["adj"], fields["mask"]
        return {"x": self.x(x, adj, mask), "adj": self.adj(x, adj, mask)}
