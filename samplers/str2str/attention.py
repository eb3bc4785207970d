"""Invariant point attention (Jumper et al. 2021, algorithm 22) with the pair terms of FrameDiff (Yim et al. 2023)."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from samplers.str2str.dense import Linear, dense


def linear(inputs: int, outputs: int, kind: str = "default") -> Linear:
    """A linear layer with AlphaFold 2's starting weights: default (LeCun), relu (He) or final (zeros); biases are 0."""
    layer = Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    if kind == "final":
        nn.init.zeros_(layer.weight)
    else:
        spread = math.sqrt((2.0 if kind == "relu" else 1.0) / inputs) / 0.87962566103423978
        nn.init.trunc_normal_(layer.weight, std=spread, a=-2 * spread, b=2 * spread)
    return layer


def full(x: Tensor) -> Tensor:
    """At least float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


@final
class InvariantPointAttention(nn.Module):
    """Attention by features, pairs and points carried by residue frames; invariant to a common motion of all frames.

    logits = q.k / sqrt(3 c) + sqrt(1/3) b_ij - softplus(gamma) sqrt(1 / (3 p 9/2)) / 2 sum_p |T_i q_p - T_j k_p|^2.
    The square is expanded in global coordinates, |q|^2 is constant over keys, so that features and points are one
    matrix product; that product, the points and the softmax stay in float32 under autocast.
    """

    def __init__(
        self, node: int, edge: int, hidden: int, heads: int, query_points: int = 8, value_points: int = 12
    ) -> None:
        super().__init__()
        self.hidden, self.heads, self.query_points, self.value_points = hidden, heads, query_points, value_points
        self.q = linear(node, heads * hidden)
        self.kv = linear(node, 2 * heads * hidden)
        self.q_points = linear(node, heads * query_points * 3)
        self.kv_points = linear(node, heads * (query_points + value_points) * 3)
        self.pair_bias = linear(edge, heads)
        self.pair_value = linear(edge, edge // 4)
        self.gamma = nn.Parameter(torch.full((heads,), 0.541324854612918))  # softplus gives 1
        self.out = linear(heads * (edge // 4 + hidden + 4 * value_points), node, "final")

    def forward(
        self,
        node: Float[Tensor, "b r d"],
        edge: Float[Tensor, "b r r e"],
        rotations: Float[Tensor, "b r 3 3"],
        translations: Float[Tensor, "b r 3"],
        exists: Bool[Tensor, "b r"],
    ) -> Float[Tensor, "b r d"]:
        b, r, _ = node.shape
        h, c = self.heads, self.hidden
        q = self.q(node).view(b, r, h, c)
        k, v = self.kv(node).view(b, r, h, 2 * c).split(c, -1)
        q_points = self.q_points(node).view(b, r, h * self.query_points, 3)
        kv_points = self.kv_points(node).view(b, r, h * (self.query_points + self.value_points), 3)
        bias, pair_value = self._of_pairs(edge)
        with torch.autocast(node.device.type, enabled=False):
            q, k, v, bias = full(q), full(k), full(v), full(bias)
            ask, offer = full(q_points), full(kv_points)
            weights, features, points = self._attend(q, k, v, ask, offer, bias, rotations, translations, exists)
            local = torch.einsum("brji,brhpj->brhpi", rotations, points - translations[:, :, None, None])
            length = (local.square().sum(-1) + 1e-8).sqrt()
        pairs = torch.einsum("bhij,bije->bihe", weights.to(pair_value.dtype), pair_value)
        found = (
            features.flatten(2),
            *(local[..., axis].flatten(2) for axis in range(3)),
            length.flatten(2),
            pairs.flatten(2),
        )
        return self.out(torch.cat([part.to(node.dtype) for part in found], -1))

    def _of_pairs(self, edge: Float[Tensor, "b r r e"]) -> tuple[Float[Tensor, "b r r h"], Float[Tensor, "b r r f"]]:
        """Both projections of pairs, as one product."""
        weight = torch.cat((self.pair_bias.weight, self.pair_value.weight))
        found = dense(edge, weight, torch.cat((self.pair_bias.bias, self.pair_value.bias)))
        bias, value = found.split((self.heads, found.shape[-1] - self.heads), -1)
        return bias, value

    def _attend(
        self,
        q: Float[Tensor, "b r h c"],
        k: Float[Tensor, "b r h c"],
        v: Float[Tensor, "b r h c"],
        q_points: Float[Tensor, "b r hp 3"],
        kv_points: Float[Tensor, "b r hq 3"],
        bias: Float[Tensor, "b r r h"],
        rotations: Float[Tensor, "b r 3 3"],
        translations: Float[Tensor, "b r 3"],
        exists: Bool[Tensor, "b r"],
    ) -> tuple[Float[Tensor, "b h r r"], Float[Tensor, "b r h c"], Float[Tensor, "b r h p 3"]]:
        """Attention weights, attended features, and attended points in global coordinates."""
        b, r, h, c = q.shape
        p = self.query_points
        ask = placed(q_points, rotations, translations).view(b, r, h, p, 3).flatten(3)
        key, value = (
            placed(kv_points, rotations, translations)
            .view(b, r, h, p + self.value_points, 3)
            .split_with_sizes((p, self.value_points), 3)
        )
        key, value = key.flatten(3), value.flatten(3)
        strength = nn.functional.softplus(self.gamma) * math.sqrt(1 / (3 * p * 9 / 2))
        strength = strength[None, None, :, None]
        left = torch.cat((q * math.sqrt(1 / (3 * c)), strength * ask, torch.ones_like(q[..., :1])), -1)
        right = torch.cat((k, key, -0.5 * strength * key.square().sum(-1, keepdim=True)), -1)
        logits = math.sqrt(1 / 3) * bias.permute(0, 3, 1, 2)
        logits = logits + torch.einsum("bihc,bjhc->bhij", left, right)
        weights = logits.masked_fill(~exists[:, None, None], -1e9).softmax(-1)
        mixed = torch.einsum("bhij,bjhc->bihc", weights, torch.cat((v, value), -1))
        return weights, mixed[..., :c], mixed[..., c:].unflatten(-1, (self.value_points, 3))


def placed(
    points: Float[Tensor, "b r p 3"], rotations: Float[Tensor, "b r 3 3"], translations: Float[Tensor, "b r 3"]
) -> Float[Tensor, "b r p 3"]:
    """Points of residue frames in global coordinates."""
    return points @ rotations.transpose(-1, -2) + translations[:, :, None]
