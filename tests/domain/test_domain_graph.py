"""Molecules to dense graphs and back; valences against RDKit."""

from __future__ import annotations

import pytest
import torch
from rdkit import Chem, rdBase

from mogen.domain.graph import (
    QM9_ATOMS,
    ZINC_ATOMS,
    Graph,
    MolecularGraphs,
    census,
    correct_valence,
    encode_graphs,
    encode_molecules,
    is_valid,
    molecules,
    quantise_graphs,
    quantise_molecules,
)
from mogen.errors import CandidateError, ConfigError

SMILES = [
    "C",
    "O",
    "CC#N",
    "c1ccccc1O",
    "CC(=O)Nc1ccc(Cl)cc1",
    "O=S(=O)(N)c1ccccc1",
    "C[N+](C)(C)C",
    "OP(=O)(O)O",
    "Brc1cncc(I)c1F",
    "C1CC2CC1C2",
]


def test_molecules_come_back_the_same() -> None:
    graphs, rows = encode_molecules(SMILES, ZINC_ATOMS, 12)
    assert rows == list(range(len(SMILES)))
    assert is_valid(graphs, ZINC_ATOMS).all()
    assert molecules(graphs, ZINC_ATOMS) == [Chem.CanonSmiles(text) for text in SMILES]
    dense = graphs.dense(len(ZINC_ATOMS))
    again = quantise_molecules(dense.x + 0.4, dense.adj - 0.4)
    assert torch.equal(again.bonds, graphs.bonds)
    assert torch.equal(quantise_molecules(dense.x, dense.adj).atoms, graphs.atoms)


def test_charges_and_stereochemistry_are_not_kept_unless_a_valence_says_so() -> None:
    graphs, _ = encode_molecules(["[NH3+]CC([O-])=O", "C[C@H](N)O", "C[N+](=O)[O-]"], QM9_ATOMS, 9)
    assert molecules(graphs, QM9_ATOMS) == ["NCC(=O)O", "CC(N)O", "C[N+](=O)O"]
    assert molecules(graphs, QM9_ATOMS, is_balanced=True)[2] == "C[N+](=O)[O-]"


def test_what_does_not_fit_is_one_sentence_or_left_out() -> None:
    for text, words in (("CCCC", "at most 3"), ("CS", "got S"), ("C(", "expected a molecule")):
        with pytest.raises(CandidateError, match=words):
            encode_molecules([text], QM9_ATOMS, 3)
    graphs, rows = encode_molecules(["CCCC", "CO", "CS", "C("], QM9_ATOMS, 3, skip=True)
    assert rows == [1] and molecules(graphs, QM9_ATOMS) == ["CO"]


def test_of_several_fragments_the_one_with_most_heavy_atoms_is_kept() -> None:
    types = ("C", "N", "O", "Na", "Cl")
    texts = ["CO.[Na+]", "[NH4+].[Cl-]", "[Cl-].[NH4+]", "Cl.CCN", "O.O.CC.O", "C1.C1N", "[2H]O[2H].CC"]
    graphs, rows = encode_molecules(texts, types, 3)
    assert rows == list(range(len(texts)))
    assert molecules(graphs, types) == ["CO", "N", "N", "CCN", "CC", "CCN", "CC"]
    assert molecules(encode_molecules(["CO.[Na+]"], QM9_ATOMS, 2)[0], QM9_ATOMS) == ["CO"]  # the ion need not fit
    assert census(["CO.[Na+]", "CCN.Cl"]) == (["C", "N", "O"], 3)
    # of what is generated the fragment with the longest SMILES, as published
    two = MolecularGraphs(torch.tensor([[0, 0, 2, 4]]).to(torch.int8), torch.zeros(1, 4, 4, dtype=torch.uint8))
    two.bonds[0, 0, 1] = two.bonds[0, 1, 0] = 1
    assert molecules(two, ("C", "N", "O", "F", "Na")) == ["[NaH]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("*CC", "dummy"), ("[2H]C", "hydrogen"), ("[H][H]", "hydrogen"), ("[H+]", "hydrogen"), ("C.*CC", "dummy")],
)
def test_dummy_atoms_and_hydrogens_are_no_nodes(text: str, words: str) -> None:
    types = ("*", "H", "C")
    with pytest.raises(CandidateError, match=f"expected only heavy atoms as nodes in row 0, got a {words}"):
        encode_molecules([text], types, 9)
    assert encode_molecules([text, "[13CH4]", "[H]C([H])C"], types, 9, skip=True)[1] == [1, 2]
    assert census([text, "CC"]) == (["C"], 2)


def test_census_names_atoms_and_the_largest_size() -> None:
    assert census(["CCO", "not one", "CCl"]) == (["C", "O", "Cl"], 3)
    with pytest.raises(CandidateError, match="at least one"):
        census(["not one"])


def random_graphs(n: int, v: int, types: tuple[str, ...]) -> MolecularGraphs:
    generator = torch.Generator().manual_seed(0)
    bonds = torch.randint(0, 8, (n, v, v), generator=generator)
    bonds = torch.where(bonds > 3, 0, bonds).triu(1)
    atoms = torch.randint(0, len(types), (n, v), generator=generator)
    return MolecularGraphs(atoms.to(torch.int8), (bonds + bonds.mT).to(torch.uint8))


