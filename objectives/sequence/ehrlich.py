"""Ehrlich functions: spaced motifs in sequences, some of whose transitions are banned (Stanton et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective.constraint import Constraint
from mogen.objective.objective import Objective

TOKENS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Chain:
    """A Markov chain over tokens in which some transitions never happen."""

    transition: Float[Tensor, "v v"]

    @classmethod
    def drawn(cls, tokens: int, seed: int) -> Chain:
        """Softmax of normals at temperature 1/2, on a wrapped band of half width int(0.4 v) whose rows are shuffled.

        A token may always be repeated; drawn again until every token can be reached from every other one.
        """
        if not 2 <= tokens <= len(TOKENS):
            raise ConfigError(f"expected 2 to {len(TOKENS)} tokens in an Ehrlich function, got {tokens}")
        made = torch.Generator().manual_seed(seed)
        for _ in range(100):
            weight = (torch.randn(tokens, tokens, dtype=torch.float64, generator=made) / 0.5).softmax(-1)
            gap = (torch.arange(tokens)[:, None] - torch.arange(tokens)) % tokens
            is_near = torch.minimum(gap, tokens - gap) <= int(0.4 * tokens)
            allowed = is_near[torch.randperm(tokens, generator=made)] | torch.eye(tokens, dtype=torch.bool)
            if is_connected(allowed):
                weight = weight * allowed
                return cls(weight / weight.sum(-1, keepdim=True))
        raise ConfigError(f"no chain over {tokens} tokens joins all of them")

    @property
    def allowed(self) -> Bool[Tensor, "v v"]:
        """Which token may follow which."""
        return self.transition > 0

    def sample(self, n: int, length: int, *, generator: torch.Generator) -> Int[Tensor, "n l"]:
        """Sequences of the chain; the first token is uniform."""
        rows = [torch.randint(len(self.transition), (n,), generator=generator)]
        for _ in range(length - 1):
            rows.append(torch.multinomial(self.transition[rows[-1]], 1, generator=generator)[:, 0])
        return torch.stack(rows, 1)

    def is_feasible(self, tokens: Int[Tensor, "n l"]) -> Bool[Tensor, " n"]:
        """Whether no transition of a sequence is banned."""
        return self.allowed[tokens[:, :-1], tokens[:, 1:]].all(-1)


@final
class Ehrlich(Objective[TokenSequence]):
    """prod over motifs of r(q(h)): h the largest share of a motif that stands anywhere in its spacing.

    q rounds h down to multiples of 1/quantization, r(u) = u (1 + e u (u - 1)) with the epistasis e. The best is 1; a
    sequence with a banned transition, another length or other tokens is NaN. Functions of one `seed` and different
    `number` share their banned transitions and differ in motifs and spacings: they compete for the same places.

    Args:
        number: which of the functions of a seed.
        seed: of the chain.
        tokens: size of the alphabet: A to Z, a to z, digits.
        length: of the sequences.
        motifs: how many.
        motif_length: tokens of each.
        quantization: levels of a motif's share; as many as it has tokens if null.
        epistasis: e.
    """

    source = "Stanton et al. 2024 (holo-bench), our own instances"

    def __init__(
        self,
        number: int = 0,
        seed: int = 0,
        tokens: int = 32,
        length: int = 32,
        motifs: int = 4,
        motif_length: int = 4,
        quantization: int | None = None,
        epistasis: float = 0.0,
        *,
        name: str | None = None,
        worst: float = 0.0,
        best: float = 1.0,
    ) -> None:
        if motifs < 1 or motif_length < 2 or motifs * motif_length > length:
            raise ConfigError(
                f"expected motifs of at least 2 tokens that fit into {length} tokens, got {motifs} of {motif_length}"
            )
        self.quantization = motif_length if quantization is None else quantization
        if self.quantization < 1 or motif_length % self.quantization:
            raise ConfigError(f"expected a quantization that divides {motif_length} tokens, got {quantization}")
        self.name = name or f"ehrlich_{number}"
        self.number, self.seed, self.tokens, self.length, self.epistasis = number, seed, tokens, length, epistasis
        self.motifs, self.motif_length = motifs, motif_length
        self.worst, self.best = float(worst), float(best)
        self.parameters = {
            "number": number, "seed": seed, "tokens": tokens, "length": length, "motifs": motifs,
            "motif_length": motif_length, "quantization": self.quantization, "epistasis": epistasis,
        }  # fmt: skip
        self.landscape()

    @property
    def alphabet(self) -> str:
        """The tokens."""
        return TOKENS[: self.tokens]

    def landscape(self) -> Landscape:
        """Chain, motifs and places."""
        return landscape(self.number, self.seed, self.tokens, self.length, self.motifs, self.motif_length)

    def evaluate(self, candidates: Sequence[TokenSequence]) -> Float[Tensor, " n"]:
        value = torch.full((len(candidates),), torch.nan, dtype=torch.float64)
        known = set(self.alphabet)
        rows = [
            row for row, item in enumerate(candidates) if len(item.text) == self.length and known.issuperset(item.text)
        ]
        if rows:
            tokens = encoded([candidates[row].text for row in rows])
            value[rows] = self.landscape().value(tokens, self.quantization, self.epistasis)
        return value

    def optimum(self) -> TokenSequence:
        """A sequence worth 1: the motifs one after another, every gap filled by repeating the token before it."""
        made = self.landscape()
        tokens: list[int] = []
        for motif, places in zip(made.motifs.tolist(), made.places.tolist(), strict=True):
            ends = [*places[1:], places[-1] + 1]
            for token, begin, end in zip(motif, places, ends, strict=True):
                tokens += [token] * (end - begin)
        tokens += [tokens[-1]] * (self.length - len(tokens))
        return TokenSequence(decoded(tokens))

    def start(self, n: int, *, generator: torch.Generator) -> list[TokenSequence]:
        """Random sequences without a banned transition."""
        return [
            TokenSequence(decoded(row))
            for row in self.landscape().chain.sample(n, self.length, generator=generator).tolist()
        ]


@dataclass(frozen=True)
class Landscape:
    """c motifs of k tokens, and the places of their tokens from where a motif begins."""

    chain: Chain
    motifs: Int[Tensor, "c k"]
    places: Int[Tensor, "c k"]

    def value(self, tokens: Int[Tensor, "n l"], quantization: int, epistasis: float) -> Float[Tensor, " n"]:
        """The function; NaN where a transition is banned."""
        product = torch.ones(len(tokens), dtype=torch.float64)
        for motif, places in zip(self.motifs, self.places, strict=True):
            share = presence(tokens, motif, places, quantization)
            product = product * share * (1 + epistasis * share * (share - 1))
        return product.where(self.chain.is_feasible(tokens), torch.nan)


def presence(
    tokens: Int[Tensor, "n l"], motif: Int[Tensor, " k"], places: Int[Tensor, " k"], quantization: int
) -> Float[Tensor, " n"]:
    """The largest share of a motif that stands anywhere, in steps of ceil(k / quantization) of its tokens."""
    begins = torch.arange(tokens.shape[1] - int(places[-1]))
    found = (tokens[:, begins[:, None] + places] == motif).sum(-1).amax(-1)
    step = math.ceil(len(motif) / quantization)
    return (found // step).double() * step / len(motif)


@cache
def landscape(number: int, seed: int, tokens: int, length: int, motifs: int, motif_length: int) -> Landscape:
    """Motifs cut from one draw of the chain, so that all of them together are feasible; spacings drawn at random.

    The slack of a motif, (l - c k) // c places, is shared among its gaps by weights uniform on [0, 1], rounded down.
    """
    chain = Chain.drawn(tokens, seed)
    made = torch.Generator().manual_seed(1_000_003 * (seed + 1) + number)
    words = chain.sample(1, motifs * motif_length, generator=made).reshape(motifs, motif_length)
    weight = torch.rand(motifs, motif_length - 1, dtype=torch.float64, generator=made)
    slack = (length - motifs * motif_length) // motifs
    gaps = 1 + (slack * weight / weight.sum(-1, keepdim=True)).floor().long()
    return Landscape(chain, words, torch.nn.functional.pad(gaps.cumsum(-1), (1, 0)))


@final
class AllowedTransitions(Constraint[TokenSequence]):
    """No transition of an Ehrlich function is banned: for those who want to know beforehand."""

    name = "allowed_transitions"

    def __init__(self, seed: int = 0, tokens: int = 32) -> None:
        self.chain, self.alphabet = Chain.drawn(tokens, seed), set(TOKENS[:tokens])
        self.parameters = {"seed": seed, "tokens": tokens}

    def passes(self, candidates: Sequence[TokenSequence]) -> Bool[Tensor, " n"]:
        found = [
            self.alphabet.issuperset(item.text) and bool(self.chain.is_feasible(encoded([item.text])))
            for item in candidates
        ]
        return torch.tensor(found, dtype=torch.bool)


def is_connected(allowed: Bool[Tensor, "v v"]) -> bool:
    """Whether every token can be reached from every other one."""
    reached = allowed.double()
    for _ in range(max(1, math.ceil(math.log2(len(allowed))))):
        reached = (reached + reached @ reached).clamp(max=1)
    return bool((reached > 0).all())


def encoded(texts: Sequence[str]) -> Int[Tensor, "n l"]:
    """Positions in `TOKENS`."""
    return torch.tensor([[TOKENS.index(letter) for letter in text] for text in texts])


def decoded(tokens: Sequence[int]) -> str:
    """Tokens as text."""
    return "".join(TOKENS[token] for token in tokens)
