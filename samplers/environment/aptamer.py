"""DNA aptamers: sequences of 30 to 60 bases."""

from __future__ import annotations

from samplers.environment.sequence import DNA, SequenceEnvironment


def aptamers(min_length: int = 30, max_length: int = 60) -> SequenceEnvironment:
    """DNA grown base by base (Jain et al. 2023); the sequence environment over ACGT.

    Args:
        min_length: fewest bases.
        max_length: most bases.
    """
    return SequenceEnvironment(DNA, min_length, max_length)
