"""Everything a sampler measured, in the order it was first asked for, and as graphs to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.graph import GraphBatch, MolecularGraphs, encode_graphs, encode_molecules
from mogen.errors import BudgetExhausted
from mogen.objective import Evaluation, Measure
from mogen.preference import Scalarization
from samplers.diffusion import Fields
from samplers.diffusion.steering import Worth
from samplers.gdss.model import GraphKind


@dataclass(frozen=True)
class Known:
    """One measured candidate."""

    candidate: Any
    value: Float[Tensor, " m"]
    utility: Float[Tensor, " m"]
    is_valid: bool


@final
class Record:
    """What was measured; every candidate once.

    Args:
        m: objectives.
    """

    def __init__(self, m: int) -> None:
        self.m = m
        self.known: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self.known)

    @property
    def keys(self) -> list[str]:
        """The candidates."""
        return list(self.known)

    @property
    def utility(self) -> Float[Tensor, "k m"]:
        """Their utilities, 0 for invalid ones."""
        rows = [item.utility for item in self.known.values()]
        return torch.stack(rows) if rows else torch.zeros(0, self.m)

    def ask(
        self, measure: Measure[Any], candidates: Sequence[Any], preference: Tensor | None = None
    ) -> Float[Tensor, "n m"]:
        """Measures candidates and remembers them, also those before the budget's end; utilities, 0 for invalid ones."""
        try:
            return self.note(candidates, measure(candidates, preference=preference))
        except BudgetExhausted:
            for row, item in enumerate(candidates):  # what was measured before the end is free, then this raises
                self.note([item], measure([item], preference=None if preference is None else preference[row : row + 1]))
            raise

    def note(self, candidates: Sequence[Any], said: Evaluation) -> Float[Tensor, "n m"]:
        """Remembers what was said of candidates, and returns their utilities, 0 for invalid ones."""
        utility = torch.where(said.is_valid.unsqueeze(1), said.utility, 0.0).float().cpu()
        value = said.value.float().cpu()
        for item, row, rest, is_valid in zip(candidates, value, utility, said.is_valid.tolist(), strict=True):
            self.known.setdefault(item.key, Known(item, row, rest, is_valid))
        return utility

    def measured(
        self,
        measure: Measure[Any],
        scalarization: Scalarization,
        wanted: Float[Tensor, "k m"],
        candidates: Callable[[Fields], list[Any]],
    ) -> Worth:
        """What predictions are worth to their group's preference, by measuring them; nothing where they are invalid."""

        def worth(fields: Fields) -> Tensor:
            items = candidates(fields)
            rows = [row for row, item in enumerate(items) if item is not None]
            found = torch.zeros(len(items))
            if rows:
                asked = wanted[fields["group"].cpu()[rows]]
                utility = self.ask(measure, [items[row] for row in rows], asked)
                found[rows] = scalarization(utility, asked)
            return found

        return worth

    def graphs(self, kind: GraphKind) -> tuple[MolecularGraphs | GraphBatch, Float[Tensor, "k m"]]:
        """The valid candidates that fit a kind as graphs, and their values (not clamped)."""
        items = [item for item in self.known.values() if item.is_valid]
        value = torch.stack([item.value for item in items]) if items else torch.zeros(0, self.m)
        if kind.types:
            texts = [item.candidate.smiles for item in items]
            made, rows = encode_molecules(texts, kind.types, kind.max_nodes, skip=True)
            return made, value[rows]
        fits = [row for row, item in enumerate(items) if kind.fits(item.candidate)]
        plain = [items[row].candidate for row in fits]
        return encode_graphs(plain, kind.max_nodes, kind.features, kind.labels), value[fits]
