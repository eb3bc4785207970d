"""Fragments, where they can be joined, and the vocabulary that a molecule is built from."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, final

from rdkit import Chem, rdBase

from mogen.dataset.molecules import locate
from mogen.errors import CandidateError, ConfigError

FORMAT = "mogen-fragments"
FORMAT_VERSION = 1
LARGEST_GROUP = 5040

Permutation = tuple[int, ...]
Edge = tuple[int, int, int, int]


@final
@dataclass(frozen=True)
class Fragment:
    """A piece of a molecule and its sites: one entry is one free valence, by its atom in `MolFromSmiles(smiles)`.

    A join is a single bond between two sites and takes one hydrogen from each of the two atoms. An atom may be named
    more than once: it then can be joined as often. Fragments carry no stereochemistry: marks in `smiles` are dropped.
    """

    smiles: str
    sites: tuple[int, ...]

    @classmethod
    def from_smiles(cls, text: str) -> Fragment:
        """The fragment a SMILES with dummy atoms describes: each `[*]` or `[*:1]` is one site of its neighbour.

        Two dummies on one atom are two sites on that atom. A SMILES without a dummy is an error.
        """
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(text)
        if mol is None:
            raise ConfigError(f"expected a valid SMILES with dummy atoms as sites, got {text!r}")
        return _without_dummies(mol, text)

    @cached_property
    def mol(self) -> Chem.Mol:
        """The RDKit molecule, all free valences filled with hydrogen."""
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(self.smiles)
        if mol is None or mol.GetNumAtoms() == 0:
            raise ConfigError(f"expected a fragment SMILES RDKit can read, got {self.smiles!r}")
        Chem.RemoveStereochemistry(mol)
        return mol

    @cached_property
    def symmetries(self) -> tuple[Permutation, ...]:
        """The permutations p of the sites that a graph automorphism brings about: site i goes to site p[i].

        A group with the identity first. Several entries on one atom are interchangeable.
        """
        found: set[Permutation] = set()
        for image in automorphisms(self.mol):
            found.update(itertools.islice(_site_permutations(self.sites, image), LARGEST_GROUP + 1))
            if len(found) > LARGEST_GROUP:
                raise ConfigError(
                    f"expected at most {LARGEST_GROUP} symmetries of the sites, got more for {self.smiles!r}"
                    f" with sites {list(self.sites)}; give it fewer sites"
                )
        return tuple(sorted(found))


@final
class Vocabulary:
    """The fragments a molecule is built from; a fragment is known by its position."""

    def __init__(self, fragments: Sequence[Fragment], name: str = "") -> None:
        self.fragments = tuple(fragments)
        self.name = name
        if not self.fragments:
            raise ConfigError(f"expected a vocabulary with at least one fragment, got none in {name or 'the list'!r}")
        seen: dict[Fragment, int] = {}
        for entry, fragment in enumerate(self.fragments):
            _check(fragment, entry)
            if fragment in seen:
                raise ConfigError(
                    f"expected each fragment once, got {fragment.smiles!r} with the same sites in entries"
                    f" {seen[fragment]} and {entry}"
                )
            seen[fragment] = entry

    def __len__(self) -> int:
        return len(self.fragments)

    def __getitem__(self, index: int) -> Fragment:
        return self.fragments[index]

    def __iter__(self) -> Iterator[Fragment]:
        return iter(self.fragments)

    def __repr__(self) -> str:
        return f"Vocabulary({self.name!r}, {len(self)} fragments, {self.identity})"

    @cached_property
    def identity(self) -> str:
        """A hash of the fragments and their sites, in order."""
        text = json.dumps([[fragment.smiles, list(fragment.sites)] for fragment in self.fragments])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def parts(self) -> tuple[Chem.Mol, ...]:
        """The RDKit molecule of each fragment."""
        return tuple(fragment.mol for fragment in self.fragments)

    @classmethod
    def default(cls) -> Vocabulary:
        """The vocabulary that ships with mogen, cut from ZINC250k."""
        return cls.from_json(Path(__file__).with_name("fragments.json"))

    @classmethod
    def from_smiles(cls, smiles: Iterable[str], name: str = "") -> Vocabulary:
        """A user's own fragments, their sites marked by dummy atoms: `[*]c1ccccc1`; repeats count once."""
        return cls(tuple(dict.fromkeys(Fragment.from_smiles(text) for text in smiles)), name)

    @classmethod
    def from_json(cls, path: Path | str) -> Vocabulary:
        """Reads our own form, or the published one (`block_smi`, `block_r`), where equal SMILES are one fragment.

        A plain name without a suffix, where there is no such file, is a data set's (`mogen data import NAME FILE`).

        Our own form is {"format": "mogen-fragments", "version": 1, "fragments": [{"smiles": ..., "sites": [...]}]}.
        """
        path = Path(path)
        if not path.exists() and not path.suffix and path.name == str(path):
            path = locate(path.name)
        document = _read(path)
        if document.get("format") == FORMAT:
            fragments, name = _own_form(document, path), str(document.get("name", path.stem))
        elif "block_smi" in document and "block_r" in document:
            fragments, name = _published_form(document, path), path.stem
        else:
            raise _unknown_form(document, path)
        try:
            return cls(fragments, name)
        except ConfigError as error:
            raise ConfigError(f"{error}, in {path}") from error

    def to_json(self, path: Path | str, **facts: Any) -> None:
        """Writes our own form, with any facts about where it came from."""
        entries = [{"smiles": fragment.smiles, "sites": list(fragment.sites)} for fragment in self.fragments]
        head = {"format": FORMAT, "version": FORMAT_VERSION, "name": self.name, **facts}
        lines = ",\n  ".join(json.dumps(entry) for entry in entries)
        Path(path).write_text(f'{json.dumps(head, indent=1)[:-2]},\n "fragments": [\n  {lines}\n ]\n}}\n')


