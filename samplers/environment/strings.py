"""Strings of one length grown at both ends, few enough to list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError, ShapeError
from samplers.environment.environment import Environment
from samplers.environment.sequence import known_alphabet

MOST_STRINGS = 10_000_000


@dataclass(frozen=True)
class StringState:
    """n strings of at most l tokens."""

    tokens: Int[Tensor, "*n l"]
    """index into the alphabet, -1 after the end"""
    length: Int[Tensor, " *n"]


@final
class StringEnvironment(Environment[StringState, TokenSequence]):
    """Strings of exactly `length` tokens, to which tokens are joined at the right or at the left (Shen et al. 2023).

    Action i < a puts token i of the a tokens at the right; action a + i puts it at the left, which the empty string
    does not offer, as it would do the same. A string of full length ends by itself; its one action then is 0. The
    default has the 161,051 QM9 strings; `SequenceEnvironment("0123456789a", 5, 5)` grows the same ones at one end.

    Args:
        alphabet: one character per token.
        length: tokens of a finished string.
    """

    def __init__(self, alphabet: str = "0123456789a", length: int = 5) -> None:
        self.alphabet = known_alphabet(alphabet)
        if length < 1 or len(alphabet) ** length > MOST_STRINGS:
            raise ConfigError(
                f"expected at least one token and at most {MOST_STRINGS} strings to list, got {len(alphabet)} tokens "
                f"and length {length}"
            )
        self.length = length
        self.sizes = (2 * len(alphabet),)
        self.max_steps = length

    def initial(self, n: int, *, device: torch.device | str = "cpu") -> StringState:
        return StringState(
            tokens=torch.full((n, self.length), -1, device=device),
            length=torch.zeros(n, dtype=torch.long, device=device),
        )

    def is_terminal(self, state: StringState) -> Bool[Tensor, " *n"]:
        return state.length == self.length

    def allowed(self, state: StringState, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        options = torch.arange(self.sizes[0], device=state.length.device)
        is_done = self.is_terminal(state)[..., None]
        at_left = options >= len(self.alphabet)
        return torch.where(is_done, options == 0, ~at_left | (state.length > 0)[..., None])

    def step(self, state: StringState, action: Int[Tensor, "n 1"]) -> StringState:
        grows = ~self.is_terminal(state)[:, None]
        token, at_left = action % len(self.alphabet), action >= len(self.alphabet)
        places = torch.arange(self.length, device=action.device)
        right = torch.where(places == state.length[:, None], token, state.tokens)
        left = torch.where(places == 0, token, state.tokens.roll(1, -1))
        tokens = torch.where(grows, torch.where(at_left, left, right), state.tokens)
        return StringState(tokens, state.length + grows[:, 0])

    def backward_allowed(self, state: StringState) -> Bool[Tensor, "n 2"]:
        """Take away the token at the right, or the one at the left (of two or more)."""
        return torch.stack([state.length > 0, state.length > 1], -1)

    def backward_step(self, state: StringState, action: Int[Tensor, " n"]) -> StringState:
        places = torch.arange(self.length, device=action.device)
        right = torch.where(places == state.length[:, None] - 1, -1, state.tokens)
        left = torch.where(places == self.length - 1, -1, state.tokens.roll(-1, -1))
        kinds = action[:, None]
        tokens = torch.where(kinds == 0, right, torch.where(kinds == 1, left, state.tokens))
        return StringState(tokens, state.length - (action >= 0).long())

    def reverse(self, state: StringState, action: Int[Tensor, "n 1"], next_state: StringState) -> Int[Tensor, " n"]:
        return torch.where(self.is_terminal(state), -1, (action[:, 0] >= len(self.alphabet)).long())

    def log_symmetry(self, state: StringState) -> Float[Tensor, " n"]:
        return torch.zeros(len(state.length), dtype=torch.float64)

    def unfold(self, state: StringState, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l 1"]:
        n, device = len(state.length), state.length.device
        # the token that is first stands at `start`; each later step went to the right or to the left of what was there
        at_left = torch.rand(n, self.length, generator=generator, device=device) < 0.5
        at_left[:, 0] = False
        start = at_left.sum(-1, keepdim=True)
        lefts, rights = at_left.cumsum(-1), (~at_left).cumsum(-1) - 1
        token = state.tokens.gather(1, torch.where(at_left, start - lefts, start + rights))
        return (token + at_left * len(self.alphabet))[..., None]

    def features(self, state: StringState) -> Float[Tensor, "n d"]:
        """One-hot token (or none) of every place."""
        return torch.nn.functional.one_hot(state.tokens + 1, len(self.alphabet) + 1).flatten(-2).float()

    def decode(self, state: StringState) -> list[TokenSequence]:
        rows = zip(state.tokens.tolist(), state.length.tolist(), strict=True)
        return [TokenSequence("".join([self.alphabet[token] for token in row[:length]])) for row, length in rows]

    def describe(self) -> dict[str, Any]:
        """What a saved model needs: the arguments."""
        sizes = {"alphabet": self.alphabet, "length": self.length}
        return {"class_path": "samplers.environment.strings.StringEnvironment", "init_args": sizes}

    def write(self, folder: Path) -> None:
        """Nothing beside the arguments."""

    @classmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> StringEnvironment:
        """The environment of a saved model."""
        return cls(**sizes)

    def states(self) -> StringState:
        """Every unfinished string: by length, then in lexicographic order."""
        return self._strings(range(self.length))

    def terminals(self) -> StringState:
        """Every finished string, in lexicographic order of the alphabet: the order of the table of rewards."""
        return self._strings([self.length])

    def _strings(self, lengths: range | list[int]) -> StringState:
        a = len(self.alphabet)
        parts = []
        for length in lengths:
            index = torch.arange(a**length)[:, None] // a ** torch.arange(length - 1, -1, -1) % a
            parts.append(torch.nn.functional.pad(index, (0, self.length - length), value=-1))
        tokens = torch.cat(parts)
        return StringState(tokens, (tokens >= 0).sum(-1))

    def terminal_distribution(self, log_forward: Float[Tensor, "*b s a"]) -> Float[Tensor, "*b t"]:
        """The exact distribution over `terminals()` of a policy given by its log-probabilities in each of `states()`.

        Length by length, in float64: string x of a length passes its mass to x i and to i x.
        """
        a = len(self.alphabet)
        n = sum(a**length for length in range(self.length))
        if log_forward.shape[-2:] != (n, 2 * a):
            raise ShapeError(
                f"expected log-probabilities of {2 * a} actions in each of {n} strings, "
                f"got shape {tuple(log_forward.shape)}"
            )
        forward = log_forward.detach().double().cpu().exp().reshape(-1, n, 2 * a)
        mass, at = torch.ones(len(forward), 1, dtype=torch.float64), 0
        for length in range(self.length):
            moved = mass[..., None] * forward[:, at : at + a**length]
            right = moved[..., :a].flatten(1)  # the place of x i is a * (place of x) + i
            left = moved[..., a:].transpose(1, 2).flatten(1)  # the place of i x is i * a^length + (place of x)
            at += a**length
            mass = right + left
        return mass.reshape(*log_forward.shape[:-2], -1)
