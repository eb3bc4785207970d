"""A pre-norm transformer with an optional attention bias and a key/value cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a layer norm."""

    def __init__(self, width: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.forward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def _heads(self, x: Float[Tensor, "n l d"]) -> tuple[Tensor, Tensor, Tensor]:
        n, length, _ = x.shape
        joint = self.query_key_value(self.attention_norm(x)).view(n, length, 3, self.heads, -1)
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _rest(self, x: Float[Tensor, "n l d"], mixed: Float[Tensor, "n h l e"]) -> Float[Tensor, "n l d"]:
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.forward_norm(x)), approximate="tanh"))

    def forward(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
        """Causal self-attention over the whole sequence."""
        query, key, value = self._heads(x)
        return self._rest(x, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def biased(self, x: Float[Tensor, "n l d"], bias: Float[Tensor, "n h l l"]) -> Float[Tensor, "n l d"]:
        """Self-attention with a bias added to the scores (minus infinity: not seen)."""
        query, key, value = self._heads(x)
        return self._rest(x, F.scaled_dot_product_attention(query, key, value, attn_mask=bias))

    def step(self, x: Float[Tensor, "n 1 d"], cache: tuple[Tensor, Tensor], at: int) -> Float[Tensor, "n 1 d"]:
        """One more token: writes its key and value at position `at` of the cache and looks back over it."""
        query, key, value = self._heads(x)
        keys, values = cache
        keys[:, :, at : at + 1] = key
        values[:, :, at : at + 1] = value
        mixed = F.scaled_dot_product_attention(query, keys[:, :, : at + 1], values[:, :, : at + 1])
        return self._rest(x, mixed)


Cache = list[tuple[Tensor, Tensor]]
"""keys and values (n x heads x length x e), one pair a block"""


class Gate(nn.Module):
    """x * (1 + scale(condition)) + shift(condition): a condition that multiplies (FiLM, Perez et al. 2018).

    Log-rewards are (nearly) linear in the preference, so what a preference does to a logit is a product of the two.
    """

    def __init__(self, condition: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(condition, 2 * width)

    def forward(self, x: Float[Tensor, "n *l d"], condition: Float[Tensor, "n c"]) -> Float[Tensor, "n *l d"]:
        """x of any number of axes between the batch and the features."""
        scale, shift = self.map(condition).view(len(x), *[1] * (x.ndim - 2), -1).chunk(2, -1)
        return x * (1 + scale) + shift


class Stack(nn.Module):
    """Blocks one after another, then a layer norm."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "n l d"]) -> Float[Tensor, "n l d"]:
        """Causal: a token sees itself and those before it."""
        for block in self._each():
            x = block(x)
        return self.norm(x)

    def biased(self, x: Float[Tensor, "n l d"], bias: Float[Tensor, "n h l l"]) -> Float[Tensor, "n l d"]:
        """With a bias on the scores of every pair of tokens."""
        for block in self._each():
            x = block.biased(x, bias)
        return self.norm(x)

    def step(self, x: Float[Tensor, "n 1 d"], cache: Cache, at: int) -> Float[Tensor, "n 1 d"]:
        """One more token at position `at`."""
        for block, part in zip(self._each(), cache, strict=True):
            x = block.step(x, part, at)
        return self.norm(x)

    def empty_cache(self, like: Float[Tensor, "n d"], length: int) -> Cache:
        """Room for sequences of at most `length` tokens."""
        shape = (len(like), self.heads, length, self.size)
        return [(like.new_zeros(shape), like.new_zeros(shape)) for _ in self.blocks]

    def _each(self) -> Iterator[Block]:
        return iter(cast("Iterable[Block]", self.blocks))


def padding_bias(is_real: Bool[Tensor, "n l"], dtype: torch.dtype) -> Float[Tensor, "n 1 1 l"]:
    """0 for real keys, a large negative number for padding."""
    return torch.where(is_real, 0.0, -1e9).to(dtype)[:, None, None]
