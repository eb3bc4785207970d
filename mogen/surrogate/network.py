"""Networks of beliefs: message passing over the atoms of molecules, convolutions over the tokens of sequences."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mogen.domain.graph import census, encode_molecules
from mogen.domain.molecule import Molecule


class Encoding(ABC):
    """How candidates become tensors, and the network that reads them."""

    @abstractmethod
    def tensors(self, candidates: Sequence[Any]) -> tuple[Tensor, ...]:
        """One row per candidate in every tensor."""

    @abstractmethod
    def network(self, width: int, depth: int, outputs: int) -> nn.Module:
        """An untrained network of these tensors."""


@final
class Tokens(Encoding):
    """The tokens that were seen, by number from 1 (0: no token; the last number: any other token)."""

    def __init__(self, candidates: Sequence[Any]) -> None:
        self.alphabet = sorted({letter for item in candidates for letter in item.key})
        self.length = max(len(item.key) for item in candidates)

    def tensors(self, candidates: Sequence[Any]) -> tuple[Int[Tensor, "n l"]]:
        number = {letter: k + 1 for k, letter in enumerate(self.alphabet)}
        other, length = len(self.alphabet) + 1, max([self.length, *(len(item.key) for item in candidates)])
        rows = [[number.get(letter, other) for letter in item.key] for item in candidates]
        return (torch.tensor([row + [0] * (length - len(row)) for row in rows], dtype=torch.long).reshape(-1, length),)

    def network(self, width: int, depth: int, outputs: int) -> nn.Module:
        return Convolutions(len(self.alphabet) + 2, width, depth, outputs)


@final
class Atoms(Encoding):
    """Atom types that were seen and bond orders; what cannot be encoded is an empty graph."""

    def __init__(self, candidates: Sequence[Any]) -> None:
        self.types, self.most = census([item.key for item in candidates])

    def tensors(self, candidates: Sequence[Any]) -> tuple[Int[Tensor, "n v"], Int[Tensor, "n v v"]]:
        most = self.most + 10
        graphs, rows = encode_molecules([item.key for item in candidates], self.types, most, skip=True)
        atoms = torch.zeros(len(candidates), most, dtype=torch.long)
        bonds = torch.zeros(len(candidates), most, most, dtype=torch.long)
        atoms[rows], bonds[rows] = graphs.atoms.long() + 1, graphs.bonds.long()
        return atoms, bonds

    def network(self, width: int, depth: int, outputs: int) -> nn.Module:
        return MessagePassing(len(self.types) + 1, width, depth, outputs)


def default_encoding(candidates: Sequence[Any]) -> Encoding:
    """Atoms for molecules; tokens for anything else that has a text as its key."""
    if all(isinstance(item, Molecule) for item in candidates):
        return Atoms(candidates)
    return Tokens(candidates)


@final
class Convolutions(nn.Module):
    """Residual convolutions over five tokens with sinusoidal places, then mean and maximum over tokens."""

    def __init__(self, kinds: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, width, padding_idx=0)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.head = readout(2 * width, width, outputs)

    def forward(self, tokens: Int[Tensor, "n l"]) -> Float[Tensor, "n k"]:
        exists = (tokens > 0)[..., None].float()
        hidden = (self.embedding(tokens) + places(tokens.shape[1], self.embedding.embedding_dim).to(exists)) * exists
        for layer, norm in zip(self.layers, self.norms, strict=True):
            message = layer((norm(hidden) * exists).mT).mT
            hidden = hidden + nn.functional.gelu(message) * exists
        return self.head(pooled(hidden, exists))


@final
class MessagePassing(nn.Module):
    """h_i += W gelu(U h_i + sum_j V_order(i, j) h_j) over bonds of three orders, then sum and maximum over atoms."""

    def __init__(self, kinds: int, width: int, depth: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(kinds, width, padding_idx=0)
        self.degree = nn.Linear(3, width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.others = nn.ModuleList(nn.Linear(3 * width, width, bias=False) for _ in range(depth))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.head = readout(2 * width, width, outputs)

    def forward(self, atoms: Int[Tensor, "n v"], bonds: Int[Tensor, "n v v"]) -> Float[Tensor, "n k"]:
        exists = (atoms > 0)[..., None].float()
        order = torch.stack([(bonds == k).float() for k in (1, 2, 3)], 1)
        hidden = (self.embedding(atoms) + self.degree(order.sum(-1).mT)) * exists
        for own, others, out, norm in zip(self.own, self.others, self.out, self.norms, strict=True):
            seen = norm(hidden) * exists
            message = (order @ seen[:, None]).permute(0, 2, 1, 3).flatten(2)
            hidden = hidden + out(nn.functional.gelu(own(seen) + others(message))) * exists
        total = hidden.sum(1) / 10
        highest = hidden.masked_fill(exists == 0, -1e4).amax(1).clamp(min=-10)
        return self.head(torch.cat([total, highest], -1))


def pooled(hidden: Float[Tensor, "n l d"], exists: Float[Tensor, "n l 1"]) -> Float[Tensor, "n e"]:
    """Mean and maximum over what exists."""
    mean = hidden.sum(1) / exists.sum(1).clamp(min=1)
    return torch.cat([mean, hidden.masked_fill(exists == 0, -1e4).amax(1).clamp(min=-10)], -1)


def readout(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))


def places(length: int, width: int) -> Float[Tensor, "l d"]:
    """Sines and cosines of the place at wavelengths from 2 pi to 1,000 (Vaswani et al. 2017)."""
    rate = torch.exp(torch.arange(0, width, 2) / width * -math.log(1000.0))
    angle = torch.arange(length)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width] * 0.3
