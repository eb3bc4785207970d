"""What a generator promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.objective import Measure
from mogen.types import C


@dataclass(frozen=True)
class Samples(Generic[C]):
    """Candidates, and the preference each was made for (n x m; m = 0 for plain samples)."""

    candidates: list[C]
    preference: Float[Tensor, "n m"]

    def __len__(self) -> int:
        return len(self.candidates)


class Sampler(ABC, Generic[C]):
    """A conditional generator of candidates."""

    @abstractmethod
    def fit(
        self, measure: Measure[C], *, m: int, generator: torch.Generator | None = None, folder: Path | None = None
    ) -> None:
        """Learns from a measure of m objectives until its own limit or until the measure raises `BudgetExhausted`.

        It catches `BudgetExhausted`, asks for nothing more and returns. Every random draw takes the generator. With
        a folder, checkpoints and logs go there, and training continues from the newest checkpoint found there.
        """

    @abstractmethod
    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[C]:
        """One candidate per row of preferences (rows on the simplex), and these rows beside them."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes safetensors and YAML from which `load` rebuilds the sampler; nothing that runs code when loaded.

        `mogen sample` reads `sampler.yaml` in this folder: `class_path` names the class whose `load` it calls (an
        import path, or a name from the entry points `mogen.samplers`), and `objectives` says how many objectives a
        preference has (needed for `--lattice` where there is no run around the model). All other keys are the
        sampler's own.
        """

    def set_rounds(self, rounds: int) -> bool:
        """Makes training in a folder end after so many times its own length, those it had before included.

        False where training has no length of its own, so that only the measure ends it.
        """
        del rounds
        return False

    def accounts(self) -> dict[str, Any]:
        """What training cost beside measurements (such as network evaluations), for summary.json; `save` keeps it."""
        return {}

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """The sampler saved in a folder."""
