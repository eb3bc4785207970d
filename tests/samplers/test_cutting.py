"""Molecules cut into fragments and joined again, and a vocabulary counted out of a file."""

import gzip
import json
from collections import Counter

import pytest

from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError, DataError
from samplers.environment.cutting import Census, cut, decompose, flat, join, merge_sites, rebuilds
from samplers.environment.vocabulary import Fragment, Vocabulary
from samplers.environment.vocabulary_command import build, read_smiles

MOLECULES = [
    "CC(=O)Nc1ccc(O)cc1",
    "COc1ccc(CN2CCN(C(=O)c3ccco3)CC2)cc1",
    "Cc1ccc(S(=O)(=O)N2CCCC2)cc1",
    "O=C(NCc1cccnc1)c1cc2ccccc2[nH]1",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "CCOC(=O)c1ccc(Cl)cc1",
    "O=[N+]([O-])c1ccc(N2CCOCC2)cc1",
    "C[N+](C)(C)Cc1ccccc1",
    "FC(F)(F)c1ccc(-n2cccn2)cc1",
]


def vocabulary_of(molecules):
    census = Census()
    for smiles in molecules:
        census.add(smiles)
    return census.vocabulary(1000, min_count=1)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_a_molecule_is_cut_and_joined_again(smiles):
    vocabulary, molecule = vocabulary_of(MOLECULES), Molecule.from_smiles(smiles)
    tree = decompose(vocabulary, molecule, max_fragments=20)
    assert tree is not None
    assert len(tree.edges) == len(tree.fragments) - 1
    assert join(vocabulary, tree.fragments, tree.edges) == flat(molecule)


def test_the_order_of_the_atoms_does_not_matter():
    one, two = (Molecule.from_smiles(text) for text in ("Cc1ccc(Cl)nc1", "Clc1ccc(C)cn1"))
    assert (
        sorted(piece.smiles for piece in cut(one))
        == sorted(piece.smiles for piece in cut(two))
        == ["C", "Cl", "c1ccncc1"]
    )


def test_stereo_is_ignored_and_said_so():
    molecule = Molecule.from_smiles("C[C@H](N)c1ccccc1")
    vocabulary = vocabulary_of([molecule.smiles])
    tree = rebuilds(vocabulary, molecule)
    assert tree is not None
    assert join(vocabulary, tree.fragments, tree.edges).smiles == flat(molecule).smiles == "CC(N)c1ccccc1"


def test_a_symmetry_lays_the_cuts_over_the_sites():
    vocabulary = Vocabulary([Fragment("c1ccccc1", (0, 3)), Fragment("Cl", (0,))])
    assert rebuilds(vocabulary, Molecule.from_smiles("Clc1ccc(Cl)cc1")) is not None
    assert rebuilds(vocabulary, Molecule.from_smiles("Clc1cccc(Cl)c1")) is None
    assert rebuilds(vocabulary, Molecule.from_smiles("Clc1ccccc1")) is not None


def test_a_tree_too_large_or_of_unknown_fragments_is_none():
    vocabulary = vocabulary_of(["Clc1ccc(Cl)cc1"])
    assert decompose(vocabulary, Molecule.from_smiles("Clc1ccc(Cl)cc1"), max_fragments=2) is None
    assert decompose(vocabulary, Molecule.from_smiles("Brc1ccc(Cl)cc1")) is None


@pytest.mark.parametrize(
    ("fragments", "edges", "told"),
    [
        ([], [], "a tree of n fragments"),
        ([0, 1], [], "a tree of n fragments"),
        ([0, 7], [(0, 0, 1, 0)], "fragments from 0 to 1"),
        ([0, 1], [(0, 2, 1, 0)], "site 2 of position 0"),
        ([0, 1, 1], [(0, 0, 1, 0), (0, 0, 2, 0)], "twice"),
        ([0, 0, 1], [(0, 0, 1, 0), (0, 1, 1, 1)], "ring"),
    ],
)
def test_edges_that_are_no_tree_are_refused(fragments, edges, told):
    vocabulary = Vocabulary([Fragment("c1ccccc1", (0, 3)), Fragment("Cl", (0,))])
    with pytest.raises(CandidateError, match=told):
        join(vocabulary, fragments, edges)


def test_sites_are_merged_up_to_symmetry_and_capped():
    assert merge_sites("c1ccccc1", Counter({(0,): 5, (3,): 4, (1, 4): 3, (2, 5): 1})) == (0, 3)
    assert merge_sites("C", Counter({(0,): 9, (0, 0): 3})) == (0, 0)
    assert merge_sites("CCC", Counter({(0, 0): 3, (1, 1): 2, (0, 2): 1}), max_sites=3) == (0, 0, 2)


def write_molecules(tmp_path):
    path = tmp_path / "molecules.smi"
    path.write_text("\n".join(["# a comment", *(f"{smiles} name" for smiles in MOLECULES * 3), "not_a_smiles"]))
    return path


def test_the_same_file_builds_the_same_vocabulary(tmp_path, capsys):
    path = write_molecules(tmp_path)
    built = [build(str(path), str(tmp_path / f"{name}.json"), size=20) for name in ("one", "two")]
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()
    assert built[0].identity == Vocabulary.from_json(tmp_path / "one.json").identity
    facts = json.loads((tmp_path / "one.json").read_text())
    assert facts["source"] == "molecules.smi"
    assert facts["molecules"] + facts["unreadable"] + facts["held_out"]["molecules"] <= 28
    assert "held-out molecules" in capsys.readouterr().out


def test_smiles_are_read_from_every_kind_of_file(tmp_path):
    (tmp_path / "a.smi").write_text("CC one\nCO two\n")
    (tmp_path / "b.csv").write_text("id,SMILES\n1,CC\n2,CO\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"smiles,x\nCC,1\nCO,2\n"))
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"smiles\nCC\n\nCO\n"))
    assert all(list(read_smiles(path)) == ["CC", "CO"] for path in sorted(tmp_path.iterdir()))


def test_excluded_rows_are_measured_and_not_counted(tmp_path):
    path, rows = write_molecules(tmp_path), tmp_path / "rows.json"
    rows.write_text("[0, 9, 18]")
    build(str(path), str(tmp_path / "v.json"), exclude=str(rows))
    facts = json.loads((tmp_path / "v.json").read_text())
    assert facts["held_out"]["molecules"] == 3
    assert facts["molecules"] == 24


def test_files_and_options_that_cannot_be_used_are_one_sentence(tmp_path):
    path = write_molecules(tmp_path)
    (tmp_path / "no.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="nowhere"):
        build(str(tmp_path / "nowhere.smi"), str(tmp_path / "v.json"))
    with pytest.raises(DataError, match="column 'smiles'"):
        build(str(tmp_path / "no.csv"), str(tmp_path / "v.json"))
    with pytest.raises(DataError, match="gz"):
        build(str(tmp_path / "bad.gz"), str(tmp_path / "v.json"))
    with pytest.raises(ConfigError, match="size of at least 1"):
        build(str(path), str(tmp_path / "v.json"), size=0)
    with pytest.raises(ConfigError, match="folder"):
        build(str(path), str(tmp_path / "none" / "v.json"))
    with pytest.raises(ConfigError, match="got none"):
        build(str(path), str(tmp_path / "v.json"), min_count=1000)
