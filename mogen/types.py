"""Names shared by every room: the candidate type and the shapes of tensors."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Candidate(Protocol):
    """Anything that can be proposed and measured: hashable, and standardised so that equal things have equal keys."""

    @property
    def key(self) -> str:
        """The standardised printable form (a canonical SMILES, a sequence); the ledger's key."""


C = TypeVar("C", bound=Candidate)
C_contra = TypeVar("C_contra", bound=Candidate, contravariant=True)
"""the same, where candidates are only taken in"""
