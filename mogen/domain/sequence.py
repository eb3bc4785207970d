"""Sequences of one-letter tokens: peptides, DNA, strings over any alphabet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenSequence:
    """A sequence of tokens, one character each, written as text; equal texts are equal sequences."""

    text: str

    @property
    def key(self) -> str:
        """The text itself."""
        return self.text

    def __len__(self) -> int:
        return len(self.text)
