"""Graph multi-head attention over many adjacency channels at once (Jo et al. 2022, section 3.1 and appendix).

Every adjacency here is symmetric and its diagonal is never read (convolutions set it to 1), so edges are held packed:
b x c x p numbers for the p = v (v - 1) / 2 pairs of nodes. All channels share one matrix product per operation.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


@final
class Pairs(nn.Module):
    """Which packed entry every pair of v nodes has; tables are made once per number of nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[tuple[int, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def forward(self, v: int, device: torch.device) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"], Int[Tensor, " s"]]:
        """Flat positions of (i, j) and of (j, i) for i < j, and the packed entry of every position (diagonal: p)."""
        if (v, device) not in self.tables:
            first, second = torch.triu_indices(v, v, 1, device=device)
            table = torch.full((v, v), len(first), device=device)
            table[first, second] = table[second, first] = torch.arange(len(first), device=device)
            self.tables[v, device] = first * v + second, second * v + first, table.flatten()
        return self.tables[v, device]


def pack(adj: Float[Tensor, "*b v v"], upper: Int[Tensor, " p"]) -> Float[Tensor, "*b p"]:
    """The upper triangle of symmetric matrices."""
    return adj.flatten(-2).index_select(-1, upper)


def unpack(edges: Float[Tensor, "*b p"], table: Int[Tensor, " s"], v: int, diagonal: float) -> Float[Tensor, "*b v v"]:
    """Symmetric matrices with a constant on the diagonal."""
    return functional.pad(edges, (0, 1), value=diagonal).index_select(-1, table).unflatten(-1, (v, v))


def normalised(adj: Float[Tensor, "*b v v"]) -> Float[Tensor, "*b v v"]:
    """D^-1/2 A D^-1/2 with row sums of at least 1; the diagonal of A must be 1 already."""
    root = adj.sum(-1).clamp(min=1).rsqrt()
    return root.unsqueeze(-1) * adj * root.unsqueeze(-2)


@final
class Perceptron(nn.Module):
    """Linear layers with ELU between them and nothing after the last."""

    def __init__(self, layers: int, d_in: int, hidden: int, d_out: int) -> None:
        super().__init__()
        widths = [d_in, *[hidden] * (layers - 1), d_out]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b k"]:
        for linear in self.linears[:-1]:
            x = functional.elu(linear(x), inplace=not torch.is_grad_enabled())
        return self.linears[-1](x)


@final
class GraphConvolution(nn.Module):
    """A graph convolution with a normalised adjacency: A (x W) + b (Kipf and Welling 2017)."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_in, d_out))
        self.bias = nn.Parameter(torch.zeros(d_out))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Float[Tensor, "b v d"], smooth: Float[Tensor, "b v v"]) -> Float[Tensor, "b v k"]:
        return torch.baddbmm(self.bias, smooth @ x, self.weight.expand(len(x), -1, -1))


@final
class AttentionLayer(nn.Module):
    """New nodes and new edge channels out of c_in channels of adjacency.

    For every channel, queries, keys and values are graph convolutions; the attention is the mean over heads of
    tanh(Q K^T / sqrt(d_out)), made symmetric; values are not multiplied with it. Nodes: tanh of a perceptron of all
    channels' values. Edges: a perceptron of every pair's attentions and old edges, plus its transpose.
    """

    def __init__(
        self,
        d_in: int,
        attention: int,
        d_out: int,
        c_in: int,
        c_out: int,
        layers: int = 2,
        heads: int = 4,
        has_nodes: bool = True,
    ) -> None:
        super().__init__()
        self.attention, self.d_out, self.heads, self.has_nodes = attention, d_out, heads, has_nodes
        width = 2 * attention + d_out
        self.weight = nn.Parameter(torch.empty(c_in, d_in, width))
        self.bias = nn.Parameter(torch.zeros(c_in, 1, width))
        hidden = 2 * max(c_in, c_out)
        self.edge_mlp = Perceptron(layers, 2 * c_in, hidden, c_out)
        self.node_mlp = Perceptron(2, c_in * d_out, hidden, d_out)
        for channel in self.weight.data:
            for part in channel.split([attention, attention, d_out], dim=-1):
                part.copy_(nn.init.xavier_uniform_(torch.empty(part.shape)))

    def forward(
        self,
        x: Float[Tensor, "b v d"],
        edges: Float[Tensor, "b c p"],
        node_mask: Float[Tensor, "b v 1"],
        edge_mask: Float[Tensor, "b 1 p"],
        pairs: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Float[Tensor, "b v k"] | None, Float[Tensor, "b e p"]]:
        """Nodes (nothing where `has_nodes` is off) and edges of the next layer."""
        (b, v, d), c = x.shape, edges.shape[1]
        upper, lower, table = pairs
        smooth = normalised(unpack(edges, table, v, 1.0))
        gathered = torch.bmm(smooth.view(b, c * v, v), x).view(b, c, v, d)
        gathered = gathered.transpose(0, 1).reshape(c, b * v, d)
        weight, bias = self.spread_queries()
        h = self.heads
        wide, a = self.heads * self.attention, self.attention
        made = torch.baddbmm(bias, gathered, weight)
        product = torch.bmm(
            made[..., :wide].reshape(c * b, v * h, a), made[..., wide : wide + a].reshape(c * b, v, a).transpose(1, 2)
        )
        bent = product.tanh() if torch.is_grad_enabled() else product.tanh_()
        attention = bent.view(c, b, v, h, v).sum(3)
        even = pack(attention, upper).add(pack(attention, lower))
        features = torch.cat([even.permute(1, 2, 0) / (2 * self.heads), edges.transpose(1, 2)], dim=-1)
        new_edges = 2 * self.edge_mlp(features).transpose(1, 2) * edge_mask
        if not self.has_nodes:
            return None, new_edges
        values = made[..., wide + a :].view(c, b, v, -1).permute(1, 2, 0, 3).flatten(2)
        return torch.tanh(self.node_mlp(values) * node_mask), new_edges

    def spread_queries(self) -> tuple[Float[Tensor, "c d k"], Float[Tensor, "c 1 k"]]:
        """Weights whose queries stand once per head, with zeros for the other heads, scaled; then keys, then values.

        So that one product per graph and channel gives the products of all heads.
        """
        a = self.attention
        used = 2 * a + (self.d_out if self.has_nodes else 0)
        own = torch.eye(self.heads, dtype=self.weight.dtype, device=self.weight.device)
        own = own.repeat_interleave(a // self.heads, 1) / math.sqrt(self.d_out)
        made = []
        for part in (self.weight, self.bias):
            queries = (part[..., None, :a] * own).flatten(-2)
            made.append(torch.cat([queries, part[..., a:used]], dim=-1))
        return made[0], made[1]
