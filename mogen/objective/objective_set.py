"""From raw values to utilities: the only file with signs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ObjectiveError, ShapeError
from mogen.objective.constraint import Constraint
from mogen.objective.objective import Objective
from mogen.types import C, C_contra


class Status(IntEnum):
    """What became of one measurement."""

    MEASURED = 0
    FAILED = 1
    MISSING = 2


@dataclass(frozen=True)
class Evaluation:
    """What is known of n candidates under m objectives."""

    raw: Float[Tensor, "n m"]
    status: Int[Tensor, "n m"]
    is_valid: Bool[Tensor, " n"]
    """all measured, and every constraint passed"""
    value: Float[Tensor, "n m"]
    """(raw - worst) / (best - worst), not clamped: what beliefs and guidance learn from"""
    utility: Float[Tensor, "n m"]
    """value clamped to [0, 1], zero where invalid: what fronts, hypervolume and rewards use"""
    noise: Float[Tensor, "n m"] | None = None

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: Tensor | slice) -> Evaluation:
        return Evaluation(
            self.raw[index],
            self.status[index],
            self.is_valid[index],
            self.value[index],
            self.utility[index],
            None if self.noise is None else self.noise[index],
        )

    @staticmethod
    def concatenate(parts: Sequence[Evaluation]) -> Evaluation:
        """The rows of all parts, in order; where only some parts know their noise, the others' is NaN."""
        is_noisy = any(part.noise is not None for part in parts)
        noise = [torch.full_like(part.raw, torch.nan) if part.noise is None else part.noise for part in parts]
        return Evaluation(
            torch.cat([part.raw for part in parts]),
            torch.cat([part.status for part in parts]),
            torch.cat([part.is_valid for part in parts]),
            torch.cat([part.value for part in parts]),
            torch.cat([part.utility for part in parts]),
            torch.cat(noise) if is_noisy else None,
        )


class Measure(Protocol[C_contra]):
    """An objective set, an oracle or a belief: the only thing samplers see.

    `preference` (n x m) notes what each candidate was made for; it never changes a value.
    """

    def __call__(
        self, candidates: Sequence[C_contra], *, preference: Float[Tensor, "n m"] | None = None
    ) -> Evaluation: ...


@final
class ObjectiveSet(Generic[C]):
    """Several objectives and constraints, measured together on one common scale.

    Raises `ObjectiveError` for an empty set, for two objectives of one name, and where worst equals best.
    """

    def __init__(
        self,
        objectives: Sequence[Objective[C]],
        constraints: Sequence[Constraint[C]] = (),
        name: str = "custom",
        reference: str = "",
    ) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        self.name, self.reference = name, reference
        if not self.objectives:
            raise ObjectiveError(f"an objective set needs at least one objective, got none in {name!r}")
        if len(set(self.names)) < self.m:
            raise ObjectiveError(f"objectives of a set need different names, got {list(self.names)} in {name!r}")
        for item in self.objectives:
            if not abs(item.best - item.worst) > 0 or not abs(item.best - item.worst) < float("inf"):
                raise ObjectiveError(
                    f"objective {item.name!r} needs finite, different worst and best, got worst={item.worst}, "
                    f"best={item.best}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.objectives)

    @property
    def m(self) -> int:
        return len(self.objectives)

    @property
    def worst(self) -> Float[Tensor, " m"]:
        return torch.tensor([item.worst for item in self.objectives], dtype=torch.float64)

    @property
    def best(self) -> Float[Tensor, " m"]:
        return torch.tensor([item.best for item in self.objectives], dtype=torch.float64)

    @property
    def identity(self) -> str:
        """A short hash of objectives, parameters, worst, best and constraints: stored with every number."""
        parts = [[item.identity, item.worst, item.best] for item in self.objectives]
        text = json.dumps([parts, [item.identity for item in self.constraints]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __call__(self, candidates: Sequence[C], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        """Measures every candidate under every objective; `preference` is not looked at."""
        del preference
        raw = [self.checked(item, candidates) for item in self.objectives]
        passed = [item.passes(candidates) for item in self.constraints]
        return self.evaluation(
            torch.stack(raw, 1),
            torch.stack(passed, 1) if passed else torch.ones(len(candidates), 0, dtype=torch.bool),
        )

    @staticmethod
    def checked(item: Objective[C], candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """The raw values of one objective, in float64; raises `ShapeError` where they are not one per candidate."""
        values = torch.as_tensor(item.evaluate(candidates), dtype=torch.float64)
        if values.shape != (len(candidates),):
            raise ShapeError(
                f"objective {item.name!r} must return {len(candidates)} values, got shape {tuple(values.shape)}"
            )
        return values

    def evaluation(
        self,
        raw: Float[Tensor, "n m"],
        passed: Bool[Tensor, "n c"] | None = None,
        status: Int[Tensor, "n m"] | None = None,
    ) -> Evaluation:
        """Raw values and constraint outcomes on the common scale; a NaN or infinite value counts as failed."""
        raw = raw.to(torch.float64)
        if status is None:
            status = torch.full(raw.shape, int(Status.MEASURED))
        status = torch.where((status == Status.MEASURED) & ~raw.isfinite(), int(Status.FAILED), status)
        is_valid = (status == Status.MEASURED).all(1)
        if passed is not None and passed.shape[1]:
            is_valid = is_valid & passed.all(1)
        value = (raw - self.worst) / (self.best - self.worst)
        utility = torch.where(is_valid[:, None], value.clamp(0, 1), 0.0)
        return Evaluation(raw, status, is_valid, value, utility)
