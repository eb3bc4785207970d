"""Counting short words in sequences, and the best that counts can be at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective.objective import Objective
from mogen.pareto import is_non_dominated


@final
class NGram(Objective[TokenSequence]):
    """How often a word occurs in a sequence, overlapping occurrences counted, up to a divisor.

    The published tasks (Jain et al. 2023, n-grams) divide by 18 (the most occurrences of a bigram of two different
    letters in 36 tokens); that divisor is `best`, so the utility is the published count / 18.

    Args:
        word: the word.
        overlapping: False counts from the left, each token once.
        name: the word itself unless given.
    """

    unit = "occurrences"
    source = "Jain et al. 2023, N-grams"

    def __init__(
        self,
        word: str,
        overlapping: bool = True,
        *,
        name: str | None = None,
        worst: float = 0.0,
        best: float = 18.0,
    ) -> None:
        if not word:
            raise ConfigError("expected a word of at least one letter to count, got ''")
        self.word, self.overlapping = word, overlapping
        self.pattern = re.compile(f"(?={re.escape(word)})")  # looks ahead, so that occurrences may overlap
        self.name = name or word
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"word": word, "overlapping": overlapping}

    def evaluate(self, candidates: Sequence[TokenSequence]) -> Float[Tensor, " n"]:
        counts = [self._count(candidate.text) for candidate in candidates]
        return torch.tensor(counts, dtype=torch.float64)

    def _count(self, text: str) -> int:
        return len(self.pattern.findall(text)) if self.overlapping else text.count(self.word)


def attainable_counts(
    words: Sequence[str], *, min_length: int, max_length: int, alphabet_size: int = 20
) -> Int[Tensor, "k m"]:
    """Every vector of overlapping counts that some sequence of the given lengths has.

    Dynamic programming over (length, what of a word the end could begin, counts): a table of booleans per prefix of a
    word, moved one place along a count's axis wherever a token completes its word. Letters that no word holds are one
    letter, which exists where the alphabet is larger than the letters of the words.
    """
    letters = sorted(set("".join(words)))
    if not words or not all(words) or len(letters) > alphabet_size or not 1 <= min_length <= max_length:
        raise ConfigError(
            f"expected words over at most {alphabet_size} letters and 1 <= min_length <= max_length, "
            f"got {list(words)}, {min_length} and {max_length}"
        )
    tokens = [*letters, *[""][: alphabet_size - len(letters)]]  # "" stands for any other letter
    prefixes = sorted({word[:end] for word in words for end in range(len(word))})
    shape = [max(max_length - len(word), 0) + 2 for word in words]
    table = {prefix: torch.zeros(shape, dtype=torch.bool) for prefix in prefixes}
    table[""][(0,) * len(words)] = True
    found = torch.zeros(shape, dtype=torch.bool)
    for length in range(1, max_length + 1):
        grown = {prefix: torch.zeros(shape, dtype=torch.bool) for prefix in prefixes}
        for prefix, reached in table.items():
            for token in tokens:
                end = prefix + token if token else ""
                moved = reached
                for axis, word in enumerate(words):
                    if token and end.endswith(word):
                        moved = _counted(moved, axis)
                kept = next(end[start:] for start in range(len(end) + 1) if end[start:] in grown)
                grown[kept] |= moved
        table = grown
        if length >= min_length:
            found |= torch.stack([*table.values()]).any(0)
    return found.nonzero()


def _counted(reached: Bool[Tensor, "*c"], axis: int) -> Bool[Tensor, "*c"]:
    """The table after one more occurrence of the word of an axis."""
    kept = reached.narrow(axis, 0, reached.shape[axis] - 1)
    return torch.cat([torch.zeros_like(reached.narrow(axis, 0, 1)), kept], axis)


def ngram_front(
    words: Sequence[str], *, min_length: int, max_length: int, alphabet_size: int = 20, best: float = 18.0
) -> Float[Tensor, "k m"]:
    """The exact front of the utilities min(count / best, 1), by dynamic programming; its rows are all different."""
    counts = attainable_counts(words, min_length=min_length, max_length=max_length, alphabet_size=alphabet_size)
    utility = (counts.double() / best).clamp(max=1.0).unique(dim=0)
    return utility[is_non_dominated(utility)]
