"""How objectives are run: an objective that breaks costs its candidate, not the run."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import torch

from mogen.errors import ObjectiveError, ShapeError
from mogen.objective import Constraint, Objective, Status

Item = Objective[Any] | Constraint[Any]
_LONGEST = 2_000
"""characters kept of what an objective says when it fails"""


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate under one objective or constraint."""

    position: int
    """index of the candidate among those submitted"""
    item: int
    """index of the objective or constraint"""
    value: float
    """raw value; 0 or 1 for a constraint; NaN where there is none"""
    status: Status
    seconds: float
    """its share of the time its chunk took"""
    message: str = ""
    """why it failed"""


Store = Callable[[list[Outcome]], None]


class Executor(ABC):
    """Runs objectives and constraints on candidates."""

    @abstractmethod
    def run(
        self, items: Sequence[Item], candidates: Sequence[Any], *, store: Store | None = None
    ) -> list[list[Outcome]]:
        """One row per candidate in the order given, one column per item; `store` gets the outcomes as they arrive."""

    def close(self) -> None:  # noqa: B027 - most executors hold nothing
        """Gives back what the executor holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@final
class SerialExecutor(Executor):
    """Runs in this process, chunk by chunk; isolates exceptions, and cannot stop an objective that hangs or crashes."""

    def __init__(self, chunk: int = 32) -> None:
        self.chunk = chunk

    def run(
        self, items: Sequence[Item], candidates: Sequence[Any], *, store: Store | None = None
    ) -> list[list[Outcome]]:
        table: dict[tuple[int, int], Outcome] = {}
        for start in range(0, len(candidates), self.chunk):
            positions = range(start, min(start + self.chunk, len(candidates)))
            for index, item in enumerate(items):
                found = _measured(index, item, candidates, positions)
                table.update({(outcome.position, outcome.item): outcome for outcome in found})
                if store is not None:
                    store(found)
        return [[table[position, index] for index in range(len(items))] for position in range(len(candidates))]


def _measured(index: int, item: Item, candidates: Sequence[Any], positions: Sequence[int]) -> list[Outcome]:
    attempted = attempt(item, [candidates[position] for position in positions])
    if attempted.values is None and len(positions) > 1:
        return [outcome for position in positions for outcome in _measured(index, item, candidates, [position])]
    return outcomes(index, positions, attempted)


@dataclass(frozen=True)
class Attempt:
    """The values of one chunk under one item, or why there are none."""

    values: list[float] | None
    seconds: float
    message: str = ""


def attempt(item: Item, candidates: Sequence[Any]) -> Attempt:
    """Runs one item on one chunk; an exception or a wrong shape becomes a message."""
    start = time.perf_counter()
    try:
        values = _values(item, candidates)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - user code: whatever it raises costs this chunk only
        return Attempt(None, time.perf_counter() - start, told(error))
    return Attempt(values, time.perf_counter() - start)


def told(error: BaseException) -> str:
    """An exception as text that can be stored: at most so long, without what UTF-8 cannot write."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - user code: an exception may fail to describe itself
        text = type(error).__name__
    return text[:_LONGEST].encode("utf-8", "replace").decode("utf-8")


def _values(item: Item, candidates: Sequence[Any]) -> list[float]:
    raw = item.passes(candidates) if isinstance(item, Constraint) else item.evaluate(candidates)
    if isinstance(raw, torch.Tensor | np.ndarray) and "complex" in str(raw.dtype):
        raise ObjectiveError(f"{item.name!r} must return real numbers, got {raw.dtype}")
    values = torch.as_tensor(raw, dtype=torch.float64).detach()
    if values.shape != (len(candidates),):
        raise ShapeError(f"{item.name!r} must return {len(candidates)} values, got shape {tuple(values.shape)}")
    return values.tolist()


def outcomes(index: int, positions: Sequence[int], attempted: Attempt) -> list[Outcome]:
    """One outcome per position; a NaN or infinite value counts as failed."""
    seconds = attempted.seconds / max(len(positions), 1)
    if attempted.values is None:
        return [Outcome(place, index, math.nan, Status.FAILED, seconds, attempted.message) for place in positions]
    return [
        Outcome(place, index, value, Status.MEASURED, seconds)
        if math.isfinite(value)
        else Outcome(place, index, value, Status.FAILED, seconds, f"returned {value}")
        for place, value in zip(positions, attempted.values, strict=True)
    ]
