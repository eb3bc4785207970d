"""The atom environment against brute force: paths, bridges, symmetries, Kekule structures, decoding."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import os
from collections import defaultdict

import networkx as nx
import pytest
import torch
from rdkit import Chem

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError
from samplers.environment.atom import VALENCES, AtomEnvironment, assembled, automorphisms
from samplers.environment.contract import check_environment
from samplers.environment.exact import all_paths, backward_totals, chosen_rows
from samplers.environment.rollout import UniformActor, last_state, retrace, rollout


def brute_molecules(elements: list[str], max_atoms: int) -> set[str]:
    """Canonical SMILES of every connected labelled graph within the valences."""
    found = set()
    for n in range(1, max_atoms + 1):
        pairs = list(itertools.combinations(range(n), 2))
        for atoms in itertools.product(elements, repeat=n):
            for orders in itertools.product(range(4), repeat=len(pairs)):
                used = [sum(order for pair, order in zip(pairs, orders, strict=True) if i in pair) for i in range(n)]
                bonds = tuple((i, j, order) for (i, j), order in zip(pairs, orders, strict=True) if order)
                graph = nx.Graph([(i, j) for i, j, _ in bonds])
                graph.add_nodes_from(range(n))
                fits = all(count <= VALENCES[atom] for count, atom in zip(used, atoms, strict=True))
                if fits and nx.is_connected(graph):
                    found.add(Chem.MolToSmiles(assembled(atoms, bonds)))
    return found


def large(n: int, seed: int, **arguments) -> tuple[AtomEnvironment, object]:
    """Random molecules of nine atoms, or fewer where no valence is left."""
    environment = AtomEnvironment(min_atoms=9, **arguments)
    generator = torch.Generator().manual_seed(seed)
    return environment, rollout(environment, UniformActor(environment), n, generator=generator).final


@pytest.mark.parametrize(
    "arguments",
    [{}, {"max_atoms": 1}, {"max_atoms": 2, "max_rings": None}, {"min_atoms": 9, "max_rings": None}, {"max_rings": 0}],
)
def test_the_contract_holds(arguments: dict) -> None:
    check_environment(AtomEnvironment(**arguments))


@pytest.mark.parametrize("elements, max_atoms", [(["C", "N", "O", "F"], 3), (["C", "O"], 4)])
def test_backward_probabilities_of_all_paths_into_each_molecule_sum_to_one(elements: list[str], max_atoms: int) -> None:
    totals = backward_totals(AtomEnvironment(elements, max_atoms))
    assert set(totals) == brute_molecules(elements, max_atoms)
    assert list(totals.values()) == pytest.approx([1.0] * len(totals), abs=1e-6)


def test_flows_made_of_backward_probability_and_reward_give_molecules_in_proportion_to_reward() -> None:
    """P_F(path) = R P_B(path) exp(log_symmetry) / Z sums to R / Z over the paths into each molecule."""
    environment = AtomEnvironment(max_atoms=3)
    trajectories = retrace(environment, all_paths(environment))
    keys = [molecule.key for molecule in environment.decode(trajectories.final)]
    reward = {key: 1.0 + index % 5 for index, key in enumerate(sorted(set(keys)))}
    log_backward = trajectories.log_backward.double().sum(1) + trajectories.log_symmetry.double()
    found: dict[str, float] = defaultdict(float)
    for key, share in zip(keys, log_backward.exp().tolist(), strict=True):
        found[key] += reward[key] * share / sum(reward.values())
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-6)
    assert all(found[key] == pytest.approx(value / sum(reward.values()), rel=1e-5) for key, value in reward.items())


def test_ring_bonds_are_those_that_are_no_bridges() -> None:
    environment, state = large(200, 0, max_rings=None)
    pairs = environment.pairs.T.tolist()
    options = environment.backward_allowed(environment.backward_step(state, torch.full((200,), 9 + len(pairs))))
    for row, (_, bonds) in enumerate(environment.graphs(state)):
        graph = nx.Graph([(i, j) for i, j, _ in bonds])
        expected = set(graph.edges) - set(nx.bridges(graph))
        found = {tuple(pairs[index]) for index in options[row, 9:-1].nonzero()[:, 0].tolist()}
        assert found == {tuple(sorted(edge)) for edge in expected}
        leaves = {node for node in graph if graph.degree(node) == 1}
        assert set(options[row, :9].nonzero()[:, 0].tolist()) == leaves


def test_automorphisms_agree_with_counting_maps() -> None:
    environment = AtomEnvironment(max_atoms=6, min_atoms=5, elements=["C", "F"])
    final = rollout(environment, UniformActor(environment), 60, generator=torch.Generator().manual_seed(0)).final
    orders = set()
    for elements, bonds in environment.graphs(final):
        edges = {(frozenset((i, j)), order) for i, j, order in bonds}
        count = 0
        for image in itertools.permutations(range(len(elements))):
            kept = all(elements[i] == elements[j] for i, j in enumerate(image))
            count += kept and {(frozenset((image[i], image[j])), order) for i, j, order in bonds} == edges
        assert automorphisms(elements, bonds) == count
        orders.add(count)
    assert len(orders) > 3


@pytest.mark.parametrize(
    "smiles",
    ["c1ccccc1", "Cc1ccccc1", "Cc1ccccc1C", "c1ccoc1", "c1cc[nH]c1", "c1ccncc1O", "Oc1ccccn1", "c1ccc2ccccc2c1"],
)
def test_the_kekule_structures_of_a_molecule_count_once_together(smiles: str) -> None:
    """The sum over Kekule structures that are not isomorphic of exp(log_symmetry) / |Aut| is one."""
    environment = AtomEnvironment(max_atoms=10)
    molecule = Molecule.from_smiles(smiles)
    elements, bonds = environment.graphs(environment.encode([molecule]))[0]
    forms: dict[tuple, tuple] = {}
    loose = [index for index, (*_, order) in enumerate(bonds) if order < 3]
    doubles = sum(bonds[index][2] == 2 for index in loose)
    for chosen in itertools.combinations(loose, doubles):
        form = tuple((i, j, 1 + (at in chosen) if at in loose else order) for at, (i, j, order) in enumerate(bonds))
        used = [sum(order for i, j, order in form if atom in (i, j)) for atom in range(len(elements))]
        if any(count > VALENCES[atom] for count, atom in zip(used, elements, strict=True)):
            continue
        if Molecule.from_mol(assembled(elements, form)) == molecule:
            graph = nx.Graph()
            graph.add_nodes_from((i, {"kind": element}) for i, element in enumerate(elements))
            graph.add_edges_from((i, j, {"kind": order}) for i, j, order in form)
            forms[form] = (graph, form)
    classes: list[tuple] = []
    for graph, form in forms.values():
        alike = {"node_match": lambda a, b: a == b, "edge_match": lambda a, b: a == b}
        if not any(nx.is_isomorphic(graph, other, **alike) for other, _ in classes):
            classes.append((graph, form))
    log_symmetry = float(environment.log_symmetry(environment.encode([molecule])))
    total = sum(math.exp(log_symmetry) / automorphisms(elements, form) for _, form in classes)
    assert total == pytest.approx(1.0)


def test_all_kekule_structures_have_one_key_and_one_symmetry() -> None:
    environment = AtomEnvironment(max_atoms=9)
    molecules = [Molecule.from_smiles(text) for text in ("Cc1ccccc1C", "Cc1cccc(C)c1", "Oc1ccncc1F", "c1cnccn1")]
    for molecule in molecules:
        mol = Chem.Mol(molecule.mol)
        forms = list(Chem.ResonanceMolSupplier(mol, Chem.KEKULE_ALL))
        states = [environment.encode([Molecule.from_mol(form)]) for form in forms]
        assert len(forms) >= 2
        assert {environment.decode(state)[0] for state in states} == {molecule}
        assert len({float(environment.log_symmetry(state)) for state in states}) == 1


@pytest.mark.parametrize("max_rings", [5, None])
def test_random_molecules_are_sanitised_connected_and_within_their_valences(max_rings: int | None) -> None:
    environment, state = large(1500, 1, max_rings=max_rings)
    assert bool((environment.free_valence(state) >= 0).all())
    for molecule in environment.decode(state):
        parsed = Chem.MolFromSmiles(molecule.smiles)
        assert parsed is not None and Chem.MolToSmiles(parsed) == molecule.smiles
        assert parsed.GetNumHeavyAtoms() <= 9 and "." not in molecule.smiles
        assert not any(atom.GetNumRadicalElectrons() or atom.GetFormalCharge() for atom in parsed.GetAtoms())


def test_paths_drawn_backward_follow_the_uniform_backward_policy() -> None:
    environment = AtomEnvironment(["C", "O"], 3)
    paths = all_paths(environment)
    trajectories = retrace(environment, paths)
    log_weight = trajectories.log_backward.double().sum(1) + trajectories.log_symmetry.double()
    keys = [molecule.key for molecule in environment.decode(trajectories.final)]
    for key in ("C1CO1", "CCO", "C1=CC1", "C=C=C"):
        expected = {
            str(path.tolist()): weight
            for path, weight, k in zip(paths, log_weight.exp().tolist(), keys, strict=True)
            if k == key
        }
        start = chosen_rows(environment.encode([Molecule(key)]), torch.zeros(8000, dtype=torch.long))
        drawn, counts = environment.unfold(start, generator=torch.Generator().manual_seed(0)).unique(
            dim=0, return_counts=True
        )
        found = {str(path.tolist()): int(count) / 8000 for path, count in zip(drawn, counts, strict=True)}
        assert set(found) == set(expected)
        assert all(found[path] == pytest.approx(weight, abs=0.02) for path, weight in expected.items())


def test_unfolded_molecules_are_built_again() -> None:
    environment, state = large(300, 2, max_rings=None)
    actions = environment.unfold(state, generator=torch.Generator().manual_seed(0))
    trajectories = retrace(environment, actions)
    for choice, allowed in enumerate(trajectories.allowed):
        assert bool(allowed.gather(-1, actions[..., choice, None]).all())
    assert environment.decode(trajectories.final) == environment.decode(state)
    assert torch.allclose(trajectories.log_symmetry.double(), environment.log_symmetry(state))


@pytest.mark.skipif("MOGEN_DATA" not in os.environ, reason="needs QM9 in MOGEN_DATA")
def test_every_neutral_molecule_of_qm9_can_be_made() -> None:
    environment = AtomEnvironment()
    with gzip.open(os.path.join(os.environ["MOGEN_DATA"], "molecules", "qm9_smiles_full.csv.gz"), "rt") as file:
        texts = [row["smiles"] for row in itertools.islice(csv.DictReader(file), 0, None, 131)]
    molecules = [item for item in map(Molecule.from_smiles, texts) if "+" not in item.key]
    state = environment.encode(molecules)
    plain = [Chem.MolToSmiles(molecule.mol, isomericSmiles=False) for molecule in molecules]
    again = last_state(environment, environment.unfold(state, generator=torch.Generator().manual_seed(0)))
    assert len(plain) > 900
    assert [item.key for item in environment.decode(again)] == [Molecule.from_smiles(text).key for text in plain]


def test_bad_arguments_and_molecules_are_refused(tmp_path) -> None:
    for arguments in ({"elements": ["Xe"]}, {"elements": ["C", "C"]}, {"min_atoms": 0}, {"max_rings": -1}):
        with pytest.raises(ConfigError, match="expected"):
            AtomEnvironment(**arguments)
    environment = AtomEnvironment(max_atoms=4)
    for smiles in ("CCCCC", "CS", "C[N+]#[C-]", "C1CC1"):
        if smiles == "C1CC1":
            environment = AtomEnvironment(max_rings=0)
        with pytest.raises(ConfigError, match="neutral molecules"):
            environment.encode([Molecule.from_smiles(smiles)])
    again = AtomEnvironment.read(tmp_path, AtomEnvironment(["C", "S"], 5, 2, 1).describe()["init_args"])
    assert (again.elements, again.max_atoms, again.min_atoms, again.max_rings) == (("C", "S"), 5, 2, 1)
