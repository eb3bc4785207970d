"""Sequences grown at their end, one token at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from samplers.environment.environment import Environment

PROTEIN = "ARNDCEQGHILKMFPSTWYV"
"""the 20 amino acids"""
DNA = "ACGT"


@dataclass(frozen=True)
class SequenceState:
    """n sequences of at most l tokens."""

    tokens: Int[Tensor, "*n l"]
    """index into the alphabet, -1 after the end"""
    length: Int[Tensor, " *n"]
    is_stopped: Bool[Tensor, " *n"]


@final
class SequenceEnvironment(Environment[SequenceState, TokenSequence]):
    """Append a token, or end (Jain et al. 2023); every state has one parent, so a path's probability is its sequence's.

    Action 0 ends the sequence and is allowed from `min_length` on; action 1 + i appends token i of the alphabet. A
    sequence of `max_length` ends by itself.

    Args:
        alphabet: one character per token.
        min_length: fewest tokens of a sequence.
        max_length: most tokens of a sequence.
    """

    def __init__(self, alphabet: str = PROTEIN, min_length: int = 32, max_length: int = 36) -> None:
        self.alphabet = known_alphabet(alphabet)
        if not 1 <= min_length <= max_length:
            raise ConfigError(
                f"expected 1 <= min_length <= max_length, got {min_length} and {max_length} in the sequence environment"
            )
        self.min_length, self.max_length = min_length, max_length
        self.sizes = (1 + len(alphabet),)
        self.max_steps = max_length

    def initial(self, n: int, *, device: torch.device | str = "cpu") -> SequenceState:
        return SequenceState(
            tokens=torch.full((n, self.max_length), -1, device=device),
            length=torch.zeros(n, dtype=torch.long, device=device),
            is_stopped=torch.zeros(n, dtype=torch.bool, device=device),
        )

    def is_terminal(self, state: SequenceState) -> Bool[Tensor, " *n"]:
        return state.is_stopped | (state.length == self.max_length)

    def allowed(self, state: SequenceState, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        is_done = self.is_terminal(state)
        ends = is_done | (state.length >= self.min_length)
        grows = (~is_done)[..., None].expand(*is_done.shape, len(self.alphabet))
        return torch.cat([ends[..., None], grows], -1)

    def step(self, state: SequenceState, action: Int[Tensor, "n 1"]) -> SequenceState:
        grows = action > 0
        places = torch.arange(self.max_length, device=action.device)
        here = grows & (places == state.length[:, None])
        return SequenceState(
            tokens=torch.where(here, action - 1, state.tokens),
            length=state.length + grows[:, 0],
            is_stopped=state.is_stopped | (~grows[:, 0] & (state.length < self.max_length)),
        )

    def backward_allowed(self, state: SequenceState) -> Bool[Tensor, "n 2"]:
        """Take the last token away, or take back the end."""
        return torch.stack([(state.length > 0) & ~state.is_stopped, state.is_stopped], -1)

    def backward_step(self, state: SequenceState, action: Int[Tensor, " n"]) -> SequenceState:
        shrinks = action == 0
        places = torch.arange(self.max_length, device=action.device)
        gone = shrinks[:, None] & (places == state.length[:, None] - 1)
        return SequenceState(
            tokens=torch.where(gone, -1, state.tokens),
            length=state.length - shrinks.long(),
            is_stopped=state.is_stopped & (action != 1),
        )

    def reverse(self, state: SequenceState, action: Int[Tensor, "n 1"], next_state: SequenceState) -> Int[Tensor, " n"]:
        return torch.where(self.is_terminal(state), -1, (action[:, 0] == 0).long())

    def log_symmetry(self, state: SequenceState) -> Float[Tensor, " n"]:
        return torch.zeros(len(state.length), dtype=torch.float64)

    def unfold(self, state: SequenceState, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l 1"]:
        """The only path there is."""
        return (state.tokens + 1)[..., None]

    def features(self, state: SequenceState) -> Float[Tensor, "n d"]:
        """One-hot token (or none) of every place, and whether the sequence has ended."""
        kinds = torch.nn.functional.one_hot(state.tokens + 1, len(self.alphabet) + 1).flatten(-2).float()
        return torch.cat([kinds, state.is_stopped[..., None].float()], -1)

    def decode(self, state: SequenceState) -> list[TokenSequence]:
        rows = zip(state.tokens.tolist(), state.length.tolist(), strict=True)
        return [TokenSequence("".join([self.alphabet[token] for token in row[:length]])) for row, length in rows]

    def encode(self, sequences: list[TokenSequence], *, device: torch.device | str = "cpu") -> SequenceState:
        """Finished sequences as terminal states; raises `ConfigError` for one this environment cannot make."""
        known = {token: index for index, token in enumerate(self.alphabet)}
        tokens = torch.full((len(sequences), self.max_length), -1)
        for row, sequence in enumerate(sequences):
            fits = self.min_length <= len(sequence) <= self.max_length and set(sequence.text) <= set(known)
            if not fits:
                raise ConfigError(
                    f"expected sequences of {self.min_length} to {self.max_length} tokens of {self.alphabet!r}, "
                    f"got {sequence.text!r}"
                )
            tokens[row, : len(sequence)] = torch.tensor([known[token] for token in sequence.text])
        length = (tokens >= 0).sum(-1)
        return SequenceState(tokens.to(device), length.to(device), (length < self.max_length).to(device))

    def describe(self) -> dict[str, Any]:
        """What a saved model needs: the arguments."""
        sizes = {"alphabet": self.alphabet, "min_length": self.min_length, "max_length": self.max_length}
        return {"class_path": "samplers.environment.sequence.SequenceEnvironment", "init_args": sizes}

    def write(self, folder: Path) -> None:
        """Nothing beside the arguments."""

    @classmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> SequenceEnvironment:
        """The environment of a saved model."""
        return cls(**sizes)


def known_alphabet(alphabet: str) -> str:
    """The alphabet; raises `ConfigError` where it is empty or names a token twice."""
    if not alphabet or len(set(alphabet)) < len(alphabet):
        raise ConfigError(f"expected an alphabet of different characters, got {alphabet!r}")
    return alphabet
