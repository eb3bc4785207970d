"""A front that remembers its candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import ShapeError
from mogen.pareto.dominance import is_non_dominated
from mogen.types import C


@runtime_checkable
class Evaluated(Protocol):
    """What the archive needs of an evaluation (`mogen.objective.Evaluation` is one)."""

    @property
    def utility(self) -> Float[Tensor, "n m"]: ...

    @property
    def is_valid(self) -> Bool[Tensor, " n"]: ...

    def __getitem__(self, index: Tensor) -> Any: ...

    @staticmethod
    def concatenate(parts: Sequence[Any]) -> Any: ...


@final
class ParetoArchive(Generic[C]):
    """The best candidates met so far: those that no other valid candidate dominates.

    Invalid candidates, and those with a NaN utility, never enter. A candidate whose key is already here is left as it
    was first measured; different candidates with equal utilities are both kept. Whoever is dominated by a newcomer is
    thrown out. Members stand in the order they entered.
    """

    def __init__(self, m: int) -> None:
        if m < 1:
            raise ShapeError(f"an archive needs at least one objective, got m={m}")
        self.m = m
        self._candidates: list[C] = []
        self._keys: set[str] = set()
        self._evaluation: Any = None
        self._utility = torch.zeros(0, m, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._candidates)

    @property
    def candidates(self) -> list[C]:
        """The members, in the order they entered."""
        return list(self._candidates)

    @property
    def utility(self) -> Float[Tensor, "n m"]:
        """The members' utilities, a copy in float64."""
        return self._utility.clone()

    @property
    def evaluation(self) -> Any:
        """The members' evaluation, of the kind that was added; None before anything was added."""
        return self._evaluation

    def add(self, candidates: Sequence[C], evaluation: Evaluated) -> Bool[Tensor, " n"]:
        """Offers candidates, and marks those that are new members now."""
        self._check(candidates, evaluation)
        if self._evaluation is None:
            self._evaluation = evaluation[torch.zeros(0, dtype=torch.long)]
        entered = torch.zeros(len(candidates), dtype=torch.bool)
        fresh = self._fresh(candidates, evaluation)
        if not fresh:
            return entered
        index = torch.tensor(fresh)
        utility = torch.cat([self._utility, evaluation.utility[index].detach().to("cpu", torch.float64)])
        kept = is_non_dominated(utility)
        stays, is_new = kept[: len(self)], kept[len(self) :]
        if is_new.any():
            self._replace(stays, index[is_new], candidates, evaluation)
            self._utility = utility[kept]
            entered[index[is_new]] = True
        return entered

    def _check(self, candidates: Sequence[C], evaluation: Evaluated) -> None:
        if evaluation.utility.shape != (len(candidates), self.m):
            raise ShapeError(
                f"utility must be {len(candidates)} x {self.m} for this archive, got {tuple(evaluation.utility.shape)}"
            )

    def _fresh(self, candidates: Sequence[C], evaluation: Evaluated) -> list[int]:
        """Positions of the valid candidates with keys not yet here, each key once."""
        is_sound = (evaluation.is_valid & ~evaluation.utility.isnan().any(1)).tolist()
        first: dict[str, int] = {}
        for position, candidate in enumerate(candidates):
            if is_sound[position] and candidate.key not in self._keys:
                first.setdefault(candidate.key, position)
        return list(first.values())

    def _replace(self, stays: Tensor, index: Tensor, candidates: Sequence[C], evaluation: Evaluated) -> None:
        members = [self._candidates[row] for row in stays.nonzero().flatten().tolist()]
        self._candidates = members + [candidates[row] for row in index.tolist()]
        self._keys = {candidate.key for candidate in self._candidates}
        self._evaluation = type(evaluation).concatenate([self._evaluation[stays], evaluation[index]])