def assemble(vocabulary: Vocabulary, fragments: Sequence[int], edges: Iterable[Edge]) -> Chem.Mol:
    """The sanitised molecule of a tree: fragment numbers, and edges (i, site of i, j, site of j).

    i and j are positions in `fragments`; a site is a position in that fragment's `sites`. The sites are taken at
    their word: `cutting.join` checks them first.
    """
    parts, entries = vocabulary.parts, vocabulary.fragments
    mol = Chem.RWMol(parts[fragments[0]])
    offsets = [0]
    for index in fragments[1:]:
        offsets.append(mol.GetNumAtoms())
        mol.InsertMol(parts[index])
    for i, site_i, j, site_j in edges:
        one = offsets[i] + entries[fragments[i]].sites[site_i]
        two = offsets[j] + entries[fragments[j]].sites[site_j]
        mol.AddBond(one, two, Chem.BondType.SINGLE)
        _take_hydrogen(mol.GetAtomWithIdx(one))
        _take_hydrogen(mol.GetAtomWithIdx(two))
    Chem.SanitizeMol(mol)
    return mol


def automorphisms(mol: Chem.Mol, limit: int = 100_000) -> Iterator[Permutation]:
    """The images of the atoms under each automorphism that keeps element, charge, hydrogens and bonds."""
    labels = [_label(atom) for atom in mol.GetAtoms()]
    matches = mol.GetSubstructMatches(mol, uniquify=False, maxMatches=limit)
    if len(matches) >= limit:
        raise ConfigError(f"expected a fragment with fewer than {limit} symmetries, got {Chem.MolToSmiles(mol)!r}")
    for image in matches:
        if all(labels[source] == labels[target] for source, target in enumerate(image)):
            yield image


def canonical(mol: Chem.Mol) -> tuple[str, tuple[int, ...]]:
    """The canonical SMILES that reading and writing keeps, and the place of each atom of `mol` in it."""
    raw, places = _written(mol)
    smiles, settled = _settle(raw)
    return smiles, tuple(settled[place] for place in places)


def add_hydrogen(atom: Chem.Atom) -> None:
    """Puts a hydrogen where a bond was, on an atom that would not get one from its valence: [nH], [NH3+]."""
    if atom.GetNoImplicit() or (atom.GetIsAromatic() and atom.GetAtomicNum() != 6):
        atom.SetNumExplicitHs(atom.GetNumExplicitHs() + 1)