def passes_rdkit(atoms: list[int], bonds: torch.Tensor, types: tuple[str, ...]) -> bool:
    """Whether RDKit accepts the valences, with +1 on N and O that have one bond too many."""
    mol = Chem.RWMol()
    for row, kind in enumerate(atoms):
        atom = Chem.Atom(types[kind])
        if types[kind] in ("N", "O") and int(bonds[row].sum()) == {"N": 3, "O": 2}[types[kind]] + 1:
            atom.SetFormalCharge(1)
        mol.AddAtom(atom)
    kinds = [None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE]
    for i, j in bonds.triu(1).nonzero().tolist():
        mol.AddBond(i, j, kinds[int(bonds[i, j])])
    with rdBase.BlockLogs():
        return Chem.SanitizeMol(mol, Chem.SANITIZE_PROPERTIES, catchErrors=True) == Chem.SANITIZE_NONE


def test_validity_agrees_with_rdkit() -> None:
    graphs = random_graphs(400, 4, ZINC_ATOMS)
    found = is_valid(graphs, ZINC_ATOMS)
    expected = [passes_rdkit(a.tolist(), b, ZINC_ATOMS) for a, b in zip(graphs.atoms, graphs.bonds, strict=True)]
    assert found.tolist() == expected
    assert 0.05 < float(found.float().mean()) < 0.95


def test_corrected_valences_are_valid_and_valid_molecules_are_left_alone() -> None:
    graphs = random_graphs(200, 7, ZINC_ATOMS)
    before = is_valid(graphs, ZINC_ATOMS)
    fixed = correct_valence(graphs, ZINC_ATOMS)
    assert is_valid(fixed, ZINC_ATOMS).all()
    assert (fixed.bonds <= graphs.bonds).all() and torch.equal(fixed.bonds, fixed.bonds.mT)
    assert torch.equal(fixed.bonds[before], graphs.bonds[before])
    # RDKit rewrites hypervalent iodine while it sanitises, and may refuse what comes of it
    has_iodine = (graphs.atoms == ZINC_ATOMS.index("I")).any(1).tolist()
    texts = molecules(fixed, ZINC_ATOMS)
    assert all(text is not None or rewritten for text, rewritten in zip(texts, has_iodine, strict=True))


def test_the_highest_bond_of_the_first_overfull_atom_is_lowered() -> None:
    # C with a triple and a double bond to O and C: 5 bonds; the triple one is lowered
    bonds = torch.tensor([[[0, 2, 3], [2, 0, 0], [3, 0, 0]]], dtype=torch.uint8)
    graphs = MolecularGraphs(torch.tensor([[0, 2, 0]], dtype=torch.int8), bonds)
    assert not is_valid(graphs, QM9_ATOMS).any()
    assert molecules(correct_valence(graphs, QM9_ATOMS), QM9_ATOMS) == ["C=C=O"]


def test_a_graph_without_atoms_is_no_molecule() -> None:
    graphs = quantise_molecules(torch.zeros(1, 3, 4), torch.ones(1, 3, 3))
    assert not is_valid(graphs, QM9_ATOMS).any()
    assert molecules(graphs, QM9_ATOMS) == [None]


def test_the_longest_fragment_is_kept() -> None:
    graphs, _ = encode_molecules(["CCCOC"], QM9_ATOMS, 9)
    oxygen = int((graphs.atoms[0] == 2).nonzero())
    last = next(node for node in range(5) if graphs.bonds[0, oxygen, node] and graphs.bonds[0, node].sum() == 1)
    graphs.bonds[0, oxygen, last] = graphs.bonds[0, last, oxygen] = 0
    assert molecules(graphs, QM9_ATOMS) == ["CCCO"]
    assert molecules(graphs, QM9_ATOMS, is_whole=False) == ["C.CCCO"]


def test_plain_graphs_come_back_and_lonely_nodes_go() -> None:
    graphs = [Graph(3, ((0, 1), (1, 2))), Graph(4, ((0, 3),))]
    dense = encode_graphs(graphs, 5, 4)
    assert dense.x[0].argmax(-1).tolist()[:3] == [1, 2, 1]
    assert quantise_graphs(dense.adj) == [graphs[0], Graph(2, ((0, 1),))]
    assert quantise_graphs(torch.zeros(1, 3, 3)) == [Graph(1, ())]
    assert Graph.from_key(graphs[0].key) == graphs[0]
    with pytest.raises(ConfigError, match="at most 2 nodes"):
        encode_graphs(graphs, 2, 4)
    with pytest.raises(ConfigError, match="fewer than 2"):
        encode_graphs(graphs, 5, 2)
    for wrong in ("3:0-5", "x", "2:0-0"):
        with pytest.raises(CandidateError):
            Graph.from_key(wrong)


def test_labels_of_nodes_are_kept() -> None:
    graphs = [Graph(3, ((0, 1), (1, 2)), (7, 2, 2)), Graph(2, ((0, 1),), (2, 5))]
    assert [Graph.from_key(graph.key) for graph in graphs] == graphs
    assert graphs[0].key == "3:0-1,1-2;7,2,2"
    dense = encode_graphs(graphs, 4, 3, (2, 5, 7))
    assert dense.x[0].tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert quantise_graphs(dense.adj, dense.x, (2, 5, 7)) == graphs
    dense.adj[0, 0] = dense.adj[0, :, 0] = 0  # the first node has no edge any more
    assert quantise_graphs(dense.adj, dense.x, (2, 5, 7))[0] == Graph(2, ((0, 1),), (2, 2))
    for wrong in ("2:0-1;1", "2:0-1;a,b"):
        with pytest.raises(CandidateError, match="expected"):
            Graph.from_key(wrong)
    for other in (Graph(2, ((0, 1),)), Graph(2, ((0, 1),), (2, 9))):
        with pytest.raises(ConfigError, match="labels among 2, 5, 7"):
            encode_graphs([other], 4, 3, (2, 5, 7))
