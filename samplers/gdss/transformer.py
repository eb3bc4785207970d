"""A graph transformer with edge states that is told the time; it says what the clean graph is, class by class."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from samplers.diffusion import Fields
from samplers.gdss.blocks import suits, through
from samplers.gdss.packed import Pairs, pairs_of
from samplers.gdss.rings import Likely, ring_features
from samplers.products import Linear


@final
class GraphTransformer(nn.Module):
    """Noisy one-hot nodes and edges in, probabilities of clean classes out; equivariant under renaming of nodes.

    Attention between nodes is biased and gated by edge states; edge states hear products of queries and keys. The
    time enters every block by scale and shift of its normalised states (Peebles and Xie 2023); random-walk return
    probabilities of the noisy graph are added to the nodes. Edges have no direction: one state a pair of nodes.

    Args:
        features: classes of nodes.
        edge_classes: classes of edges.
        width: of node states.
        edge_width: of edge states.
        depth: blocks.
        heads: attention heads.
        walks: steps of the random walk whose return probabilities are features of nodes.
        conditions: numbers in a condition (`value` among the fields, heard where `told` is 1); 0 for none.
        hops: steps of the walk whose probabilities between the nodes of a pair are features of its edge; 0 for none.
        is_self_conditioned: whether it also hears what it said the step before (`last_x` and `last_adj` among the
            fields, nothing where they are not given; Chen et al. 2023, Analog Bits, section 3.2).
        paths: steps of walks that never turn back, in the graph that is likely: how many there are between the nodes of
            a pair (and from a node to itself) are features, and how far an edge is from being a bridge; of the graph
            that every noisy edge says by itself and, where it is self-conditioned, of what was said the step before.
            They say which rings there are; 0 for none.
    """

    def __init__(
        self,
        features: int,
        edge_classes: int,
        width: int = 128,
        edge_width: int = 48,
        depth: int = 6,
        heads: int = 8,
        walks: int = 6,
        conditions: int = 0,
        hops: int = 0,
        is_self_conditioned: bool = False,
        paths: int = 0,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            "features": features,
            "edge_classes": edge_classes,
            "width": width,
            "edge_width": edge_width,
            "depth": depth,
            "heads": heads,
            "walks": walks,
            "conditions": conditions,
            "hops": hops,
            "is_self_conditioned": is_self_conditioned,
            "paths": paths,
        }
        self.features, self.edge_classes, self.walks, self.hops = features, edge_classes, walks, hops
        self.is_self_conditioned, self.paths = is_self_conditioned, paths
        times = 2 if is_self_conditioned else 1
        counts = times * (paths + 1) if paths else 0
        self.time = nn.Sequential(Linear(64, width), nn.SiLU(), Linear(width, width), nn.SiLU())
        self.node_in = Linear(times * features + walks + counts, width)
        self.edge_in = Linear(times * edge_classes + hops + counts, edge_width)
        self.blocks = nn.ModuleList(Block(width, edge_width, heads) for _ in range(depth))
        self.node_out, self.edge_out = head(width, features), head(edge_width, edge_classes)
        if paths:
            self.likely = Likely(edge_classes, width)
            self.overall = Linear(counts, width)
        self.conditions = conditions
        if conditions:
            self.condition = Condition(conditions, width)

    def states(self, fields: Fields, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, "b v d"], Float[Tensor, "b p e"]]:
        """States of nodes, and of the pairs i <= j of them, after the last block.

        Noisy edges are read as the mean of both directions.
        """
        x, adj, mask = fields["x"], fields["adj"], fields["mask"]
        told = self.time(time_features(t, mask.sum(1)))
        if self.conditions:
            told = told + self.condition(fields, t)
        walked = self.walked(adj, mask)
        back, ahead = walked[..., : self.walks], walked[..., : self.hops]
        of_nodes, of_edges = [x, back.diagonal(dim1=1, dim2=2).mT], [adj]
        if self.hops:
            of_edges.append((ahead + ahead.transpose(1, 2)) * mask.sum(1).view(-1, 1, 1, 1) / 2)
        if self.is_self_conditioned:
            of_nodes.append(fields.get("last_x", torch.zeros_like(x)))
            of_edges.append(fields.get("last_adj", torch.zeros_like(adj)))
        if self.paths:
            seen = [self.likely(adj, told)]
            if self.is_self_conditioned:
                seen.append(of_edges[-1][..., 1:].sum(-1))
            counts = torch.cat([ring_features(likely * pair_mask(mask), mask, self.paths) for likely in seen], dim=-1)
            of_nodes.append(counts.diagonal(dim1=1, dim2=2).mT)
            of_edges.append(counts)
            told = told + self.overall(counts.sum((1, 2)) / (2 * mask.sum(1, keepdim=True)))
        pairs = pairs_of(x.shape[1], x.device)
        nodes, edges = self.node_in(torch.cat(of_nodes, dim=-1)), self.edge_in(pairs.pack(torch.cat(of_edges, dim=-1)))
        blocks: list[Any] = list(self.blocks)
        if suits(nodes, edges, blocks):
            return through(blocks, nodes, edges, mask, told)
        for block in blocks:
            nodes, edges = block(nodes, edges, mask, told, pairs)
        return nodes, edges

    def classes(
        self, nodes: Float[Tensor, "b v d"], edges: Float[Tensor, "b p e"]
    ) -> tuple[Float[Tensor, "b v k"], Float[Tensor, "b v v c"]]:
        """Unnormalised log-probabilities of the clean classes that states say."""
        return self.node_out(nodes), pairs_of(nodes.shape[1], nodes.device).unpack(self.edge_out(edges))

    def logits(self, fields: Fields, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, "b v d"], Float[Tensor, "b v v k"]]:
        """Unnormalised log-probabilities of the clean classes of nodes and edges."""
        nodes, edges = self.states(fields, t)
        return self.classes(nodes, edges)

    def forward(self, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        nodes, edges = self.logits(fields, t)
        mask = fields["mask"]
        return {
            "x": nodes.softmax(-1) * mask.unsqueeze(-1),
            "adj": edges.softmax(-1) * pair_mask(mask).unsqueeze(-1),
        }

    def walked(self, adj: Float[Tensor, "b v v k"], mask: Float[Tensor, "b v"]) -> Float[Tensor, "b v v w"]:
        """Where 1, 2, ... steps of a walk lead, whose weights are how little an edge looks like none."""
        weight = (1 - adj[..., 0]).clamp(min=0) * pair_mask(mask)
        step = weight / weight.sum(-1, keepdim=True).clamp(min=1e-3)
        found = [step]
        for _ in range(max(self.walks, self.hops) - 1):
            found.append(found[-1] @ step)
        return torch.stack(found, dim=-1)


@final
class Condition(nn.Module):
    """A vector of values, or that none is told, in the space of the time's embedding; nothing at first.

    Args:
        count: values.
        width: of the embedding.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        last = Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(Linear(count + 1, width), nn.SiLU(), last)
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("spread", torch.ones(count))

    def forward(self, fields: Fields, t: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        told = fields["told"].to(t).unsqueeze(1) if "told" in fields else t.new_zeros(len(t), 1)
        value = fields["value"].to(t) if "value" in fields else self.mean.expand(len(t), -1)
        return self.layers(torch.cat([told * (value - self.mean) / self.spread, told], dim=1))


@final
class Block(nn.Module):
    """Attention with edge states, then a perceptron for nodes and one for edges."""

    def __init__(self, width: int, edge_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulate = Linear(width, 4 * width + 2 * edge_width)
        self.qkv = Linear(width, 3 * width)
        self.edge_to_heads = Linear(edge_width, 2 * heads)
        self.heads_to_edge = Linear(heads, edge_width)
        self.ends = Linear(width, edge_width)
        self.out = Linear(width, width)
        self.node_mlp = nn.Sequential(Linear(width, 2 * width), nn.SiLU(), Linear(2 * width, width))
        self.edge_mlp = nn.Sequential(Linear(edge_width, 2 * edge_width), nn.SiLU(), Linear(2 * edge_width, edge_width))
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self,
        nodes: Float[Tensor, "b v d"],
        edges: Float[Tensor, "b p e"],
        mask: Float[Tensor, "b v"],
        told: Float[Tensor, "b d"],
        pairs: Pairs,
    ) -> tuple[Float[Tensor, "b v d"], Float[Tensor, "b p e"]]:
        b, v, d = nodes.shape
        e = edges.shape[-1]
        s1, m1, s2, m2, s3, m3 = self.modulate(told).unsqueeze(1).split([d, d, d, d, e, e], dim=-1)
        x = functional.layer_norm(nodes, (d,)) * (1 + s1) + m1
        y = functional.layer_norm(edges, (e,)) * (1 + s3) + m3
        q, k, values = self.qkv(x).view(b, v, 3, self.heads, -1).unbind(2)
        products = torch.einsum("bihd,bjhd->bijh", q, k) / math.sqrt(q.shape[-1])
        gate, bias = pairs.unpack(self.edge_to_heads(y)).chunk(2, dim=-1)
        scores = products * (1 + gate) + bias
        scores = scores.masked_fill(mask[:, None, :, None] == 0, -1e4)
        mixed = torch.einsum("bijh,bjhd->bihd", scores.softmax(2), values).reshape(b, v, d)
        nodes = nodes + self.out(mixed)
        nodes = nodes + self.node_mlp(functional.layer_norm(nodes, (d,)) * (1 + s2) + m2)
        heard = self.heads_to_edge(pairs.fold(products)) + pairs.ends(self.ends(x))
        edges = edges + self.edge_mlp(y + heard)
        return nodes, edges


def pair_mask(mask: Float[Tensor, "b v"]) -> Float[Tensor, "b v v"]:
    """1 for pairs of different nodes that both exist."""
    pairs = mask.unsqueeze(1) * mask.unsqueeze(2)
    return pairs * (1 - torch.eye(mask.shape[1], dtype=mask.dtype, device=mask.device))


def head(width: int, classes: int) -> nn.Sequential:
    """From states to unnormalised log-probabilities."""
    return nn.Sequential(nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, classes))


def time_features(t: Float[Tensor, " b"], sizes: Float[Tensor, " b"]) -> Float[Tensor, "b 64"]:
    """Sines and cosines of the time, and of the number of nodes."""
    rate = torch.exp(torch.arange(16, device=t.device) * (-math.log(1000.0) / 16))
    angle = torch.cat([1000 * t.unsqueeze(1) * rate, sizes.unsqueeze(1) * rate], dim=1)
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(sizes.dtype)
