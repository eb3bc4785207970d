"""What was measured while steering, kept to start from again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self, final

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mogen.domain.backbone import Backbone, Residues
from mogen.objective import Evaluation
from mogen.pareto import is_non_dominated
from mogen.preference import Scalarization

FILE = "record.safetensors"


@final
class Record:
    """Valid conformations that no other measured one dominates, and their utilities.

    Args:
        backbones: the conformations.
        utility: what they measured (n x m).
    """

    def __init__(self, backbones: Sequence[Backbone], utility: Float[Tensor, "n m"]) -> None:
        self.backbones, self.utility = list(backbones), utility.double()

    def __len__(self) -> int:
        return len(self.backbones)

    def add(self, backbones: Sequence[Backbone], evaluation: Evaluation) -> None:
        """Takes in what was measured, and drops what is dominated now."""
        rows = evaluation.is_valid.nonzero().flatten().tolist()
        known = [*self.backbones, *(backbones[row] for row in rows)]
        utility = torch.cat([self.utility, evaluation.utility[rows].double().cpu()])
        kept = is_non_dominated(utility).nonzero().flatten().tolist() if len(utility) else []
        self.backbones, self.utility = [known[i] for i in kept], utility[kept]

    def best(self, scalarization: Scalarization, preference: Float[Tensor, "n m"]) -> list[int]:
        """For every preference, which conformation is worth most to it."""
        n, k = len(preference), len(self)
        utility = self.utility[None].expand(n, k, -1)
        return scalarization(utility, preference[:, None].expand(n, k, -1).to(utility)).argmax(1).tolist()

    def save(self, folder: Path) -> None:
        """Coordinates in 0.001 Å and utilities."""
        if len(self):
            milli = torch.stack([(item.coordinates.double() * 1000).round().int() for item in self.backbones])
            told = {"residues": self.backbones[0].residues.text}
            save_file({"milli": milli, "utility": self.utility.contiguous()}, folder / FILE, metadata=told)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The record in a folder; None where there is none."""
        if not (folder / FILE).is_file():
            return None
        with safe_open(folder / FILE, framework="pt") as file:
            residues = Residues.parse(file.metadata()["residues"])
            atoms, utility = file.get_tensor("milli").double() / 1000, file.get_tensor("utility")
        return cls([Backbone.of(item, residues) for item in atoms], utility)
