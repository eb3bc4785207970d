"""Fragments, their sites and symmetries, and the files a vocabulary comes from."""

import json
import os
import random
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from rdkit import Chem

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError
from samplers.environment.vocabulary import Fragment, Vocabulary, assemble


def compose(first, second):
    return tuple(second[index] for index in first)


def random_tree(vocabulary, size, generator):
    fragments = [generator.randrange(len(vocabulary))]
    free = [(0, site) for site in range(len(vocabulary[fragments[0]].sites))]
    edges = []
    while len(fragments) < size and free:
        i, site_i = free.pop(generator.randrange(len(free)))
        fragment = generator.randrange(len(vocabulary))
        sites = range(len(vocabulary[fragment].sites))
        site_j = generator.choice(sites)
        j = len(fragments)
        fragments.append(fragment)
        edges.append((i, site_i, j, site_j))
        free += [(j, site) for site in sites if site != site_j]
    return fragments, edges


@pytest.mark.parametrize(
    ("smiles", "sites", "count"),
    [
        ("c1ccccc1", (0, 1, 2, 3, 4, 5), 12),
        ("c1ccccc1", (0, 3), 2),
        ("c1ccccc1", (0, 1, 2), 2),
        ("CCC", (0, 1, 2), 2),
        ("CCC", (0, 1), 1),
        ("CCO", (0, 1, 2), 1),
        ("Cc1ccccc1", (0, 2, 3, 4, 5, 6), 2),
        ("C=O", (0, 0), 2),
        ("CC", (0, 0, 1, 1), 8),
        ("c1c[nH]cn1", (0, 1, 3), 1),
    ],
)
def test_the_symmetries_are_a_group_of_the_right_size(smiles, sites, count):
    symmetries = Fragment(smiles, sites).symmetries
    assert len(symmetries) == len(set(symmetries)) == count
    assert symmetries[0] == tuple(range(len(sites)))
    assert {compose(one, two) for one, two in product(symmetries, repeat=2)} == set(symmetries)


def test_equivalent_sites_give_one_molecule():
    vocabulary = Vocabulary([Fragment("Cc1ccncc1", (0, 2, 3, 5, 6)), Fragment("Cl", (0,))])
    made = [Chem.MolToSmiles(assemble(vocabulary, [0, 1], [(0, site, 1, 0)])) for site in range(5)]
    orbits = {frozenset(permutation[site] for permutation in vocabulary[0].symmetries) for site in range(5)}
    assert len(orbits) == len(set(made)) == 3
    assert all(len({made[site] for site in orbit}) == 1 for orbit in orbits)


def test_too_many_symmetries_are_refused():
    with pytest.raises(ConfigError, match="at most 5040 symmetries"):
        _ = Fragment("CC(C)(C)C", (0, 2, 3, 4) * 3).symmetries


@pytest.mark.parametrize(
    ("text", "smiles", "sites"),
    [
        ("[*]c1ccccc1", "c1ccccc1", (0,)),
        ("[*:1]C(=O)[*:2]", "C=O", (0, 0)),
        ("[*]n1cccc1", "c1cc[nH]c1", (3,)),
        ("[*][NH2+]C", "C[NH3+]", (1,)),
    ],
)
def test_dummy_atoms_mark_sites(text, smiles, sites):
    assert Fragment.from_smiles(text) == Fragment(smiles, sites)


@pytest.mark.parametrize(
    ("text", "told"),
    [("c1ccccc1", "dummy atoms"), ("[*]", "dummy atoms"), ("[*]=C", "one single bond"), ("[*]c1cc", "valid SMILES")],
)
def test_a_text_without_clear_sites_is_refused(text, told):
    with pytest.raises(ConfigError, match=told):
        Fragment.from_smiles(text)


def test_stereo_marks_are_dropped():
    vocabulary = Vocabulary.from_smiles(["[*][C@H](F)Cl", "[*]/C=C/C"])
    assert all("@" not in fragment.smiles and "/" not in fragment.smiles for fragment in vocabulary)


@pytest.mark.parametrize(
    ("fragment", "told"),
    [
        (Fragment("c1ccccc", (0,)), "entry 1"),
        (Fragment("CC", (2,)), "sites from 0 to 1, got 2 in entry 1"),
        (Fragment("CC", (-1,)), "got -1 in entry 1"),
        (Fragment("FC(F)(F)C", (1,)), "atom 1 named 1 times in entry 1"),
        (Fragment("CO", (1, 1)), "atom 1 named 2 times in entry 1"),
        (Fragment("C.C", (0,)), "one piece"),
        (Fragment("C", ()), "without any"),
        (Fragment("O", (0,)), "entries 0 and 1"),
    ],
)
def test_a_broken_fragment_is_named(fragment, told):
    with pytest.raises(ConfigError, match=told):
        Vocabulary([Fragment("O", (0,)), fragment])


