"""Baselines: the same start, only valid survivors, and an honest end."""

from __future__ import annotations

import pytest
import torch

from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted
from mogen.objective import Evaluation, FunctionObjective, ObjectiveSet
from samplers.baseline.evolution import NSGA2Baseline
from samplers.baseline.graph_ga import GraphGA, survivors
from samplers.baseline.random import RandomPolicy
from samplers.baseline.search import express, genome_length, start_genomes
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.vocabulary import Fragment

BASELINES = [RandomPolicy, NSGA2Baseline, GraphGA]


def environment() -> FragmentEnvironment:
    smiles = [
        ("c1ccccc1", (0, 2, 3)),
        ("CCO", (0, 2)),
        ("C1CC1", (0, 1, 2)),
        ("F", (0,)),
        ("NC=O", (0, 1)),
        ("CC", (0, 1)),
    ]
    return FragmentEnvironment.of([Fragment(*item) for item in smiles], 6, 1)


def objectives() -> ObjectiveSet[Molecule]:
    def heavy(molecule: Molecule) -> float:
        return molecule.mol.GetNumAtoms()

    def oxygens(molecule: Molecule) -> float:
        return sum(atom.GetSymbol() == "O" for atom in molecule.mol.GetAtoms())

    return ObjectiveSet(
        [
            FunctionObjective(heavy, name="heavy", worst=40, best=5),
            FunctionObjective(oxygens, name="oxygens", worst=0, best=5),
        ]
    )


class Limited:
    """A measure that ends after so many calls and keeps what it was asked."""

    def __init__(self, calls: int) -> None:
        self.objectives, self.calls, self.batches = objectives(), calls, []

    def __call__(self, candidates, *, preference=None) -> Evaluation:
        if len(self.batches) == self.calls:
            raise BudgetExhausted("enough")
        self.batches.append(list(candidates))
        return self.objectives(candidates)


@pytest.mark.parametrize("kind", BASELINES)
def test_the_same_seed_gives_the_same_search(kind) -> None:
    asked = []
    for _ in range(2):
        measure = Limited(4)
        kind(environment(), 30).fit(measure, m=2, generator=torch.Generator().manual_seed(5))
        asked.append(measure.batches)
    assert len(asked[0]) == 4 and asked[0] == asked[1]


def test_all_start_from_the_same_molecules() -> None:
    starts = []
    for kind in BASELINES:
        measure = Limited(1)
        kind(environment(), 30).fit(measure, m=2, generator=torch.Generator().manual_seed(5))
        starts.append(set(measure.batches[0]))
    assert starts[0] == starts[1] == starts[2]


@pytest.mark.parametrize("kind", [NSGA2Baseline, GraphGA])
def test_evolution_beats_its_own_start(kind) -> None:
    from mogen.pareto import hypervolume

    measure = Limited(25)
    kind(environment(), 40).fit(measure, m=2, generator=torch.Generator().manual_seed(0))
    first = hypervolume(measure.objectives(measure.batches[0]).utility)
    everything = [molecule for batch in measure.batches for molecule in batch]
    assert hypervolume(measure.objectives(everything).utility) > first * 1.05


def test_a_search_without_anything_new_ends_by_itself() -> None:
    small = FragmentEnvironment.of([Fragment("F", (0,)), Fragment("CC", (0, 1))], 2, 1)
    baseline = RandomPolicy(small, 10)
    baseline.fit(objectives(), m=2, generator=torch.Generator().manual_seed(0))
    assert 2 <= len(baseline.known) <= 5


def test_samples_are_the_best_known_for_each_preference(tmp_path) -> None:
    baseline = RandomPolicy(environment(), 50)
    baseline.fit(Limited(3), m=2, generator=torch.Generator().manual_seed(0))
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    best = baseline.sample(preference).candidates
    utility = objectives()(best).utility
    known = torch.stack(list(baseline.known.values()))
    assert utility[0, 0] == known[:, 0].max() and utility[1, 1] == known[:, 1].max()
    baseline.save(tmp_path)
    assert RandomPolicy.load(tmp_path).sample(preference).candidates == best


def test_every_genome_is_a_terminal_state() -> None:
    world = environment()
    genomes = start_genomes(world, 200, torch.Generator().manual_seed(0))
    assert genomes.shape == (200, genome_length(world))
    assert world.is_terminal(express(world, genomes)).all()
    edge = torch.full((1, genome_length(world)), 1.0)
    assert world.is_terminal(express(world, edge)).all()


def test_survivors_are_the_front_first_and_its_ends_before_its_middle() -> None:
    utility = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.55, 0.45], [0.0, 1.0], [0.1, 0.1]])
    assert survivors(utility, 3)[0] == 0 and 3 in survivors(utility, 3) and 4 not in survivors(utility, 4)
    assert survivors(utility, 10) == [0, 1, 2, 3, 4]
