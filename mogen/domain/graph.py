"""Dense batches of graphs, and their way to and from molecules and plain graphs.

A molecule is its heavy atoms, kekulised: one type per atom, one order (0, 1, 2, 3) per pair of atoms. Formal charges,
isotopes of heavy atoms and stereochemistry are not kept; of several fragments (a salt, a solvate) only the one with
most heavy atoms is. What the way back does about charges is written at `molecules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8, UInt8
from rdkit import Chem, rdBase
from torch import Tensor

from mogen.errors import CandidateError, ConfigError

QM9_ATOMS = ("C", "N", "O", "F")
ZINC_ATOMS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
BONDS = (Chem.BondType.ZERO, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
CHARGEABLE = ("N", "O", "S")
"""the atoms that may take one bond more than their valence, with a charge of +1"""


@dataclass(frozen=True)
class GraphBatch:
    """Graphs of up to v nodes: features of nodes, symmetric adjacency without diagonal, and which nodes exist."""

    x: Float[Tensor, "b v d"]
    adj: Float[Tensor, "b v v"]
    mask: Float[Tensor, "b v"]

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class MolecularGraphs:
    """Molecules as small integers: atom types (-1 where there is no atom) and bond orders."""

    atoms: Int8[Tensor, "n v"]
    bonds: UInt8[Tensor, "n v v"]

    def __len__(self) -> int:
        return len(self.atoms)

    def __getitem__(self, index: Tensor | slice) -> MolecularGraphs:
        return MolecularGraphs(self.atoms[index], self.bonds[index])

    @cached_property
    def sizes(self) -> Int[Tensor, " n"]:
        """Atoms of every molecule."""
        return (self.atoms >= 0).sum(1)

    def dense(self, types: int) -> GraphBatch:
        """One-hot atom types and bond orders as floating-point numbers."""
        exists = self.atoms >= 0
        x = torch.nn.functional.one_hot(self.atoms.clamp(min=0).long(), types).float() * exists.unsqueeze(-1)
        return GraphBatch(x, self.bonds.float(), exists.float())


@dataclass(frozen=True)
class Graph:
    """A plain graph as a candidate: its number of nodes, its edges (i < j), sorted, and its nodes' labels, if any.

    Two drawings of the same graph are two candidates: nothing is said about isomorphism.
    """

    nodes: int
    edges: tuple[tuple[int, int], ...]
    labels: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """`n:i-j,k-l,...`, and `;a,b,...` where nodes have labels."""
        told = ";" + ",".join(map(str, self.labels)) if self.labels else ""
        return f"{self.nodes}:" + ",".join(f"{i}-{j}" for i, j in self.edges) + told

    @classmethod
    def from_key(cls, key: str) -> Graph:
        """The graph a key describes; raises `CandidateError` where it describes none."""
        try:
            whole, _, labels = key.partition(";")
            nodes, _, edges = whole.partition(":")
            pairs = [tuple(int(part) for part in edge.split("-")) for edge in edges.split(",") if edge]
            named = tuple(int(part) for part in labels.split(",") if part)
            made = cls(int(nodes), tuple(sorted((min(i, j), max(i, j)) for i, j in pairs)), named)
        except ValueError as error:
            raise CandidateError(f"expected a graph such as 3:0-1,1-2, got {key!r}") from error
        if any(i == j or not 0 <= i <= j < made.nodes for i, j in made.edges):
            raise CandidateError(f"expected edges between the nodes 0 to {made.nodes - 1}, got {key!r}")
        if len(made.labels) not in (0, made.nodes):
            raise CandidateError(f"expected no labels or one for each of {made.nodes} nodes, got {key!r}")
        return made

    @property
    def adjacency(self) -> Float[Tensor, "v v"]:
        """The adjacency matrix."""
        adj = torch.zeros(self.nodes, self.nodes)
        for i, j in self.edges:
            adj[i, j] = adj[j, i] = 1.0
        return adj


@dataclass(frozen=True)
class Core:
    """Atoms that every molecule shall have, as its first ones, and their bonds if these are fixed as well.

    With fixed bonds, other atoms may be bound to open core atoms only.
    """

    atoms: Int8[Tensor, " k"]
    bonds: UInt8[Tensor, "k k"]
    is_open: Bool[Tensor, " k"]
    has_bonds: bool = True

    def __len__(self) -> int:
        return len(self.atoms)

    def kept_bonds(self, v: int) -> Bool[Tensor, "v v"]:
        """The bonds that must not be changed in a molecule of v nodes."""
        kept = torch.zeros(v, v, dtype=torch.bool)
        kept[: len(self), : len(self)] = (self.bonds > 0) & self.has_bonds
        return kept


def core_of(smiles: str, types: Sequence[str], *, has_bonds: bool = True) -> Core:
    """The core a SMILES describes; `*` marks where it may be extended, everywhere where there is none.

    With `has_bonds` off only the atoms are kept, with any bonds between them. Raises `CandidateError` where it does not
    describe a core of the given atoms.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or mol.GetNumAtoms() == 0:
        raise CandidateError(f"expected a core such as c1ccccc1 or *c1ccncc1, got {smiles!r}")
    stars = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
    ends = {other.GetIdx() for atom in stars for other in atom.GetNeighbors() if other.GetAtomicNum()}
    kept = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum()]
    strange = sorted({mol.GetAtomWithIdx(i).GetSymbol() for i in kept} - set(types))
    if strange or not kept:
        raise CandidateError(f"expected a core of the atoms {', '.join(types)}, got {', '.join(strange) or 'no atom'}")
    if any(mol.GetAtomWithIdx(i).GetFormalCharge() for i in kept):
        raise CandidateError(f"expected a core without charges, which graphs do not keep, got {smiles!r}")
    Chem.Kekulize(mol, clearAromaticFlags=True)
    place = {index: row for row, index in enumerate(kept)}
    bonds = torch.zeros(len(kept), len(kept), dtype=torch.uint8)
    for bond in mol.GetBonds():
        i, j = place.get(bond.GetBeginAtomIdx()), place.get(bond.GetEndAtomIdx())
        if i is not None and j is not None:
            bonds[i, j] = bonds[j, i] = int(bond.GetBondTypeAsDouble())
    atoms = torch.tensor([types.index(mol.GetAtomWithIdx(i).GetSymbol()) for i in kept], dtype=torch.int8)
    is_open = torch.tensor([not stars or index in ends for index in kept])
    return Core(atoms, bonds, is_open, has_bonds)


