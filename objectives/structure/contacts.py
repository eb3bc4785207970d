"""Which residues are close."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.conformation import native_contacts
from mogen.errors import ConfigError
from objectives.structure.reference import Reference
from objectives.structure.structure import CoordinateObjective


@final
class NativeContacts(CoordinateObjective):
    """Fraction of the native contacts of a structure, smooth: mean sigmoid(-5 (d - 1.2 d0)) over CA pairs.

    A contact is a pair at least four residues apart and at most 10 Å in the native structure (Lewis et al. 2025).

    Args:
        native: the native structure (PDB or mmCIF).
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    source = "fraction of native contacts, Lewis et al. 2025"

    def __init__(self, *, native: str, worst: float = 0.0, best: float = 1.0, name: str = "native_contacts") -> None:
        self.name = name
        self.native, self.worst, self.best = Reference.read(Path(native)), float(worst), float(best)
        self.parameters = {"native": self.native.digest}

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        return self.native.compared(x, lambda ca, native: native_contacts(ca, native))


@final
class Contacts(CoordinateObjective):
    """Share of chosen CA pairs in contact, smooth: the mean of (1 - x^6) / (1 - x^12) = 1 / (1 + x^6), x = (d - 2) / 8.

    Below 2 Å a pair counts 1.

    Args:
        pairs: residues that should meet, by place in the chain from 0.
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    source = "rational switching function with d0 = 2 Å and r0 = 8 Å"

    def __init__(
        self, *, pairs: tuple[tuple[int, int], ...], worst: float = 0.0, best: float = 1.0, name: str = "contacts"
    ) -> None:
        if not pairs or any(len(pair) != 2 or min(pair) < 0 or pair[0] == pair[1] for pair in pairs):
            raise ConfigError(f"expected pairs of different residues counted from 0, got {pairs}")
        self.name = name
        self.pairs = torch.tensor([list(pair) for pair in pairs])
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"pairs": self.pairs.tolist()}

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        if int(self.pairs.max()) >= x.shape[1]:
            return torch.full((len(x),), torch.nan, dtype=torch.float64)
        ca = x[:, :, 1].double()
        distance = (ca[:, self.pairs[:, 0]] - ca[:, self.pairs[:, 1]]).norm(dim=-1)
        return (1 / (1 + ((distance - 2).clamp(min=0) / 8) ** 6)).mean(1)
