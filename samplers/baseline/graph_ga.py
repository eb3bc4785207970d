"""Graph-GA (Jensen 2019; the mol-ga package) with non-dominated selection."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any, Self, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError
from samplers.baseline.search import Answer, Proposal, Search, any_candidate, express, start_genomes


@final
class GraphGA(Search[Molecule]):
    """Crossover and mutation of molecular graphs by `mol_ga`, survival by Pareto rank, then crowding distance.

    It starts from the same molecules as the other baselines. 10 % of the offspring are mutations alone (the package's
    default).
    """

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        """The baseline over the environment of another sampler; raises `ConfigError` where that makes no molecules."""
        made = any_candidate(sampler.environment)
        if not isinstance(made, Molecule):
            raise ConfigError(
                f"expected an environment of molecules for the baseline Graph-GA, which changes molecular graphs, got "
                f"{type(sampler.environment).__name__}, which makes a {type(made).__name__}: name others, such as "
                "random and nsga2"
            )
        return cls(sampler.environment)

    def search(self, generator: torch.Generator, m: int) -> Generator[Proposal[Molecule], Answer, None]:
        from mol_ga.graph_ga.gen_candidates import graph_ga_blended_generation

        start = express(self.environment, start_genomes(self.environment, self.population, generator))
        rng = random.Random(int(torch.randint(2**31 - 1, (), generator=generator)))
        people: list[Molecule] = []
        fitness = torch.zeros(0, m)
        children = list(dict.fromkeys(self.environment.decode(start)))
        while True:
            utility, is_valid = yield Proposal(children)
            people += [child for child, valid in zip(children, is_valid, strict=True) if valid]
            fitness = torch.cat([fitness.to(utility), utility[is_valid]])
            kept = survivors(fitness, self.population)
            people, fitness = [people[i] for i in kept], fitness[kept]
            parents = [person.smiles for person in people] or [child.smiles for child in children]
            made = graph_ga_blended_generation(parents * 2, self.population, rng)
            children = [child for child in _molecules(sorted(made)) if child not in set(people)] or children


def _molecules(smiles: list[str]) -> list[Molecule]:
    molecules: dict[Molecule, None] = {}
    for text in smiles:
        try:
            molecules[Molecule.from_smiles(text)] = None
        except CandidateError:
            continue
    return list(molecules)


def survivors(utility: Float[Tensor, "n m"], count: int) -> list[int]:
    """The best `count` rows by Pareto rank, ties by crowding distance (Deb et al. 2002)."""
    import moocore
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    if len(utility) <= count:
        return list(range(len(utility)))
    cost = -utility.double().numpy()
    rank = moocore.pareto_rank(cost)
    chosen: list[int] = []
    for level in range(int(rank.max()) + 1):
        layer = np.flatnonzero(rank == level)
        room = count - len(chosen)
        if len(layer) > room:
            crowding = calc_crowding_distance(cost[layer])
            layer = layer[np.argsort(-crowding, kind="stable")[:room]]
        chosen += layer.tolist()
        if len(chosen) >= count:
            break
    return sorted(chosen)
