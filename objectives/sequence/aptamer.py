"""What a DNA strand folds into: minimum free energy and the shape of the structure (Jain et al. 2023).

Energies come from seqfold (nearest-neighbour DNA parameters) or, where it is installed, from ViennaRNA. Neither gives
NUPACK's energies, with which the published aptamer results were made: do not compare with those.
"""

from __future__ import annotations

import importlib
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective.objective import Objective

Backend = Literal["seqfold", "vienna"]


@dataclass(frozen=True)
class Fold:
    """The structure of least free energy."""

    energy: float
    """kcal/mol; 0 for the open strand, never above"""
    structure: str
    """dot-bracket, one character a base"""


def is_dna(text: str) -> bool:
    """True for a strand of at least one of the bases A, C, G and T, and nothing else."""
    return bool(text) and set(text) <= set("ACGT")


@lru_cache(maxsize=100_000)
def fold(text: str, temperature: float = 37.0, backend: Backend = "seqfold") -> Fold:
    """Folds a DNA strand at a temperature in degrees Celsius; where nothing is better than no pair, the open strand."""
    return _seqfold(text, temperature) if backend == "seqfold" else _vienna(text, temperature)


def _seqfold(text: str, temperature: float) -> Fold:
    """Folds with seqfold, its exterior loop excepted.

    seqfold charges stems side by side as it charges a multiloop, though the loop outside all pairs costs nothing in the
    nearest-neighbour model. So the strand is cut where the energies w of seqfold's stretches add up to the least:
    best(j) = min(best(j - 1), min over i of best(i) + w(i, j)); each stretch has the structure seqfold gives it alone.
    """
    import seqfold

    energies = np.asarray(seqfold.dg_cache(_as_dna(text), temp=temperature), dtype=np.float64)
    energies = np.where(np.isfinite(energies), np.minimum(energies, 0.0), 0.0)
    best, start = np.zeros(len(text) + 1), [-1] * (len(text) + 1)
    for end in range(len(text)):
        joined = best[: end + 1] + energies[: end + 1, end]
        first = int(joined.argmin())
        best[end + 1] = min(best[end], joined[first])
        if joined[first] < best[end] - 1e-9:
            start[end + 1] = first
    brackets, end = "", len(text)
    while end > 0:
        first = start[end] if start[end] >= 0 else end - 1
        brackets = _structure(text[first:end], temperature) + brackets
        end = first
    return Fold(round(float(best[-1]), 6), brackets)


def _as_dna(text: str) -> str:
    """The strand, with a T after its 3' end where it has none: seqfold takes a strand without T for RNA."""
    return text if "T" in text else text + "T"


def _structure(text: str, temperature: float) -> str:
    """The dot-bracket of one stretch as seqfold folds it."""
    import seqfold

    parts = seqfold.fold(_as_dna(text), temp=temperature)
    brackets = ["."] * len(text)
    if math.isfinite(sum(part.e for part in parts)):
        bonds = [part.ij[0] for part in parts]
        for part, (i, j) in zip(parts, bonds, strict=True):
            if j < len(text) and not _joins_open_stems(part.desc, (i, j), bonds):
                brackets[i], brackets[j] = "(", ")"
    return "".join(brackets)


def _joins_open_stems(description: str, span: tuple[int, int], bonds: Sequence[tuple[int, int]]) -> bool:
    """True for the entry "BIFURCATION:<unpaired>n/<stems>h" by which seqfold joins outermost stems.

    Its span is no base pair: the stems it counts are those just inside; a closed multiloop counts its closing pair too.
    """
    if not description.startswith("BIFURCATION"):
        return False
    inside = [bond for bond in bonds if span[0] < bond[0] and bond[1] < span[1]]
    outermost = [bond for bond in inside if not any(a < bond[0] and bond[1] < b for a, b in inside)]
    return description.endswith(f"/{len(outermost)}h")


def _vienna(text: str, temperature: float) -> Fold:
    """ViennaRNA with the DNA parameters of Mathews 2004."""
    vienna = _vienna_package()
    vienna.params_load_DNA_Mathews2004()
    model = vienna.md()
    model.temperature = temperature
    structure, energy = vienna.fold_compound(text, model).mfe()
    return Fold(min(0.0, round(float(energy), 6)), structure)


def _vienna_package():
    try:
        return importlib.import_module("RNA")
    except ImportError as error:
        raise ConfigError(
            "the backend 'vienna' needs ViennaRNA, which is not installed: pip install 'mogen[vienna]'"
        ) from error