def _written(mol: Chem.Mol) -> tuple[str, tuple[int, ...]]:
    smiles = Chem.MolToSmiles(mol)
    order = mol.GetPropsAsDict(includePrivate=True, includeComputed=True)["_smilesAtomOutputOrder"]
    places = [0] * len(order)
    for place, atom in enumerate(order):
        places[atom] = place
    return smiles, tuple(places)


@lru_cache(maxsize=100_000)
def _settle(raw: str) -> tuple[str, tuple[int, ...]]:
    mol = Chem.MolFromSmiles(raw)
    if mol is None:
        raise CandidateError(f"expected a fragment SMILES RDKit can read back, got {raw!r}")
    return _written(mol)


def _label(atom: Chem.Atom) -> tuple[int, int, int, int]:
    return atom.GetAtomicNum(), atom.GetFormalCharge(), atom.GetTotalNumHs(), atom.GetIsotope()


def _site_permutations(sites: Sequence[int], image: Permutation) -> Iterator[Permutation]:
    entries: dict[int, list[int]] = {}
    for entry, atom in enumerate(sites):
        entries.setdefault(atom, []).append(entry)
    if Counter(image[atom] for atom in sites) != Counter(sites):
        return
    orders = [itertools.permutations(entries[image[atom]]) for atom in entries]
    for chosen in itertools.product(*orders):
        permutation = [0] * len(sites)
        for atom, targets in zip(entries, chosen, strict=True):
            for entry, target in zip(entries[atom], targets, strict=True):
                permutation[entry] = target
        yield tuple(permutation)


def _take_hydrogen(atom: Chem.Atom) -> None:
    """Takes the hydrogen a bracket atom such as [nH] or [NH3+] carries; those of other atoms follow from valence."""
    hydrogens = atom.GetNumExplicitHs()
    if hydrogens:
        atom.SetNumExplicitHs(hydrogens - 1)


def _without_dummies(mol: Chem.Mol, text: str) -> Fragment:
    """Puts a hydrogen in the place of each dummy atom and notes the atom it sat on."""
    editable = Chem.RWMol(mol)
    dummies = [atom for atom in editable.GetAtoms() if atom.GetAtomicNum() == 0]
    if not dummies or len(dummies) == editable.GetNumAtoms():
        raise ConfigError(f"expected a fragment with dummy atoms such as [*] as its sites, got {text!r}")
    counts: Counter[int] = Counter()
    for dummy in dummies:
        bonds = dummy.GetBonds()
        if len(bonds) != 1 or bonds[0].GetBondType() != Chem.BondType.SINGLE:
            raise ConfigError(f"expected each dummy atom on one single bond, got {text!r}")
        neighbour = bonds[0].GetOtherAtom(dummy)
        counts[neighbour.GetIdx()] += 1
        add_hydrogen(neighbour)
    marked = {index: editable.GetAtomWithIdx(index) for index in counts}
    for index, atom in marked.items():
        atom.SetIntProp("_site", counts[index])
    for index in sorted((dummy.GetIdx() for dummy in dummies), reverse=True):
        editable.RemoveAtom(index)
    return _canonical(editable, text)


def _canonical(mol: Chem.RWMol, text: str) -> Fragment:
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    try:
        Chem.SanitizeMol(mol)
    except Chem.MolSanitizeException as error:
        raise ConfigError(f"expected a fragment RDKit can sanitise, got {text!r} ({error})") from error
    Chem.RemoveStereochemistry(mol)
    if len(Chem.GetMolFrags(mol)) != 1:
        raise ConfigError(f"expected a fragment in one piece once its dummy atoms are gone, got {text!r}")
    smiles, position = canonical(mol)
    marked = [atom for atom in mol.GetAtoms() if atom.HasProp("_site")]
    sites = [position[atom.GetIdx()] for atom in marked for _ in range(atom.GetIntProp("_site"))]
    images = automorphisms(Chem.MolFromSmiles(smiles))
    return Fragment(smiles, min(tuple(sorted(image[site] for site in sites)) for image in images))


