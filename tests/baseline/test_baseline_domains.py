"""Baselines over every kind of environment: the contract, what they keep, what they refuse, and beside whom."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mogen.domain.molecule import Molecule
from mogen.domain.point import Point
from mogen.domain.sequence import TokenSequence
from mogen.errors import BudgetExhausted, ConfigError, RunError
from mogen.objective import FunctionObjective, ObjectiveSet
from mogen.oracle import Ledger, Oracle, SerialExecutor
from mogen.preference import Tchebycheff
from mogen.sampler import Sampler, check_sampler
from samplers.baseline.a2c import MOA2C
from samplers.baseline.envelope_q import EnvelopeQ
from samplers.baseline.evolution import NSGA2Baseline
from samplers.baseline.graph_ga import GraphGA
from samplers.baseline.mars import MARS
from samplers.baseline.random import RandomPolicy
from samplers.baseline.reinforce import MOReinforce
from samplers.baseline.search import any_candidate, candidate_class
from samplers.environment.atom import AtomEnvironment
from samplers.environment.edit import SequenceEdit
from samplers.environment.environment import Environment
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.sequence import SequenceEnvironment
from samplers.environment.vocabulary import Fragment
from samplers.gflownet.networks.mlp import MLP


def fragments() -> FragmentEnvironment:
    return FragmentEnvironment.of([Fragment("C1CC1", (0, 1, 2)), Fragment("CCO", (0, 2)), Fragment("F", (0,))], 3, 1)


ENVIRONMENTS: dict[str, Any] = {
    "grid": lambda: HyperGrid(2, 6),
    "sequence": lambda: SequenceEnvironment("ACGT", 2, 4),
    "edit": lambda: SequenceEdit(["ACGTA", "CCGTT"], "ACGT", max_edits=3),
    "fragment": fragments,
    "atom": lambda: AtomEnvironment(max_atoms=4),
}


def number(candidate: Any, power: int) -> float:
    """Something that differs between most candidates of any kind."""
    return sum((place + 1) ** power * ord(letter) for place, letter in enumerate(candidate.key)) % 101


def objectives() -> ObjectiveSet[Any]:
    parts = [
        FunctionObjective(number, name=f"digits{power}", worst=0, best=100, parameters={"power": power})
        for power in (1, 2)
    ]
    return ObjectiveSet(parts)


def small(kind: type, environment: Environment) -> Sampler:
    sizes: dict[type, dict[str, int]] = {
        RandomPolicy: {"population": 8},
        NSGA2Baseline: {"population": 8},
        MOReinforce: {"steps": 3, "batch": 8, "group": 4},
        MOA2C: {"steps": 3, "batch": 8},
        EnvelopeQ: {"steps": 3, "batch": 8, "recalled": 4, "weights": 3},
        MARS: {"population": 8, "length": 4},
    }
    return kind(environment, **sizes[kind])


@pytest.mark.parametrize("kind", [RandomPolicy, NSGA2Baseline, MOReinforce, MOA2C, EnvelopeQ, MARS])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_baseline_keeps_the_contract_in_every_environment(kind: type, name: str) -> None:
    environment = ENVIRONMENTS[name]()
    check_sampler(lambda: small(kind, environment), objectives(), budget=20)


@pytest.mark.parametrize(("name", "kind"), [("grid", Point), ("edit", TokenSequence), ("fragment", Molecule)])
def test_a_saved_search_knows_its_kind_of_candidate(name: str, kind: type, tmp_path) -> None:
    baseline: Any = RandomPolicy(ENVIRONMENTS[name](), 30)
    baseline.patience = 1
    baseline.fit(objectives(), m=2, generator=torch.Generator().manual_seed(0))
    baseline.save(tmp_path)
    again = RandomPolicy.load(tmp_path)
    assert again.known.keys() == baseline.known.keys()
    assert {type(item) for item in again.known} == {kind}


def test_a_saved_search_names_no_other_class() -> None:
    with pytest.raises(RunError, match="kind of candidate"):
        candidate_class("os.system")


def test_graph_ga_stands_beside_molecules_only() -> None:
    for name in ("fragment", "atom"):
        assert isinstance(GraphGA.beside(SimpleNamespace(environment=ENVIRONMENTS[name]())), GraphGA)
    for name in ("grid", "sequence", "edit"):
        with pytest.raises(ConfigError, match="expected an environment of molecules for the baseline Graph-GA"):
            GraphGA.beside(SimpleNamespace(environment=ENVIRONMENTS[name]()))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_any_candidate_is_always_the_same(name: str) -> None:
    assert any_candidate(ENVIRONMENTS[name]()) == any_candidate(ENVIRONMENTS[name]())


@pytest.mark.parametrize("kind", [MOReinforce, MOA2C, EnvelopeQ, MARS])
def test_a_baseline_takes_the_settings_of_the_sampler_it_stands_beside(kind: Any) -> None:
    from samplers.gflownet.sampler import GFlowNetSampler

    network, scalarization = MLP(24, 1), Tchebycheff()
    sampler: Any = GFlowNetSampler(
        HyperGrid(2, 6), network, scalarization=scalarization, steps=10, updates=4, batch=12, bins=5
    )
    found = kind.beside(sampler)
    assert (found.environment, found.network, found.bins) == (sampler.environment, network, 5)
    if kind is not EnvelopeQ:
        assert found.scalarization is scalarization
    if kind is not MARS:
        # 3 of 10 steps ask; 12 trajectories are 16 in whole groups of 8
        assert (found.steps, found.batch) == (3, 16 if kind is MOReinforce else 12)


@pytest.mark.parametrize("kind", [MOReinforce, MOA2C, EnvelopeQ, MARS])
def test_preferences_go_with_what_is_asked_and_the_budget_ends_it(kind: Any) -> None:
    batches = []

    def measure(candidates, *, preference=None):
        if len(batches) == 3:
            raise BudgetExhausted("enough")
        batches.append(preference)
        return objectives()(candidates)

    small(kind, HyperGrid(2, 6)).fit(measure, m=2, generator=torch.Generator().manual_seed(0))
    rows = [preference for preference in batches if preference is not None]
    assert len(rows) == (2 if kind is MARS else 3)  # MARS starts from random candidates
    assert all(torch.allclose(preference.sum(1), torch.ones(8)) for preference in rows)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (MOReinforce, {"batch": 12, "group": 8}),
        (MOReinforce, {"group": 1}),
        (MOA2C, {"steps": 0}),
        (EnvelopeQ, {"memory": 3}),
        (EnvelopeQ, {"discount": 0.0}),
        (MARS, {"first_beta": 8.0, "last_beta": 1.0}),
    ],
)
def test_settings_that_cannot_be_are_named(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        kind(HyperGrid(2, 6), **wrong)


@pytest.mark.parametrize("kind", [MOReinforce, MOA2C, EnvelopeQ])
def test_an_untrained_one_or_other_preferences_are_named(kind: Any, tmp_path) -> None:
    baseline: Any = small(kind, HyperGrid(2, 6))
    with pytest.raises(RunError, match="neither fitted nor loaded"):
        baseline.sample(torch.ones(1, 2) / 2)
    with pytest.raises(RunError, match="nothing of the kind"):
        kind.load(tmp_path)
    baseline.build(2)
    with pytest.raises(ConfigError, match="n x 2"):
        baseline.sample(torch.ones(1, 3) / 3)


@pytest.mark.parametrize("kind", [MOReinforce, EnvelopeQ, MARS])
def test_a_restarted_baseline_pays_nothing_twice(kind: Any, tmp_path) -> None:
    """As a run does: the account begins again at zero, the ledger knows what was measured before the crash."""
    environment, measured = HyperGrid(2, 12), []

    def counted(candidate: Any, power: int) -> float:
        measured.append((candidate.key, power))
        return number(candidate, power)

    parts = [
        FunctionObjective(counted, name=f"digits{power}", worst=0, best=100, parameters={"power": power})
        for power in (1, 2)
    ]
    asked = []
    for budget in (3, 5):
        with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
            oracle: Any = Oracle(
                ObjectiveSet(parts), ledger, budget=budget, account="baseline", executor=SerialExecutor()
            )
            oracle.truncate(0)
            small(kind, environment).fit(oracle, m=2, generator=torch.Generator().manual_seed(0))
            asked.append(oracle.history().keys)
    assert asked[1][:3] == asked[0] and len(asked[1]) > 3
    assert len(measured) == len(set(measured)) == 2 * len(asked[1])