def encode_molecules(
    smiles: Sequence[str], types: Sequence[str], max_atoms: int, *, skip: bool = False
) -> tuple[MolecularGraphs, list[int]]:
    """Molecules as integers, and the positions they had in the list.

    Of several fragments the one with most heavy atoms counts. With `skip`, unreadable molecules, unknown atoms, dummy
    atoms, hydrogens that are atoms ([2H], [H][H]) and molecules that are too large are left out; otherwise the first of
    them raises `CandidateError`.
    """
    number = {Chem.GetPeriodicTable().GetAtomicNumber(symbol): index for index, symbol in enumerate(types)}
    atoms = np.full((len(smiles), max_atoms), -1, dtype=np.int8)
    bonds = np.zeros((len(smiles), max_atoms, max_atoms), dtype=np.uint8)
    rows: list[int] = []
    with rdBase.BlockLogs():
        for position, text in enumerate(smiles):
            try:
                _encode(text, number, types, atoms[len(rows)], bonds[len(rows)], position)
            except CandidateError:
                if not skip:
                    raise
                continue
            rows.append(position)
    kept = slice(0, len(rows))
    return MolecularGraphs(torch.from_numpy(atoms[kept].copy()), torch.from_numpy(bonds[kept].copy())), rows


def _encode(
    text: str, number: dict[int, int], types: Sequence[str], atoms: np.ndarray, bonds: np.ndarray, position: int
) -> None:
    mol = Chem.MolFromSmiles(text)
    if mol is None or mol.GetNumAtoms() == 0:
        raise CandidateError(f"expected a molecule in row {position}, got {text!r}")
    mol = _main_fragment(mol) if "." in text else mol
    if strange := _no_node(mol):
        raise CandidateError(f"expected only heavy atoms as nodes in row {position}, got {strange} in {text!r}")
    Chem.RemoveStereochemistry(mol)
    mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    if mol.GetNumAtoms() > len(atoms):
        raise CandidateError(
            f"expected at most {len(atoms)} heavy atoms in row {position}, got {mol.GetNumAtoms()} in {text!r}"
        )
    found = [number.get(atom.GetAtomicNum(), -1) for atom in mol.GetAtoms()]
    if -1 in found:
        strange = mol.GetAtomWithIdx(found.index(-1)).GetSymbol()
        raise CandidateError(f"expected the atoms {', '.join(types)} in row {position}, got {strange} in {text!r}")
    Chem.Kekulize(mol, clearAromaticFlags=True)
    atoms[: len(found)] = found
    for bond in mol.GetBonds():
        order = int(bond.GetBondTypeAsDouble())
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds[i, j] = bonds[j, i] = order