def test_an_empty_vocabulary_is_refused():
    with pytest.raises(ConfigError, match="at least one fragment"):
        Vocabulary([])


def test_the_own_form_goes_out_and_comes_back(tmp_path):
    vocabulary = Vocabulary.from_smiles(["[*]c1ccccc1", "[*]C(=O)[*]", "[*]Cl"], name="three")
    vocabulary.to_json(tmp_path / "three.json", source="a test")
    again = Vocabulary.from_json(tmp_path / "three.json")
    assert (again.fragments, again.name, again.identity) == (vocabulary.fragments, "three", vocabulary.identity)
    assert json.loads((tmp_path / "three.json").read_text())["source"] == "a test"


def test_the_identity_follows_fragments_and_sites():
    one = Vocabulary([Fragment("CC", (0,))])
    assert one.identity == Vocabulary([Fragment("CC", (0,))], name="other").identity
    assert one.identity != Vocabulary([Fragment("CC", (0, 1))]).identity


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "not"),
        ("[]", "JSON object"),
        ("{}", "'block_smi'"),
        ('{"format": "mogen-fragments", "version": 9, "fragments": []}', "version 1"),
        ('{"format": "mogen-fragments", "version": 1}', "list 'fragments'"),
        ('{"format": "mogen-fragments", "version": 1, "fragments": []}', "at least one fragment"),
        ('{"format": "mogen-fragments", "version": 1, "fragments": [{"smiles": "C"}]}', "sites of entry 0"),
        ('{"format": "mogen-fragments", "version": 1, "fragments": [{"sites": [0]}]}', "entry 0"),
        ('{"format": "mogen-fragments", "version": 1, "fragments": [{"smiles": "c1cc", "sites": [0]}]}', "entry 0"),
        ('{"block_smi": {"0": "C"}, "block_r": {}}', "same entries"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, text, told):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        Vocabulary.from_json(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        Vocabulary.from_json(tmp_path / "nowhere.json")


def test_the_published_form_merges_entries_with_the_same_smiles(tmp_path):
    published = {
        "block_name": {"0": "c1ccccc1_0", "1": "CO_0", "2": "CO_1", "3": "C=O_0"},
        "block_smi": {"0": "c1ccccc1", "1": "CO", "2": "CO", "3": "C=O"},
        "block_r": {"0": [0, 1, 2, 3, 4, 5], "1": [0, 1], "2": [1, 0, 0, 0], "3": [0]},
    }
    path = tmp_path / "blocks.json"
    path.write_text(json.dumps(published))
    assert Vocabulary.from_json(path).fragments == (
        Fragment("c1ccccc1", (0, 1, 2, 3, 4, 5)),
        Fragment("CO", (0, 1)),
        Fragment("C=O", (0,)),
    )


@pytest.mark.skipif("MOGEN_DATA" not in os.environ, reason="MOGEN_DATA names no data folder with the published blocks")
def test_the_published_105_blocks_are_72_fragments_with_127_sites():
    path = Path(os.environ["MOGEN_DATA"]) / "oracles" / "seh_blocks_PDB_105.json"
    if not path.exists():
        pytest.skip(f"the data folder has no {path.name}")
    vocabulary = Vocabulary.from_json(path)
    assert (len(vocabulary), sum(len(fragment.sites) for fragment in vocabulary)) == (72, 127)


def test_the_default_vocabulary_has_at_least_500_small_fragments():
    vocabulary = Vocabulary.default()
    assert len(vocabulary) >= 500
    assert max(len(fragment.sites) for fragment in vocabulary) <= 6
    assert all(fragment.symmetries[0] == tuple(range(len(fragment.sites))) for fragment in vocabulary)


def test_the_default_vocabulary_states_its_coverage():
    facts = json.loads((files("samplers.environment") / "fragments.json").read_text())
    assert facts["held_out"]["molecules"] >= 1000
    assert max(facts["held_out"]["rebuilt_by_size"].values()) >= 0.5


def test_random_trees_of_the_default_vocabulary_are_molecules():
    vocabulary = Vocabulary.default()
    generator = random.Random(0)
    for _ in range(500):
        fragments, edges = random_tree(vocabulary, generator.randint(1, 9), generator)
        mol = assemble(vocabulary, fragments, edges)
        assert mol.GetNumAtoms() == sum(vocabulary[index].mol.GetNumAtoms() for index in fragments)
        smiles = Chem.MolToSmiles(mol)
        assert "." not in smiles
        assert Chem.MolFromSmiles(smiles) is not None
        assert Molecule.from_mol(mol).mol is not None
