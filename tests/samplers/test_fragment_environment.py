"""The fragment environment against brute force: paths, symmetries, round trips, decoding."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import pytest
import torch
from rdkit import Chem

from samplers.environment.contract import check_environment
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.rollout import UniformActor, retrace, rollout
from samplers.environment.vocabulary import Fragment, Vocabulary


def tiny(max_fragments: int = 3, min_fragments: int = 1) -> FragmentEnvironment:
    """Four fragments: one with two equivalent sites, one with three, one with two different ones, one with one."""
    fragments = [
        Fragment("c1ccccc1", (0, 3)),
        Fragment("CCO", (0, 2)),
        Fragment("C1CC1", (0, 1, 2)),
        Fragment("F", (0,)),
    ]
    return FragmentEnvironment.of(fragments, max_fragments, min_fragments)


def all_paths(environment: FragmentEnvironment) -> torch.Tensor:
    """Every action sequence of the environment, by trying every allowed option."""
    prefixes: list[list[tuple[int, int]]] = [[]]
    for _ in range(environment.max_steps):
        longer = []
        for prefix in prefixes:
            state = environment.initial(1)
            for action in prefix:
                state = environment.step(state, torch.tensor([action]))
            empty = torch.zeros(1, 0, dtype=torch.long)
            for where in environment.allowed(state, empty)[0].nonzero()[:, 0].tolist():
                for what in environment.allowed(state, torch.tensor([[where]]))[0].nonzero()[:, 0].tolist():
                    longer.append([*prefix, (where, what)])
        prefixes = longer
    return torch.tensor(prefixes)


def brute_form(environment: FragmentEnvironment, nodes: list[int], edges: list[tuple[int, int, int, int]]) -> tuple:
    """The least encoding over all orders of the nodes and all symmetries of each fragment: slow and plain."""
    best = None
    groups = [environment.vocabulary.fragments[node].symmetries for node in nodes]
    for order in itertools.permutations(range(len(nodes))):
        for maps in itertools.product(*groups):
            placed = [0] * len(nodes)
            for old, new in enumerate(order):
                placed[new] = nodes[old]
            bonds = sorted(tuple(sorted([(order[i], maps[i][a]), (order[j], maps[j][b])])) for i, a, j, b in edges)
            code = (tuple(placed), tuple(bonds))
            best = code if best is None or code < best else best
    assert best is not None
    return best


def test_backward_probabilities_of_all_paths_into_one_tree_sum_to_one() -> None:
    environment = tiny()
    trajectories = retrace(environment, all_paths(environment))
    weight = (trajectories.log_backward.double().sum(1) + trajectories.log_symmetry.double()).exp()
    total: dict[tuple, float] = defaultdict(float)
    for (nodes, edges), share in zip(environment.trees(trajectories.final), weight.tolist(), strict=True):
        total[brute_form(environment, nodes, edges)] += share
    assert len(total) > 50
    assert all(math.isclose(share, 1.0, abs_tol=1e-5) for share in total.values())


def test_sampling_in_proportion_to_backward_probability_times_reward_gives_trees_in_proportion_to_reward() -> None:
    """At the zero of trajectory balance P_F(path) = R P_B(path) / Z; then every tree has probability R / Z."""
    environment = tiny()
    trajectories = retrace(environment, all_paths(environment))
    forms = [brute_form(environment, *tree) for tree in environment.trees(trajectories.final)]
    reward = {form: 1.0 + index % 7 for index, form in enumerate(sorted(set(forms)))}
    log_backward = trajectories.log_backward.double().sum(1) + trajectories.log_symmetry.double()
    log_reward = torch.tensor([reward[form] for form in forms], dtype=torch.float64).log()
    partition = sum(reward.values())
    found: dict[tuple, float] = defaultdict(float)
    for form, share in zip(forms, (log_reward + log_backward).exp().tolist(), strict=True):
        found[form] += share / partition
    assert math.isclose(sum(found.values()), 1.0, abs_tol=1e-5)
    assert all(math.isclose(found[form], value / partition, rel_tol=1e-4) for form, value in reward.items())


def test_automorphisms_agree_with_counting_maps() -> None:
    environment = tiny()
    trajectories = retrace(environment, all_paths(environment))
    for nodes, edges in environment.trees(trajectories.final)[::29]:
        groups = [environment.vocabulary.fragments[node].symmetries for node in nodes]
        bonds = {frozenset([(i, a), (j, b)]) for i, a, j, b in edges}
        count = 0
        for order in itertools.permutations(range(len(nodes))):
            if any(nodes[old] != nodes[new] for old, new in enumerate(order)):
                continue
            for maps in itertools.product(*groups):
                moved = {frozenset([(order[i], maps[i][a]), (order[j], maps[j][b])]) for i, a, j, b in edges}
                count += moved == bonds
        assert environment.automorphisms(nodes, edges) == count


def test_the_contract_holds() -> None:
    check_environment(tiny(5, 2))
    check_environment(FragmentEnvironment(max_fragments=6))


def test_a_core_is_in_every_molecule_and_never_removed() -> None:
    environment = FragmentEnvironment(max_fragments=5, min_fragments=3, core="[*]c1ccc([*])nc1")
    check_environment(environment)
    final = rollout(environment, UniformActor(environment), 100, generator=torch.Generator().manual_seed(0)).final
    pattern = Chem.MolFromSmarts("c1cccnc1")
    assert all(molecule.mol.HasSubstructMatch(pattern) for molecule in environment.decode(final))


def test_ten_thousand_random_trees_decode_to_sanitised_molecules() -> None:
    environment = FragmentEnvironment()
    generator = torch.Generator().manual_seed(1)
    seen = 0
    while seen < 10_000:
        final = rollout(environment, UniformActor(environment), 1000, generator=generator).final
        for molecule in environment.decode(final):
            parsed = Chem.MolFromSmiles(molecule.smiles)
            assert parsed is not None and Chem.MolToSmiles(parsed) == molecule.smiles
            assert "." not in molecule.smiles
            seen += 1


@pytest.mark.parametrize("arguments", [{"min_fragments": 0}, {"min_fragments": 5, "max_fragments": 4}])
def test_impossible_sizes_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(Exception, match="min_fragments"):
        FragmentEnvironment(**arguments)


def test_a_saved_environment_comes_back_the_same(tmp_path) -> None:
    environment = FragmentEnvironment(core="[*]c1ccccc1[*]", max_fragments=4)
    environment.write(tmp_path)
    again = FragmentEnvironment.read(tmp_path, environment.describe()["init_args"])
    assert isinstance(again.vocabulary, Vocabulary)
    assert again.vocabulary.identity == environment.vocabulary.identity
    assert again.sizes == environment.sizes and torch.equal(again.first_pair, environment.first_pair)
