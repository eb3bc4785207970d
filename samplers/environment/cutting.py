"""Cuts molecules into fragments, joins fragments into molecules, and counts a vocabulary out of many molecules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from rdkit import Chem

from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError
from samplers.environment.vocabulary import (
    Edge,
    Fragment,
    Vocabulary,
    add_hydrogen,
    assemble,
    automorphisms,
    canonical,
)

RULES = ("[R]-;!@[*]", "[C;!R;!$(C=[N,O,S])]-;!@[N,O,S;!R;!D1]")
"""The bonds that are cut, in the spirit of BRICS (Degen et al. 2008): acyclic single bonds at a ring atom, and those
from an acyclic carbon to an acyclic N, O or S inside a chain. Amides, esters, ureas and sulfonamides stay whole on the
side of their carbonyl or sulfonyl, so that a fragment is a group a chemist would name."""

_PATTERNS = tuple(Chem.MolFromSmarts(rule) for rule in RULES)


@dataclass(frozen=True)
class Tree:
    """A molecule as fragments of a vocabulary, and edges (i, site of i, j, site of j) between their positions."""

    fragments: tuple[int, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Piece:
    """A fragment as it was cut out: its canonical SMILES, and the atom and the bond number of each cut."""

    smiles: str
    cuts: tuple[tuple[int, int], ...]


def flat(molecule: Molecule) -> Molecule:
    """The molecule without its stereochemistry, which fragments do not carry."""
    mol = Chem.Mol(molecule.mol)
    Chem.RemoveStereochemistry(mol)
    return Molecule.from_mol(mol)


def cut(molecule: Molecule) -> list[Piece]:
    """The pieces of a molecule once every bond that `RULES` names is cut; its stereochemistry is ignored."""
    mol = Chem.RWMol(molecule.mol)
    Chem.RemoveStereochemistry(mol)
    ends = _bonds_to_cut(mol)
    sites: dict[int, list[int]] = {}
    for number, (one, two) in enumerate(ends):
        mol.RemoveBond(one, two)
        for atom in (one, two):
            sites.setdefault(atom, []).append(number)
            add_hydrogen(mol.GetAtomWithIdx(atom))
    mol.UpdatePropertyCache()
    atom_maps: list[tuple[int, ...]] = []
    parts = Chem.GetMolFrags(mol, asMols=True, sanitizeFrags=False, fragsMolAtomMapping=atom_maps)
    return [_piece(part, atoms, sites) for part, atoms in zip(parts, atom_maps, strict=True)]


def decompose(vocabulary: Vocabulary, molecule: Molecule, max_fragments: int = 9) -> Tree | None:
    """The tree of the vocabulary that is this molecule without stereo, or None where the cut does not give one.

    None for more than `max_fragments` pieces, for an unknown piece, and for a piece without the sites it needs.
    """
    pieces = cut(molecule)
    if len(pieces) > max_fragments:
        return None
    index = _index(vocabulary)
    fragments: list[int] = []
    ends: dict[int, list[int]] = {}
    for position, piece in enumerate(pieces):
        place = _place(piece.smiles, index.get(piece.smiles, ()), [atom for atom, _ in piece.cuts])
        if place is None:
            return None
        fragment, sites = place
        fragments.append(fragment)
        for site, (_, bond) in zip(sites, piece.cuts, strict=True):
            ends.setdefault(bond, []).extend((position, site))
    return Tree(tuple(fragments), tuple((i, a, j, b) for i, a, j, b in ends.values()))


def join(vocabulary: Vocabulary, fragments: Sequence[int], edges: Iterable[Edge]) -> Molecule:
    """The molecule of a tree, its sites checked first; raises `CandidateError` where the edges are not a tree."""
    edges = tuple(edges)
    _check_tree(vocabulary, fragments, edges)
    return Molecule.from_mol(assemble(vocabulary, fragments, edges))


def rebuilds(vocabulary: Vocabulary, molecule: Molecule, max_fragments: int = 9) -> Tree | None:
    """The tree of `decompose` where joining it gives back exactly the molecule without stereo, else None."""
    tree = decompose(vocabulary, molecule, max_fragments)
    if tree is None or join(vocabulary, tree.fragments, tree.edges) != flat(molecule):
        return None
    return tree


@dataclass
class Census:
    """Counts, over many molecules, of the fragments they are cut into and of where each fragment was cut."""

    molecules: int = 0
    unreadable: int = 0
    fragments: Counter[str] = field(default_factory=Counter)
    sites: dict[str, Counter[tuple[int, ...]]] = field(default_factory=dict)

    def add(self, smiles: str) -> None:
        """Counts one molecule: a fragment once, however often it occurs in it."""
        try:
            pieces = cut(Molecule.from_smiles(smiles))
        except CandidateError:
            self.unreadable += 1
            return
        self.molecules += 1
        self.fragments.update({piece.smiles for piece in pieces if piece.cuts})
        for piece in pieces:
            if piece.cuts:
                atoms = tuple(sorted(atom for atom, _ in piece.cuts))
                self.sites.setdefault(piece.smiles, Counter())[atoms] += 1

    def vocabulary(
        self, size: int = 600, *, min_count: int = 2, max_atoms: int = 12, max_sites: int = 6, name: str = ""
    ) -> Vocabulary:
        """The `size` fragments in most molecules, most frequent first; ties in the order of the SMILES."""
        chosen: list[Fragment] = []
        for smiles, count in sorted(self.fragments.items(), key=lambda item: (-item[1], item[0])):
            if len(chosen) == size or count < min_count:
                break
            if Chem.MolFromSmiles(smiles).GetNumAtoms() <= max_atoms:
                chosen.append(Fragment(smiles, merge_sites(smiles, self.sites[smiles], max_sites)))
        if not chosen:
            raise ConfigError(
                f"expected fragments in at least {min_count} molecules each, got none in {self.molecules} "
                f"molecules ({self.unreadable} lines could not be read as SMILES)"
            )
        return Vocabulary(chosen, name)


def merge_sites(smiles: str, seen: Counter[tuple[int, ...]], max_sites: int = 6) -> tuple[int, ...]:
    """One list of sites that holds the ways a fragment was cut, the most frequent first, up to `max_sites`.

    Ways that a symmetry of the fragment makes equal are counted together, and each is laid over the sites already
    there as well as the symmetries allow. A way that would need more than `max_sites` is left out.
    """
    images = _images(smiles)
    ways: Counter[tuple[int, ...]] = Counter()
    for atoms, count in seen.items():
        ways[min(_map(atoms, image) for image in images)] += count
    sites: Counter[int] = Counter()
    for atoms, _ in sorted(ways.items(), key=lambda item: (-item[1], item[0])):
        options = [sites | Counter(_map(atoms, image)) for image in images]
        best = min(options, key=lambda option: (option.total(), sorted(option.elements())))
        if best.total() <= max_sites:
            sites = best
    return tuple(sorted(sites.elements()))


def _bonds_to_cut(mol: Chem.Mol) -> list[tuple[int, int]]:
    found = set()
    for pattern in _PATTERNS:
        for one, two in mol.GetSubstructMatches(pattern):
            found.add((min(one, two), max(one, two)))
    return sorted(found)


def _piece(part: Chem.Mol, atoms: Sequence[int], sites: dict[int, list[int]]) -> Piece:
    smiles, position = canonical(part)
    cuts = [(position[local], bond) for local, atom in enumerate(atoms) for bond in sites.get(atom, ())]
    return Piece(smiles, tuple(sorted(cuts)))


@lru_cache(maxsize=100_000)
def _images(smiles: str) -> tuple[tuple[int, ...], ...]:
    return tuple(automorphisms(Chem.MolFromSmiles(smiles)))


def _map(atoms: Iterable[int], image: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(image[atom] for atom in atoms))


@lru_cache(maxsize=4)
def _index(vocabulary: Vocabulary) -> dict[str, list[tuple[int, tuple[int, ...]]]]:
    """The fragments of a vocabulary by canonical SMILES, with their sites as atoms of that SMILES."""
    index: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
    for number, fragment in enumerate(vocabulary):
        smiles, position = canonical(fragment.mol)
        index.setdefault(smiles, []).append((number, tuple(position[site] for site in fragment.sites)))
    return index


def _place(
    smiles: str, options: Sequence[tuple[int, tuple[int, ...]]], atoms: Sequence[int]
) -> tuple[int, list[int]] | None:
    """The first fragment, and its site for each cut atom, that a symmetry lays over the cuts."""
    for number, sites in options:
        for image in _images(smiles):
            needed = [image[atom] for atom in atoms]
            if Counter(needed) <= Counter(sites):
                return number, _first_free(sites, needed)
    return None


def _first_free(sites: Sequence[int], needed: Sequence[int]) -> list[int]:
    free = list(range(len(sites)))
    chosen = []
    for atom in needed:
        site = next(entry for entry in free if sites[entry] == atom)
        free.remove(site)
        chosen.append(site)
    return chosen


def _check_tree(vocabulary: Vocabulary, fragments: Sequence[int], edges: Sequence[Edge]) -> None:
    if not fragments or len(edges) != len(fragments) - 1:
        raise CandidateError(f"expected a tree of n fragments and n - 1 edges, got {len(fragments)} and {len(edges)}")
    if not all(0 <= index < len(vocabulary) for index in fragments):
        raise CandidateError(f"expected fragments from 0 to {len(vocabulary) - 1}, got {list(fragments)}")
    used: set[tuple[int, int]] = set()
    group = list(range(len(fragments)))
    for i, site_i, j, site_j in edges:
        for position, site in ((i, site_i), (j, site_j)):
            if not 0 <= position < len(fragments) or not 0 <= site < len(vocabulary[fragments[position]].sites):
                raise CandidateError(f"expected a site of the tree, got site {site} of position {position}")
            if (position, site) in used:
                raise CandidateError(f"expected each site joined once, got site {site} of position {position} twice")
            used.add((position, site))
        if group[i] == group[j]:
            raise CandidateError(f"expected a tree, got a ring closed by the edge from position {i} to {j}")
        group = [group[i] if label == group[j] else label for label in group]