def pairs(structure: str) -> int:
    """The number of base pairs."""
    return structure.count("(")


def pins(structure: str) -> int:
    """The number of outermost closed stems: how often the depth of brackets comes back to 0."""
    depth = count = 0
    for character in structure:
        depth += (character == "(") - (character == ")")
        count += character == ")" and depth == 0
    return count


def open_loop(structure: str) -> int:
    """The most unpaired bases a hairpin encloses: between a '(' and a ')' with only dots between; 0 without a pair."""
    ends = (part.split("(")[-1] for part in structure.split(")")[:-1] if "(" in part)
    return max((len(inner) for inner in ends), default=0)


class FoldObjective(Objective[TokenSequence]):
    """A number about the fold of a DNA strand; NaN where a sequence is no DNA."""

    def __init__(self, worst: float, best: float, temperature: float, backend: Backend) -> None:
        if backend not in ("seqfold", "vienna"):
            raise ConfigError(f"expected the backend 'seqfold' or 'vienna', got {backend!r}")
        if backend == "vienna":
            _vienna_package()
        self.worst, self.best = float(worst), float(best)
        self.temperature, self.backend = float(temperature), backend
        self.parameters = {"temperature": self.temperature, "backend": backend}

    @abstractmethod
    def measure(self, folded: Fold) -> float:
        """The value of one fold."""

    def evaluate(self, candidates: Sequence[TokenSequence]) -> Float[Tensor, " n"]:
        values = [
            self.measure(fold(item.text, self.temperature, self.backend)) if is_dna(item.text) else math.nan
            for item in candidates
        ]
        return torch.tensor(values, dtype=torch.float64)


@final
class FoldEnergy(FoldObjective):
    """Minimum free energy of folding."""

    name = "energy"
    unit = "kcal/mol"
    source = "nearest-neighbour model (seqfold or ViennaRNA); scale of Jain et al. 2023"

    def __init__(
        self,
        temperature: float = 37.0,
        backend: Backend = "seqfold",
        *,
        worst: float = 0.0,
        best: float = -60.0,
    ) -> None:
        super().__init__(worst, best, temperature, backend)

    def measure(self, folded: Fold) -> float:
        return folded.energy


@final
class FoldPairs(FoldObjective):
    """Number of base pairs."""

    name = "pairs"
    source = "minimum free energy structure; scale of Jain et al. 2023"

    def __init__(
        self,
        temperature: float = 37.0,
        backend: Backend = "seqfold",
        *,
        worst: float = 0.0,
        best: float = 16.0,
    ) -> None:
        super().__init__(worst, best, temperature, backend)

    def measure(self, folded: Fold) -> float:
        return float(pairs(folded.structure))


@final
class FoldPins(FoldObjective):
    """Number of outermost closed stems."""

    name = "pins"
    source = "minimum free energy structure; scale of Jain et al. 2023"

    def __init__(
        self,
        temperature: float = 37.0,
        backend: Backend = "seqfold",
        *,
        worst: float = 0.0,
        best: float = 8.0,
    ) -> None:
        super().__init__(worst, best, temperature, backend)

    def measure(self, folded: Fold) -> float:
        return float(pins(folded.structure))


@final
class OpenLoop(FoldObjective):
    """Unpaired bases in the largest hairpin loop; its scale is ours."""

    name = "open_loop"
    unit = "bases"
    source = "minimum free energy structure; defined in Jain et al. 2023"

    def __init__(
        self,
        temperature: float = 37.0,
        backend: Backend = "seqfold",
        *,
        worst: float = 0.0,
        best: float = 30.0,
    ) -> None:
        super().__init__(worst, best, temperature, backend)

    def measure(self, folded: Fold) -> float:
        return float(open_loop(folded.structure))


@final
class InverseLength(Objective[TokenSequence]):
    """minimum / length: 1 for the shortest sequence."""

    name = "inverse_length"
    source = "Jain et al. 2023, aptamers"

    def __init__(self, minimum: int = 30, *, worst: float = 0.0, best: float = 1.0) -> None:
        if minimum < 1:
            raise ConfigError(f"expected a shortest length of at least 1, got {minimum}")
        self.minimum = int(minimum)
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"minimum": self.minimum}

    def evaluate(self, candidates: Sequence[TokenSequence]) -> Float[Tensor, " n"]:
        values = [self.minimum / len(item) if len(item) else math.nan for item in candidates]
        return torch.tensor(values, dtype=torch.float64)
