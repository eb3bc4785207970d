"""How near a conformation is to a given structure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone, read_backbone
from mogen.domain.conformation import kabsch, rmsd, tm_score
from objectives.structure.structure import CoordinateObjective


@dataclass(frozen=True, eq=False)
class Reference:
    """CA positions of a structure (Å), and what the ledger knows it by."""

    ca: Float[Tensor, "r 3"]
    digest: str

    @classmethod
    def read(cls, path: Path) -> Reference:
        """The first model of a file."""
        return cls.of(read_backbone(path))

    @classmethod
    def of(cls, backbone: Backbone) -> Reference:
        return cls(backbone.ca.double(), hashlib.sha256(backbone.key.encode()).hexdigest()[:16])

    def compared(
        self,
        atoms: Float[Tensor, "b r 4 3"],
        measure: Callable[[Float[Tensor, "b r 3"], Float[Tensor, "r 3"]], Float[Tensor, " b"]],
    ) -> Float[Tensor, " b"]:
        """What a measure says of CA positions and these; NaN for chains of another length."""
        if atoms.shape[1] != len(self.ca):
            return torch.full((len(atoms),), torch.nan, dtype=torch.float64)
        return measure(atoms[:, :, 1].double(), self.ca)


@final
class RmsdTo(CoordinateObjective):
    """CA RMSD to a structure in Å, after superposition; NaN for chains of another length.

    Args:
        reference: the structure (PDB or mmCIF).
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    unit, source = "Å", "Kabsch 1976, CA atoms, never a reflection"

    def __init__(self, *, reference: str, worst: float = 10.0, best: float = 0.0, name: str = "rmsd_to") -> None:
        self.name = name
        self.reference, self.worst, self.best = Reference.read(Path(reference)), float(worst), float(best)
        self.parameters = {"reference": self.reference.digest}

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        return self.reference.compared(x, rmsd)


@final
class TmTo(CoordinateObjective):
    """TM-score to a structure with the same residues, from 0 to 1; NaN for chains of another length.

    Args:
        reference: the structure (PDB or mmCIF).
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    source = "Zhang and Skolnick 2004, CA atoms, residues paired by place"

    def __init__(self, *, reference: str, worst: float = 0.0, best: float = 1.0, name: str = "tm_to") -> None:
        self.name = name
        self.reference, self.worst, self.best = Reference.read(Path(reference)), float(worst), float(best)
        self.parameters = {"reference": self.reference.digest}

    def measure(self, backbone: Backbone) -> float:
        if len(backbone) != len(self.reference.ca):
            return float("nan")
        return tm_score(backbone.ca, self.reference.ca)

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        """A lower bound with gradients: the local maximum that the superposition of smallest RMSD leads to."""

        def after(ca: Float[Tensor, "b r 3"], fixed: Float[Tensor, "r 3"]) -> Float[Tensor, " b"]:
            scale = max(0.5, 1.24 * max(len(fixed) - 15, 0) ** (1 / 3) - 1.8)
            rotation, centre, aim = best_placement(ca.detach(), fixed, scale)
            square = ((ca - centre) @ rotation.mT + aim - fixed).square().sum(-1)
            return (1 / (1 + square / scale**2)).mean(1)

        return self.reference.compared(x, after)


def best_placement(
    ca: Float[Tensor, "b r 3"], fixed: Float[Tensor, "r 3"], scale: float, *, rounds: int = 100
) -> tuple[Float[Tensor, "b 3 3"], Float[Tensor, "b 1 3"], Float[Tensor, "b 1 3"]]:
    """Rotation, centre and aim that locally maximise sum 1 / (1 + (d / scale)^2), by reweighted superposition.

    At the maximum the score's gradient is that of a placement held still.
    """
    weight = torch.ones_like(ca[..., :1])
    for _ in range(rounds):
        total = weight.sum(1, keepdim=True)
        centre, aim = (weight * ca).sum(1, keepdim=True) / total, (weight * fixed).sum(1, keepdim=True) / total
        rotation = kabsch((ca - centre) * weight, fixed - aim)
        square = ((ca - centre) @ rotation.mT + aim - fixed).square().sum(-1, keepdim=True)
        weight = (1 + square / scale**2) ** -2
    return rotation, centre, aim