def _main_fragment(mol: Chem.Mol) -> Chem.Mol:
    """The fragment with most heavy atoms; of such the one with most hydrogens, then the first by its SMILES."""

    def rank(part: Chem.Mol) -> tuple[int, int, str]:
        return -part.GetNumHeavyAtoms(), -part.GetNumAtoms(onlyExplicit=False), Chem.MolToSmiles(part)

    return min(Chem.GetMolFrags(mol, asMols=True), key=rank)


def _no_node(mol: Chem.Mol) -> str:
    """A dummy atom or a hydrogen that is an atom of its own, in words; nothing where there is neither."""
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 0:
            return "a dummy atom (*)"
        if atom.GetAtomicNum() == 1:
            return "a hydrogen that is an atom of its own"
    return ""


def census(smiles: Sequence[str]) -> tuple[list[str], int]:
    """The heavy atoms of molecules that can be encoded, by atomic number, and how many the largest has."""
    kinds, largest = set(), 0
    with rdBase.BlockLogs():
        for text in smiles:
            mol = Chem.MolFromSmiles(text)
            if mol is not None and mol.GetNumAtoms():
                mol = _main_fragment(mol) if "." in text else mol
                if _no_node(mol):
                    continue
                kinds |= {(atom.GetAtomicNum(), atom.GetSymbol()) for atom in mol.GetAtoms()}
                largest = max(largest, mol.GetNumAtoms())
    if not kinds:
        raise CandidateError(f"expected at least one readable molecule, got none in {len(smiles)} texts")
    return [symbol for _, symbol in sorted(kinds)], largest


def quantise_molecules(x: Float[Tensor, "n v d"], adj: Float[Tensor, "n v v"]) -> MolecularGraphs:
    """Real numbers to atoms and bonds: orders by rounding up from .5, 1.5 and 2.5; the first type above .5.

    A node whose features are all at most .5 is no atom, and loses its bonds (Jo et al. 2022).
    """
    hot = x > 0.5
    exists = hot.any(-1)
    atoms = torch.where(exists, hot.int().argmax(-1), -1).to(torch.int8)
    order = (adj >= 0.5).to(torch.uint8) + (adj >= 1.5).to(torch.uint8) + (adj >= 2.5).to(torch.uint8)
    order = order * (exists.unsqueeze(1) & exists.unsqueeze(2)).to(torch.uint8)
    return MolecularGraphs(atoms.cpu(), order.triu(1).add(order.triu(1).mT).cpu())


def valence_limits(types: Sequence[str]) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"]]:
    """The most bonds of every type without a charge, and with one (equal where none is taken)."""
    table = Chem.GetPeriodicTable()
    limit = torch.tensor([max(table.GetValenceList(symbol)) for symbol in types])
    least = torch.tensor([min(table.GetValenceList(symbol)) for symbol in types])
    is_single = torch.tensor([symbol in CHARGEABLE for symbol in types]) & (limit == least)
    return limit, torch.where(is_single, limit + 1, limit)


