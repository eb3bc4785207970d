"""Which conformations count as proteins: a constraint, never an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool
from torch import Tensor

from mogen.domain.backbone import Backbone
from mogen.objective import Constraint


@final
class ValidBackbone(Constraint[Backbone]):
    """No two CA closer than 3 Å, neighbouring CA closer than 4.2 Å, no peptide bond above a limit.

    Args:
        clash: the least distance of two CA, Å.
        bond: the largest distance of CA that follow one another, Å.
        peptide: the longest bond from C to the next N, Å.
    """

    name = "valid_backbone"

    def __init__(self, *, clash: float = 3.0, bond: float = 4.2, peptide: float = 2.0) -> None:
        self.clash, self.bond, self.peptide = float(clash), float(bond), float(peptide)
        self.parameters = {"clash": self.clash, "bond": self.bond, "peptide": self.peptide}

    def passes(self, candidates: Sequence[Backbone]) -> Bool[Tensor, " n"]:
        return torch.tensor([self._is_valid(item) for item in candidates], dtype=torch.bool)

    def _is_valid(self, backbone: Backbone) -> bool:
        atoms, bonded = backbone.coordinates.double(), torch.tensor(backbone.is_bonded, dtype=torch.bool)
        ca = atoms[:, 1]
        above = torch.ones(len(ca), len(ca), dtype=torch.bool).triu(1)
        has_clash = bool((torch.cdist(ca, ca)[above] < self.clash).any())
        bond, peptide = (ca[1:] - ca[:-1]).norm(dim=-1), (atoms[1:, 0] - atoms[:-1, 2]).norm(dim=-1)
        return not has_clash and not bool((((bond >= self.bond) | (peptide > self.peptide)) & bonded).any())
