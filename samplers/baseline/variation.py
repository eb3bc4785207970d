"""New candidates out of old ones: molecular graphs and sequences crossed and mutated."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import final

import torch

from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.errors import CandidateError, ConfigError


@final
class MoleculeVariation:
    """Crossover of two molecules, now and then mutated (Graph-GA, Jensen 2019; the mol-ga package).

    `mutations` of the children have one parent only.

    Args:
        mutations: share of children that are mutations of one parent.
        most_atoms: children with more heavy atoms are left out.
    """

    def __init__(self, mutations: float = 0.3, most_atoms: int = 50) -> None:
        self.mutations, self.most_atoms = mutations, most_atoms

    def __call__(self, parents: Sequence[Molecule], n: int, *, generator: torch.Generator) -> list[Molecule]:
        from mol_ga.graph_ga.gen_candidates import graph_ga_blended_generation

        if not parents:
            return []
        rng = random.Random(int(torch.randint(2**31 - 1, (), generator=generator)))
        smiles = [parent.smiles for parent in parents]
        mated = [smiles[rng.randrange(len(smiles))] for _ in range(2 * n)]
        made = graph_ga_blended_generation(mated, n, rng, frac_graph_ga_mutate=self.mutations)
        children: dict[Molecule, None] = {}
        for text in sorted(made):
            try:
                child = Molecule.from_smiles(text)
            except CandidateError:
                continue
            if child.mol.GetNumHeavyAtoms() <= self.most_atoms:
                children[child] = None
        known = set(parents)
        return [child for child in children if child not in known]


@final
class SequenceVariation:
    """Two-point crossover of sequences, then substitutions and, where lengths may differ, insertions and deletions.

    Args:
        alphabet: the tokens.
        min_length: fewest tokens.
        max_length: most tokens.
        crossover: probability that a child has two parents.
        edits: expected number of edits of a child, at least one.
        positions: places (from 0) that may be substituted; null for all. With it, lengths never change.
    """

    def __init__(
        self,
        alphabet: str,
        min_length: int,
        max_length: int,
        crossover: float = 0.5,
        edits: float = 2.0,
        positions: Sequence[int] | None = None,
    ) -> None:
        if not alphabet or not 1 <= min_length <= max_length:
            raise ConfigError(
                f"expected an alphabet and 1 <= min_length <= max_length to vary sequences, got {alphabet!r}, "
                f"{min_length} and {max_length}"
            )
        if not 0 <= crossover <= 1 or edits < 1:
            raise ConfigError(f"expected 0 <= crossover <= 1 and edits of at least 1, got {crossover} and {edits}")
        self.alphabet, self.min_length, self.max_length = alphabet, min_length, max_length
        self.crossover, self.edits = crossover, edits
        self.positions = None if positions is None else [int(place) for place in positions]

    def __call__(self, parents: Sequence[TokenSequence], n: int, *, generator: torch.Generator) -> list[TokenSequence]:
        texts = [parent.text for parent in parents]
        if not texts:
            return []
        children = {self._child(texts, generator): None for _ in range(n)}
        return [TokenSequence(text) for text in children if text not in set(texts)]

    def _child(self, texts: Sequence[str], generator: torch.Generator) -> str:
        text = texts[_below(len(texts), generator)]
        if len(texts) > 1 and _uniform(generator) < self.crossover:
            text = self._crossed(text, texts[_below(len(texts), generator)], generator)
        count = 1 + int(torch.poisson(torch.tensor(self.edits - 1.0), generator=generator))
        for _ in range(count):
            text = self._edited(text, generator)
        return text

    def _crossed(self, text: str, other: str, generator: torch.Generator) -> str:
        length = min(len(text), len(other))
        first, last = sorted((_below(length + 1, generator), _below(length + 1, generator)))
        return text[:first] + other[first:last] + text[last:]

    def _edited(self, text: str, generator: torch.Generator) -> str:
        kind = _below(4, generator) if self.positions is None and self.min_length < self.max_length else 2
        token = self.alphabet[_below(len(self.alphabet), generator)]
        place = (
            _below(len(text), generator)
            if self.positions is None
            else self.positions[_below(len(self.positions), generator)]
        )
        if kind == 0 and len(text) < self.max_length:
            return text[:place] + token + text[place:]
        if kind == 1 and len(text) > self.min_length:
            return text[:place] + text[place + 1 :]
        return text[:place] + token + text[place + 1 :]


def _below(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=generator))


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