def excess_valence(graphs: MolecularGraphs, types: Sequence[str]) -> Int[Tensor, "n v"]:
    """Bonds beyond what each atom can bear, charged if need be; at most 0 everywhere in a valid molecule."""
    _, charged = valence_limits(types)
    total = graphs.bonds.sum(-1, dtype=torch.long)
    return torch.where(graphs.atoms >= 0, total - charged[graphs.atoms.clamp(min=0).long()], 0)


def is_valid(graphs: MolecularGraphs, types: Sequence[str]) -> Bool[Tensor, " n"]:
    """Whether every atom's bonds fit its valence as they are (a molecule without any atom is not valid)."""
    return (excess_valence(graphs, types) <= 0).all(1) & (graphs.sizes > 0)


def correct_valence(
    graphs: MolecularGraphs, types: Sequence[str], kept: Bool[Tensor, "v v"] | None = None
) -> MolecularGraphs:
    """While an atom has too many bonds, its highest one is lowered by one (Zang and Wang 2020); first atom first.

    Bonds that are kept are never lowered; an atom that has too many of these stays as it is.
    """
    bonds = graphs.bonds.clone()
    is_free = torch.ones(bonds.shape[1:], dtype=torch.uint8) if kept is None else (~kept).to(torch.uint8)
    while True:
        excess = excess_valence(MolecularGraphs(graphs.atoms, bonds), types) > 0
        if kept is not None:
            excess = excess & ((bonds * is_free).sum(-1) > 0)
        rows = excess.any(1).nonzero().flatten()
        if not len(rows):
            return MolecularGraphs(graphs.atoms, bonds)
        first = excess[rows].int().argmax(1)
        other = (bonds[rows, first] * is_free[first]).argmax(1)
        bonds[rows, first, other] -= 1
        bonds[rows, other, first] -= 1


def molecules(
    graphs: MolecularGraphs,
    types: Sequence[str],
    *,
    is_balanced: bool = False,
    is_whole: bool = True,
    core: int = 0,
) -> list[str | None]:
    """Canonical SMILES of valid graphs; nothing where there is no atom or RDKit refuses.

    An N or O with one bond more than its valence becomes N+ or O+. With `is_balanced`, each of them takes the proton
    of one singly bonded OH beside it (a nitro group, an N-oxide), so that the molecule is neutral again; published
    figures are made without. With `is_whole` only the fragment with the longest SMILES is kept; with a core of the
    first so many atoms, the fragment that has all of them, or nothing.
    """
    limit, _ = valence_limits(types)
    atoms, bonds = graphs.atoms.numpy(), graphs.bonds.numpy()
    total = bonds.sum(-1)
    found: list[str | None] = []
    with rdBase.BlockLogs():
        for kinds, orders, bound in zip(atoms, bonds, total, strict=True):
            found.append(_smiles(kinds, orders, bound, types, limit.numpy(), is_balanced, is_whole, core))
    return found


def _smiles(
    kinds: np.ndarray,
    orders: np.ndarray,
    bound: np.ndarray,
    types: Sequence[str],
    limit: np.ndarray,
    is_balanced: bool,
    is_whole: bool,
    core: int,
) -> str | None:
    mol = Chem.RWMol()
    place: dict[int, int] = {}
    for node in np.flatnonzero(kinds >= 0).tolist():
        atom = Chem.Atom(types[kinds[node]])
        if bound[node] > limit[kinds[node]]:
            atom.SetFormalCharge(1)
        place[node] = mol.AddAtom(atom)
    for i, j in zip(*np.nonzero(np.triu(orders, 1)), strict=True):
        mol.AddBond(place[int(i)], place[int(j)], BONDS[orders[i, j]])
    if not place:
        return None
    if is_balanced:
        _balance(mol)
    try:
        Chem.SanitizeMol(mol)
        if core:
            return _with_core(mol, core)
        smiles = Chem.MolToSmiles(mol)
    except (Chem.MolSanitizeException, ValueError):
        return None
    if is_whole and "." in smiles:
        smiles = max(smiles.split("."), key=len)
        whole = Chem.MolFromSmiles(smiles)
        return None if whole is None else Chem.MolToSmiles(whole)
    return smiles