def _check(fragment: Fragment, entry: int) -> None:
    where = f"entry {entry} ({fragment.smiles!r})"
    try:
        mol = fragment.mol
    except ConfigError as error:
        raise ConfigError(f"entry {entry} of the vocabulary: {error}") from error
    if len(Chem.GetMolFrags(mol)) != 1:
        raise ConfigError(f"expected a fragment in one piece, got {where}")
    if not fragment.sites:
        raise ConfigError(f"expected a fragment with at least one site, got {where} without any")
    for site, count in Counter(fragment.sites).items():
        if not 0 <= site < mol.GetNumAtoms():
            raise ConfigError(f"expected sites from 0 to {mol.GetNumAtoms() - 1}, got {site} in {where}")
        if not _takes_bonds(mol, [site] * count):
            raise ConfigError(
                f"expected sites with a hydrogen to give, got atom {site} named {count} times in {where}, which cannot"
                f" take {count} more single bonds"
            )
    if not _takes_bonds(mol, fragment.sites):
        raise ConfigError(f"expected sites that can all be joined at once, got {where} with {list(fragment.sites)}")


def _takes_bonds(mol: Chem.Mol, sites: Sequence[int]) -> bool:
    """Whether a carbon can be joined to every site; RDKit's valence model also lets P(III) and S(II) widen."""
    editable = Chem.RWMol(mol)
    for site in sites:
        carbon = editable.AddAtom(Chem.Atom(6))
        editable.AddBond(site, carbon, Chem.BondType.SINGLE)
        _take_hydrogen(editable.GetAtomWithIdx(site))
    with rdBase.BlockLogs():
        return Chem.SanitizeMol(editable, catchErrors=True) == Chem.SanitizeFlags.SANITIZE_NONE


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"expected a vocabulary file, got {error.strerror or error} for {path}") from error
    except ValueError as error:
        raise ConfigError(f"expected a vocabulary in JSON, got {path}, which is not ({error})") from error
    if not isinstance(document, dict):
        raise ConfigError(f"expected a JSON object as the vocabulary, got a {type(document).__name__} in {path}")
    return document


def _unknown_form(document: dict[str, Any], path: Path) -> ConfigError:
    """What to say of a JSON object that is no vocabulary."""
    return ConfigError(
        f"expected a vocabulary with 'format': {FORMAT!r}, or with 'block_smi' and 'block_r', in {path},"
        f" got the keys {sorted(document)[:8]}"
    )


def _own_form(document: dict[str, Any], path: Path) -> list[Fragment]:
    if document.get("version") != FORMAT_VERSION:
        raise ConfigError(f"expected version {FORMAT_VERSION} of {FORMAT}, got {document.get('version')!r} in {path}")
    entries = document.get("fragments")
    if not isinstance(entries, list):
        raise ConfigError(f"expected a list 'fragments' in {path}, got {type(entries).__name__}")
    return [_entry(item, number, path) for number, item in enumerate(entries)]


def _entry(item: Any, number: int, path: Path) -> Fragment:
    if not isinstance(item, dict) or not isinstance(item.get("smiles"), str):
        raise ConfigError(f"expected 'smiles' and 'sites' in entry {number} of {path}, got {item!r}")
    return Fragment(item["smiles"], _sites(item.get("sites"), number, path))


def _sites(sites: Any, number: int | str, path: Path) -> tuple[int, ...]:
    if not isinstance(sites, list) or any(not isinstance(site, int) or isinstance(site, bool) for site in sites):
        raise ConfigError(f"expected a list of atom numbers as the sites of entry {number} of {path}, got {sites!r}")
    return tuple(sites)


def _published_form(document: dict[str, Any], path: Path) -> list[Fragment]:
    smiles, sites = document["block_smi"], document["block_r"]
    if not isinstance(smiles, dict) or not isinstance(sites, dict) or set(smiles) != set(sites):
        raise ConfigError(f"expected the same entries under 'block_smi' and 'block_r' in {path}")
    union: dict[str, set[int]] = {}
    for number, text in smiles.items():
        if not isinstance(text, str):
            raise ConfigError(f"expected a SMILES in entry {number} of {path}, got {text!r}")
        union.setdefault(text, set()).update(_sites(sites[number], number, path))
    return [Fragment(text, tuple(sorted(atoms))) for text, atoms in union.items()]
