"""The denoising network of Str2Str (Lu et al. 2024; the architecture is FrameDiff's, Yim et al. 2023).

Noisy residue frames go in, the predicted clean frames and psi come out. Translations are in nm (ångström times 0.1)
throughout; only the distances of self-conditioning are binned in ångström.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mogen.errors import ConfigError
from samplers.diffusion import so3
from samplers.str2str.attention import InvariantPointAttention, full, linear
from samplers.str2str.dense import Linear, by_pieces, dense

SINES = 32
"""width of the embeddings of times and positions"""
BINS = 22
"""bins of the distances of self-conditioning"""
LONGEST = 2056
"""the longest wave of the embedding of positions, in residues"""


class Frames(NamedTuple):
    """Predicted clean frames (translations in nm) and (sin, cos) of psi."""

    rotations: Float[Tensor, "b r 3 3"]
    translations: Float[Tensor, "b r 3"]
    psi: Float[Tensor, "b r 2"]


@dataclass(frozen=True)
class Size:
    """How large a network is; `Size.named` knows published, small and tiny.

    Args:
        node: width of residues.
        edge: width of pairs of residues.
        hidden: width of a head of invariant point attention.
        heads: heads of invariant point attention.
        query_points: query and key points of a head.
        value_points: value points of a head.
        blocks: blocks of the trunk.
        skip: width at which the first embedding enters every block again.
        layers: transformer layers of a block.
        layer_heads: heads of a transformer layer.
    """

    node: int = 256
    edge: int = 128
    hidden: int = 256
    heads: int = 8
    query_points: int = 8
    value_points: int = 12
    blocks: int = 4
    skip: int = 64
    layers: int = 2
    layer_heads: int = 4

    @classmethod
    def named(cls, name: str) -> Size:
        """published (17.4 M parameters), small (3.0 M) or tiny (0.3 M)."""
        sizes = {
            "published": cls(),
            "small": cls(node=128, edge=64, hidden=16, skip=32),
            "tiny": cls(
                node=64, edge=32, hidden=16, heads=4, query_points=4, value_points=8, blocks=2, layers=1, skip=16
            ),
        }
        if name not in sizes:
            raise ConfigError(f"expected a size among {', '.join(sizes)}, got {name!r}")
        return sizes[name]


@final
class Denoiser(nn.Module):
    """From frames at time t to the frames at time 0 they are expected to come from; equivariant to rigid motions."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embedder = Embedder(size)
        self.blocks = nn.ModuleList(Block(size, is_last=i + 1 == size.blocks) for i in range(size.blocks))
        self.torsion = TorsionHead(size.node)

    def forward(
        self,
        rotations: Float[Tensor, "b r 3 3"],
        translations: Float[Tensor, "b r 3"],
        t: Float[Tensor, " b"],
        *,
        exists: Bool[Tensor, "b r"],
        moves: Bool[Tensor, "b r"],
        positions: Int[Tensor, "b r"],
        seen: Float[Tensor, "b r 3"],
    ) -> Frames:
        """The predicted frames; residues that do not move keep theirs.

        `seen` are the CA positions (nm) of the prediction before, zeros where there is none; `positions` are places
        along the chain.
        """
        mask = exists.to(translations.dtype)[..., None]
        node, edge = self.embedder(t, exists, moves, positions, seen)
        first, moving = node, (moves & exists).to(translations.dtype)[..., None]
        # rigid motions are taken out so that rounding does not depend on where the chain lies
        centre = (translations * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
        place = translations - centre
        for block in self.blocks:
            node, edge, rotations, place = block(node, first, edge, rotations, place, exists, moving)
        return Frames(rotations, place + centre, self.torsion(node))


@final
class Embedder(nn.Module):
    """Features of residues (time, whether fixed, position) and pairs (both times, offset, distance seen before).

    The first layer of pairs is never given its 120 inputs: what depends on one residue, on the offset or on the bin is
    multiplied once and gathered.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.node = Mlp(2 * SINES + 1, size.node)
        self.edge = Mlp(2 * (SINES + 1) + SINES + BINS, size.edge)

    def forward(
        self,
        t: Float[Tensor, " b"],
        exists: Bool[Tensor, "b r"],
        moves: Bool[Tensor, "b r"],
        positions: Int[Tensor, "b r"],
        seen: Float[Tensor, "b r 3"],
    ) -> tuple[Float[Tensor, "b r d"], Float[Tensor, "b r r e"]]:
        r = exists.shape[1]
        time = time_embedding(t)[:, None].expand(-1, r, -1)
        time = torch.cat((time, (~moves).to(time.dtype)[..., None]), -1)
        mask = exists.to(time.dtype)[..., None]
        node = self.node(torch.cat((time, position_embedding(positions.to(time.dtype))), -1)) * mask
        return node, self._pairs(time, positions, seen, exists)

    def _pairs(
        self,
        time: Float[Tensor, "b r d"],
        positions: Int[Tensor, "b r"],
        seen: Float[Tensor, "b r 3"],
        exists: Bool[Tensor, "b r"],
    ) -> Float[Tensor, "b r r e"]:
        width = SINES + 1
        weight, constant = self.edge.first.weight, self.edge.first.bias
        here, there = (time @ weight[:, a : a + width].T for a in (0, width))
        offset = positions[:, :, None] - positions[:, None]
        if bool((positions == positions[:1]).all()):  # replicas of one chain share everything but the distances
            offset = offset[:1]
        far = int(offset.abs().max()) if offset.numel() else 0
        table = position_embedding(torch.arange(-far, far + 1, device=time.device).to(time.dtype))
        table = table @ weight[:, 2 * width : 2 * width + SINES].T
        bins = torch.cat((weight[:, -BINS:].T, torch.zeros_like(weight[:, :1].T)))
        here, offset, seen_bin = here + constant, offset + far, distance_bin(10 * seen)

        def made(items: slice, rows: slice) -> Tensor:
            shared = items if len(offset) > 1 else slice(0, 1)
            found = here[items, rows, None] + there[items, None]
            found = found + table[offset[shared, rows]] + bins[seen_bin[items, rows]]
            return masked(self.edge.rest(found), exists, items, rows)

        return by_pieces(made, exists)


@final
class Mlp(nn.Module):
    """Three layers and a norm; the first is apart, so that it can be applied in pieces."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = Linear(inputs, width)
        self.rest = nn.Sequential(nn.ReLU(), Linear(width, width), nn.ReLU(), Linear(width, width), nn.LayerNorm(width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b e"]:
        return self.rest(self.first(x))


def time_embedding(t: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
    """Sines, then cosines, of 10,000 t at 16 rates from 1 down to 1/10,000."""
    rate = torch.exp(-math.log(10_000) * torch.arange(SINES // 2, device=t.device, dtype=t.dtype) / (SINES // 2 - 1))
    phase = 10_000 * t[:, None] * rate
    return torch.cat((phase.sin(), phase.cos()), -1)


def position_embedding(position: Float[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
    """Sines, then cosines, of pi i / 2056^(k/16) for k = 0 .. 15."""
    order = torch.arange(SINES // 2, device=position.device, dtype=position.dtype)
    phase = position[..., None] * math.pi / LONGEST ** (2 * order / SINES)
    return torch.cat((phase.sin(), phase.cos()), -1)


def distance_bin(ca: Float[Tensor, "b r 3"]) -> Int[Tensor, "b r r"]:
    """Which of 22 bins from 1e-5 to 20 Å (the last is open) every distance is in; 22 where it is below the first."""
    edges = torch.linspace(1e-5, 20, BINS, device=ca.device, dtype=ca.dtype)
    distance = (ca[:, :, None] - ca[:, None]).norm(dim=-1)
    return (torch.bucketize(distance, edges) - 1) % (BINS + 1)


@final
class Block(nn.Module):
    """Point attention, a transformer over the chain, a transition, a move of the frames, an update of the pairs."""

    def __init__(self, size: Size, *, is_last: bool) -> None:
        super().__init__()
        width = size.node + size.skip
        self.attention = InvariantPointAttention(
            size.node, size.edge, size.hidden, size.heads, size.query_points, size.value_points
        )
        self.norm = nn.LayerNorm(size.node)
        self.skip = linear(size.node, size.skip, "final")
        layer = nn.TransformerEncoderLayer(width, size.layer_heads, width, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)
        self.mix = linear(width, size.node, "final")
        self.transition = NodeTransition(size.node)
        self.update = linear(size.node, 6, "final")
        self.pairs = None if is_last else EdgeTransition(size.node, size.edge)

    def forward(
        self,
        node: Float[Tensor, "b r d"],
        first: Float[Tensor, "b r d"],
        edge: Float[Tensor, "b r r e"],
        rotations: Float[Tensor, "b r 3 3"],
        translations: Float[Tensor, "b r 3"],
        exists: Bool[Tensor, "b r"],
        moving: Float[Tensor, "b r 1"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mask = exists.to(moving.dtype)[..., None]
        attended = self.attention(node, edge, rotations, translations, exists) * mask
        node = self.norm(node + attended)
        mixed = torch.cat((node, self.skip(first)), -1)
        for layer in self.transformer.layers:
            mixed = encoded(layer, mixed, exists)
        node = self.transition(node + self.mix(mixed)) * mask
        change = full(self.update(node)) * moving
        with torch.autocast(node.device.type, enabled=False):
            rotations, translations = moved(rotations, translations, change)
        if self.pairs is not None:
            edge = self.pairs(node, edge, exists)
        return node, edge, rotations, translations


def encoded(
    layer: nn.TransformerEncoderLayer, x: Float[Tensor, "b r d"], exists: Bool[Tensor, "b r"]
) -> Float[Tensor, "b r d"]:
    """What a transformer layer (norms last, ReLU, no dropout) makes of residues that look at those that exist."""
    attention = layer.self_attn
    parts = dense(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
    q, k, v = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in parts)
    mask = None if bool(exists.all()) else exists[:, None, None]
    seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = attention.out_proj
    x = layer.norm1(x + dense(seen.transpose(1, 2).flatten(2), out.weight, out.bias))
    hidden = dense(x, layer.linear1.weight, layer.linear1.bias, relu=True)
    return layer.norm2(x + dense(hidden, layer.linear2.weight, layer.linear2.bias))


def moved(
    rotations: Float[Tensor, "b r 3 3"], translations: Float[Tensor, "b r 3"], change: Float[Tensor, "b r 6"]
) -> tuple[Float[Tensor, "b r 3 3"], Float[Tensor, "b r 3"]]:
    """Frames composed with a small frame: the quaternion (1, b, c, d) and a translation, both in the residue's frame.

    The matrix of (1, v) is I + 2 ([v] + [v]^2) / (1 + |v|^2); no quaternion of the frame itself is needed.
    """
    turn, shift = change.split(3, -1)
    cross = so3.skew(turn)
    small = 2 * (cross + cross @ cross) / (1 + turn.square().sum(-1))[..., None, None]
    return rotations + rotations @ small, translations + (rotations @ shift[..., None]).squeeze(-1)


@final
class NodeTransition(nn.Module):
    """Three layers with a way around them; the identity (but for the norm) at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            linear(width, width, "relu"),
            nn.ReLU(),
            linear(width, width, "relu"),
            nn.ReLU(),
            linear(width, width, "final"),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, node: Float[Tensor, "b r d"]) -> Float[Tensor, "b r d"]:
        return self.norm(node + self.layers(node))


@final
class EdgeTransition(nn.Module):
    """New pair features from [z_ij; n_i; n_j], without ever building that concatenation.

    W [z; n_i; n_j] = W_z z + (W_a n)_i + (W_b n)_j in the first layer, and again where the way around the hidden layers
    meets the last one.
    """

    def __init__(self, node: int, edge: int) -> None:
        super().__init__()
        self.node = linear(node, node // 2, "relu")
        width = edge + 2 * (node // 2)
        self.width, self.edge = node // 2, edge
        self.first, self.second = linear(width, width, "relu"), linear(width, width, "relu")
        self.out = linear(width, edge, "final")
        self.norm = nn.LayerNorm(edge)

    def forward(
        self, node: Float[Tensor, "b r d"], edge: Float[Tensor, "b r r e"], exists: Bool[Tensor, "b r"]
    ) -> Float[Tensor, "b r r e"]:
        node = self.node(node)
        first, out = self._split(self.first, node), self._split(self.out, node)
        second, last = self.second.weight.to(node.dtype), self.out.weight.to(node.dtype)

        def made(items: slice, rows: slice) -> Tensor:
            pairs = edge[items, rows]
            hidden = first.spread(pairs, items, rows).relu_()
            hidden = dense(hidden, second, self.second.bias, relu=True)
            return masked(self.norm(out.spread(pairs, items, rows).add_(dense(hidden, last))), exists, items, rows)

        return by_pieces(made, exists)

    def _split(self, layer: nn.Linear, node: Float[Tensor, "b r d"]) -> Spread:
        """A layer of [z; n_i; n_j] with what it makes of residues already made."""
        on_edge, on_here, on_there = layer.weight.split((self.edge, self.width, self.width), 1)
        return Spread(on_edge.to(node.dtype).contiguous(), dense(node, on_here, layer.bias), dense(node, on_there))


def masked(
    pairs: Float[Tensor, "k i r e"], exists: Bool[Tensor, "b r"], items: slice, rows: slice
) -> Float[Tensor, "k i r e"]:
    """Pairs of some items and rows, zero where either residue does not exist."""
    here, there = exists[items, rows, None], exists[items, None]
    return pairs if bool(there.all()) else pairs * (here & there)[..., None]


class Spread(NamedTuple):
    """W [z; n_i; n_j] + b as W_z z + (W_a n + b)_i + (W_b n)_j."""

    weight: Float[Tensor, "f e"]
    here: Float[Tensor, "b r f"]
    there: Float[Tensor, "b r f"]

    def spread(self, edge: Float[Tensor, "k i r e"], items: slice, rows: slice) -> Float[Tensor, "k i r f"]:
        """The layer applied to some items and rows of the pairs."""
        return dense(edge, self.weight).add_(self.here[items, rows, None]).add_(self.there[items, None])


@final
class TorsionHead(nn.Module):
    """(sin, cos) of psi.

    The published head has a layer that its output does not depend on; it is kept, so that a published state fits.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(linear(width, width, "relu"), nn.ReLU(), linear(width, width, "relu"))
        self.idle = linear(width, width, "final").requires_grad_(False)
        self.out = linear(width, 2, "final")
        nn.init.constant_(self.out.bias[1:], 1.0)  # psi = 0: a zero vector has no direction and an endless gradient

    def forward(self, node: Float[Tensor, "b r d"]) -> Float[Tensor, "b r 2"]:
        raw = full(self.out(node + self.layers(node)))
        return raw / raw.square().sum(-1, keepdim=True).clamp(min=1e-8).sqrt()