def _with_core(mol: Chem.RWMol, core: int) -> str | None:
    """The fragment that has all of the first atoms."""
    for rows in Chem.GetMolFrags(mol):
        if set(range(core)) <= set(rows):
            others = [index for index in range(mol.GetNumAtoms()) if index not in set(rows)]
            for index in reversed(others):
                mol.RemoveAtom(index)
            Chem.SanitizeMol(mol)
            return Chem.MolToSmiles(mol)
    return None


def _balance(mol: Chem.RWMol) -> None:
    """Every N+ or O+ takes the proton of one terminal OH beside it."""
    for atom in mol.GetAtoms():
        if atom.GetFormalCharge() != 1:
            continue
        for bond in atom.GetBonds():
            other = bond.GetOtherAtom(atom)
            is_hydroxyl = other.GetSymbol() == "O" and other.GetDegree() == 1 and other.GetFormalCharge() == 0
            if is_hydroxyl and bond.GetBondType() == Chem.BondType.SINGLE:
                other.SetFormalCharge(-1)
                break


def encode_graphs(graphs: Sequence[Graph], max_nodes: int, features: int, labels: Sequence[int] = ()) -> GraphBatch:
    """Plain graphs with one-hot degrees as features, or one-hot labels, where it is given which labels there are.

    Raises `ConfigError` where one does not fit.
    """
    adj = torch.zeros(len(graphs), max_nodes, max_nodes)
    mask = torch.zeros(len(graphs), max_nodes)
    for row, graph in enumerate(graphs):
        if graph.nodes > max_nodes:
            raise ConfigError(f"expected graphs of at most {max_nodes} nodes, got one of {graph.nodes}")
        adj[row, : graph.nodes, : graph.nodes] = graph.adjacency
        mask[row, : graph.nodes] = 1.0
    if labels:
        return GraphBatch(one_hot_labels(graphs, max_nodes, labels), adj, mask)
    degree = adj.sum(-1).long()
    if len(graphs) and int(degree.max()) >= features:
        raise ConfigError(f"expected nodes of fewer than {features} neighbours, got one of {int(degree.max())}")
    x = torch.nn.functional.one_hot(degree, features).float() * mask.unsqueeze(-1)
    return GraphBatch(x, adj, mask)


def one_hot_labels(graphs: Sequence[Graph], max_nodes: int, labels: Sequence[int]) -> Float[Tensor, "n v d"]:
    """Labels of nodes by their place among those there are; raises `ConfigError` for graphs without or with others."""
    place = {label: index for index, label in enumerate(labels)}
    x = torch.zeros(len(graphs), max_nodes, len(labels))
    for row, graph in enumerate(graphs):
        if len(graph.labels) != graph.nodes or not place.keys() >= set(graph.labels):
            raise ConfigError(f"expected nodes with labels among {', '.join(map(str, labels))}, got {graph.key!r}")
        x[row, torch.arange(graph.nodes), [place[label] for label in graph.labels]] = 1.0
    return x


def quantise_graphs(
    adj: Float[Tensor, "n v v"], x: Float[Tensor, "n v d"] | None = None, labels: Sequence[int] = ()
) -> list[Graph]:
    """Edges where the adjacency is at least .5; isolated nodes go, and a graph without edges is one node.

    With the labels there are, nodes have the one whose entry of x is the largest.
    """
    found = []
    named = x.argmax(-1).cpu() if x is not None and labels else None
    for row, matrix in enumerate((adj >= 0.5).cpu()):
        first, second = matrix.triu(1).nonzero(as_tuple=True)
        kept = torch.cat([first, second]).unique().tolist() or [0]
        name = {node: index for index, node in enumerate(kept)}
        edges = sorted((name[int(i)], name[int(j)]) for i, j in zip(first, second, strict=True))
        told = () if named is None else tuple(labels[int(named[row, node])] for node in kept)
        found.append(Graph(len(kept), tuple(edges), told))
    return found
