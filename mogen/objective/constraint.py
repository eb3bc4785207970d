"""A candidate may or may not pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic

from jaxtyping import Bool
from torch import Tensor

from mogen.types import C


class Constraint(ABC, Generic[C]):
    """A condition a candidate meets or not; apart from objectives, never traded against them."""

    name: str
    version: str = "1"
    source: str = ""
    parameters: Mapping[str, Any] = {}

    @abstractmethod
    def passes(self, candidates: Sequence[C]) -> Bool[Tensor, " n"]:
        """True for each candidate that passes."""

    @property
    def identity(self) -> str:
        """Name, parameters and version, as one line."""
        written = ",".join(f"{key}={self.parameters[key]!r}" for key in sorted(self.parameters))
        return f"{self.name}({written})@{self.version}"
