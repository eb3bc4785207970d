"""Candidates as sets of features: computed once, kept by candidate key.

A count of k is k members of the set ("this occurs at least 1, 2, ... k times"), so that the size of an intersection is
the sum of the smaller counts and the size of a union the sum of the larger ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError

_MIX = np.uint64(0x9E3779B97F4A7C15)
DENSE = 30
"""how many multiplications of a dense product take as long as one of a sparse product, about"""
LARGEST = 20_000_000
"""entries of the tables of a dense product, at most"""


@final
class FeatureSets:
    """n sets of 32-bit features, one after another: set i is members[offsets[i]:offsets[i + 1]], sorted.

    Where members repeat, `shared` is the sum of products of counts.
    """

    def __init__(self, members: np.ndarray, offsets: np.ndarray) -> None:
        self.members, self.offsets = members, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> FeatureSets:
        offsets = self.offsets[rows.start : rows.stop + 1]
        return FeatureSets(self.members[offsets[0] : offsets[-1]], offsets - offsets[0])

    @classmethod
    def of(cls, sets: Sequence[np.ndarray]) -> FeatureSets:
        """The sets as one array."""
        offsets = np.concatenate([[0], np.cumsum([len(item) for item in sets], dtype=np.int64)]).astype(np.int64)
        members = np.concatenate(sets) if len(sets) else np.zeros(0)
        return cls(members.astype(np.uint32), offsets)

    @property
    def sizes(self) -> Float[Tensor, " n"]:
        """Members of each set."""
        return torch.from_numpy(np.diff(self.offsets).astype(np.float64))

    def shared(self, other: FeatureSets) -> Float[Tensor, "n k"]:
        """Members every set has in common with every other one, by a product over the features of `other`.

        The product is sparse unless so many entries meet that a dense one is less work; both are exact.
        """
        from scipy.sparse import csr_matrix

        known = np.unique(other.members)
        left, right = (csr_matrix(item.columns(known), shape=(len(item), len(known))) for item in (self, other))
        meetings = left.getnnz(axis=0) @ right.getnnz(axis=0).astype(float)
        if meetings * DENSE > len(self) * len(other) * len(known) and (len(self) + len(other)) * len(known) < LARGEST:
            return torch.from_numpy(left.toarray()) @ torch.from_numpy(right.toarray()).T
        return torch.from_numpy((left @ right.T).toarray())

    def columns(self, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The CSR parts of the 0/1 table of sets against known features; unknown features are left out."""
        place = np.searchsorted(known, self.members)
        place[place == len(known)] = 0
        is_known = known[place] == self.members if len(known) else np.zeros(len(self.members), dtype=bool)
        starts = np.concatenate([[0], np.cumsum(is_known)])[self.offsets]
        return np.ones(int(is_known.sum())), place[is_known], starts


class Features(ABC):
    """A way of describing candidates by sets; what was described once is kept (`capacity` of them)."""

    repeats: bool = False
    """whether a member may stand in a set several times"""

    def __init__(self, capacity: int = 2_000_000) -> None:
        self.capacity = capacity
        self.kept: dict[str, np.ndarray] = {}

    def __call__(self, candidates: Sequence[Any]) -> FeatureSets:
        """The sets of candidates."""
        if len(self.kept) > self.capacity:
            self.kept.clear()
        for candidate in candidates:
            if candidate.key not in self.kept:
                members = np.asarray(self.describe(candidate), dtype=np.uint32)
                self.kept[candidate.key] = np.sort(members) if self.repeats else np.unique(members)
        return FeatureSets.of([self.kept[candidate.key] for candidate in candidates])

    @abstractmethod
    def describe(self, candidate: Any) -> np.ndarray:
        """The 32-bit features of one candidate."""


@final
class CountFingerprints(Features):
    """Counts of circular atom environments up to a radius (Rogers and Hahn 2010; RDKit's Morgan, not folded)."""

    def __init__(self, radius: int = 3, capacity: int = 2_000_000) -> None:
        super().__init__(capacity)
        if radius < 0:
            raise ConfigError(f"expected a fingerprint radius of at least 0, got {radius}")
        self.radius = radius
        self._generator: Any = None

    def describe(self, candidate: Any) -> np.ndarray:
        from rdkit import Chem, rdBase
        from rdkit.Chem import rdFingerprintGenerator

        if self._generator is None:
            self._generator = rdFingerprintGenerator.GetMorganGenerator(radius=self.radius)
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(candidate.key)  # not candidate.mol, which would stay in memory
        if mol is None:
            return np.zeros(0, dtype=np.uint32)
        counts = self._generator.GetSparseCountFingerprint(mol).GetNonzeroElements()
        return unary(counts.keys(), counts.values())


@final
class TokenCounts(Features):
    """Counts of the words of up to `longest` tokens in a sequence (spectrum kernels, Leslie et al. 2002)."""

    def __init__(self, longest: int = 3, capacity: int = 2_000_000) -> None:
        super().__init__(capacity)
        if longest < 1:
            raise ConfigError(f"expected words of at least 1 token, got {longest}")
        self.longest = longest

    def describe(self, candidate: Any) -> np.ndarray:
        counts: dict[int, int] = {}
        text = candidate.key
        for size in range(1, self.longest + 1):
            for start in range(len(text) - size + 1):
                word = hashed(text[start : start + size])
                counts[word] = counts.get(word, 0) + 1
        return unary(counts.keys(), counts.values())


@final
class TokenWords(Features):
    """All words of up to `longest` tokens in a sequence, as often as they occur."""

    repeats = True

    def __init__(self, longest: int = 2, capacity: int = 2_000_000) -> None:
        super().__init__(capacity)
        if longest < 1:
            raise ConfigError(f"expected words of at least 1 token, got {longest}")
        self.longest = longest

    def describe(self, candidate: Any) -> np.ndarray:
        text = candidate.key
        words = [
            hashed(text[start : start + size])
            for size in range(1, self.longest + 1)
            for start in range(len(text) - size + 1)
        ]
        return np.asarray(words, dtype=np.uint32)


@final
class TokenPlaces(Features):
    """Which token stands where: one feature per place."""

    def describe(self, candidate: Any) -> np.ndarray:
        codes = np.frombuffer(candidate.key.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
        return mixed((np.arange(len(codes), dtype=np.uint64) << np.uint64(32)) | codes)


def unary(names: Iterable[int], counts: Iterable[int]) -> np.ndarray:
    """Counts as sets: the name itself for the first occurrence, a hash of name and rank for each later one."""
    ids = np.fromiter(names, dtype=np.uint64)
    often = np.fromiter(counts, dtype=np.int64)
    parts = [ids & np.uint64(0xFFFFFFFF)]
    for rank in range(2, int(often.max(initial=0)) + 1):
        parts.append(mixed(ids[often >= rank] | (np.uint64(rank) << np.uint64(32))).astype(np.uint64))
    return np.concatenate(parts).astype(np.uint32)


def mixed(values: np.ndarray) -> np.ndarray:
    """64 bits to 32: multiply, then fold (Fibonacci hashing, twice)."""
    values = values * _MIX
    values = (values ^ (values >> np.uint64(32))) * _MIX
    return (values >> np.uint64(32)).astype(np.uint32)


@lru_cache(maxsize=1_000_000)
def hashed(text: str) -> int:
    """A 32-bit hash of a short text that is the same in every process (FNV-1a)."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value
