"""Molecules grown atom by atom and bond by bond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from rdkit import Chem
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError
from samplers.environment.environment import Environment

VALENCES = {"C": 4, "N": 3, "O": 2, "F": 1, "B": 3, "P": 3, "S": 2, "Cl": 1, "Br": 1, "I": 1}
"""bonds of a neutral atom, hydrogens included"""
ORDERS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
AROMATIC = 4
Bonds = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class AtomState:
    """n connected graphs of at most m heavy atoms, numbered in the order they were added."""

    element: Int[Tensor, "*n m"]
    """index into the elements, -1 where there is no atom"""
    bond: Int[Tensor, "*n m m"]
    """bond orders, symmetric; 0 for no bond"""
    count: Int[Tensor, " *n"]
    is_stopped: Bool[Tensor, " *n"]


@final
class AtomEnvironment(Environment[AtomState, Molecule]):
    """Neutral molecules: add an atom with its bond, close a ring, or stop; no valence is ever exceeded.

    An action is (where, what, order). `where` is 0 for stop, or 1 + atom. `what` is an element to hang on that atom,
    or (number of elements) + an earlier atom to bond it to. `order` is 0, 1, 2 for a single, double or triple bond. The
    first atom has where 1 and order 0. Hydrogens fill the valences that are left, so every state is a molecule, and
    every connected neutral molecule without stereochemistry can be made; QM9 has at most 9 atoms and 5 rings, and 1705
    of its 133,885 molecules are charged.

    Undoing is taking away an atom with one neighbour (or the last one), or a bond that holds nothing together: the
    backward actions of a state are exactly its parents, counted on labelled atoms. States are labelled; `log_symmetry`
    makes them molecules: see there.

    Args:
        elements: symbols of neutral elements.
        max_atoms: most heavy atoms.
        min_atoms: fewest heavy atoms before stopping is allowed, where anything else is possible.
        max_rings: most independent rings (bonds - atoms + 1); None for as many as valences allow.
    """

    def __init__(
        self,
        elements: Sequence[str] = ("C", "N", "O", "F"),
        max_atoms: int = 9,
        min_atoms: int = 1,
        max_rings: int | None = 5,
    ) -> None:
        if isinstance(elements, str) or not elements or not set(elements) <= set(VALENCES):
            raise ConfigError(f"expected a list of elements among {', '.join(VALENCES)}, got {elements!r}")
        if len(set(elements)) < len(elements) or not 1 <= min_atoms <= max_atoms or (max_rings or 0) < 0:
            raise ConfigError(
                f"expected different elements, 1 <= min_atoms <= max_atoms and max_rings >= 0, got {list(elements)}, "
                f"{min_atoms}, {max_atoms} and {max_rings}"
            )
        self.elements = tuple(elements)
        self.max_atoms, self.min_atoms = max_atoms, min_atoms
        self.valence = torch.tensor([VALENCES[element] for element in elements])
        most = max(0, min(max_atoms * int(self.valence.max()) // 2, max_atoms * (max_atoms - 1) // 2) - max_atoms + 1)
        self.max_rings = most if max_rings is None else min(max_rings, most)
        self.pairs = torch.triu_indices(max_atoms, max_atoms, 1)
        self.pair_index = torch.zeros(max_atoms, max_atoms, dtype=torch.long)
        self.pair_index[self.pairs[0], self.pairs[1]] = torch.arange(self.pairs.shape[1])
        self.sizes = (1 + max_atoms, len(elements) + max_atoms, len(ORDERS))
        self.max_steps = max_atoms + self.max_rings + 1

    def initial(self, n: int, *, device: torch.device | str = "cpu") -> AtomState:
        m = self.max_atoms
        return AtomState(
            element=torch.full((n, m), -1, device=device),
            bond=torch.zeros(n, m, m, dtype=torch.long, device=device),
            count=torch.zeros(n, dtype=torch.long, device=device),
            is_stopped=torch.zeros(n, dtype=torch.bool, device=device),
        )

    def is_terminal(self, state: AtomState) -> Bool[Tensor, " *n"]:
        return state.is_stopped

    def free_valence(self, state: AtomState) -> Int[Tensor, "*n m"]:
        """Bonds each atom could still make; 0 where there is no atom."""
        full = self.valence.to(state.element.device)[state.element.clamp(min=0)]
        return torch.where(state.element >= 0, full - state.bond.sum(-1), 0)

    def rings(self, state: AtomState) -> Int[Tensor, " *n"]:
        """Independent rings: bonds - atoms + 1."""
        return (state.bond > 0).sum((-1, -2)) // 2 - (state.count - 1).clamp(min=0)

    def _partners(self, state: AtomState) -> Bool[Tensor, "n m m"]:
        """Row i: the earlier atoms that a ring bond of atom i can reach."""
        free = self.free_valence(state) > 0
        may = (self.rings(state) < self.max_rings)[..., None, None]
        return (free[..., :, None] & free[..., None, :] & (state.bond == 0) & may).tril(-1)

    def allowed(self, state: AtomState, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        if chosen.shape[-1] == 0:
            return self._where(state)
        if chosen.shape[-1] == 1:
            return self._what(state, chosen[..., 0])
        return self._order(state, chosen[..., 0], chosen[..., 1])

    def _where(self, state: AtomState) -> Bool[Tensor, "n a"]:
        grows = (self.free_valence(state) > 0) & (state.count < self.max_atoms)[..., None]
        hosts = (grows | self._partners(state).any(-1)) & ~state.is_stopped[..., None]
        hosts[..., 0] |= state.count == 0  # the first atom needs no host
        stop = ~hosts.any(-1) | (state.count >= self.min_atoms)
        return torch.cat([stop[..., None], hosts], -1)

    def _what(self, state: AtomState, where: Int[Tensor, " n"]) -> Bool[Tensor, "n a"]:
        host = (where - 1).clamp(min=0)
        partners = self._partners(state).gather(1, host[:, None, None].expand(-1, 1, self.max_atoms))[:, 0]
        grows = (state.count < self.max_atoms)[:, None].expand(-1, len(self.elements))
        options = torch.cat([grows, partners], -1)
        none = torch.arange(options.shape[-1], device=where.device) == 0
        return torch.where((where == 0)[:, None], none, options)

    def _order(self, state: AtomState, where: Int[Tensor, " n"], what: Int[Tensor, " n"]) -> Bool[Tensor, "n 3"]:
        free, e = self.free_valence(state), len(self.elements)
        near = free.gather(1, (where - 1).clamp(min=0)[:, None])[:, 0]
        new = self.valence.to(where.device)[what.clamp(max=e - 1)]
        far = torch.where(what < e, new, free.gather(1, (what - e).clamp(min=0)[:, None])[:, 0])
        most = torch.where((where == 0) | (state.count == 0), 1, torch.minimum(near, far))
        return torch.arange(len(ORDERS), device=where.device) < most[:, None]

    def step(self, state: AtomState, action: Int[Tensor, "n 3"]) -> AtomState:
        where, what, order = action.unbind(-1)
        acts, e = where > 0, len(self.elements)
        adds = acts & (what < e)
        atoms = torch.arange(self.max_atoms, device=action.device)
        new = (atoms == state.count[:, None]) & adds[:, None]
        host = (atoms == where[:, None] - 1) & (acts & (state.count > 0))[:, None]
        other = torch.where(adds[:, None], new, (atoms == what[:, None] - e) & acts[:, None])
        bond = (host[:, :, None] & other[:, None, :]) | (other[:, :, None] & host[:, None, :])
        return AtomState(
            element=torch.where(new, what[:, None], state.element),
            bond=torch.where(bond, order[:, None, None] + 1, state.bond),
            count=state.count + adds,
            is_stopped=state.is_stopped | ~acts,
        )

    def _removable(
        self, exists: Bool[Tensor, "n m"], bond: Int[Tensor, "n m m"]
    ) -> tuple[Bool[Tensor, "n m"], Bool[Tensor, "n p"]]:
        """Atoms that hang on one bond (or are alone), and bonds that are part of a ring.

        A bond is a bridge exactly where the electrical resistance between its ends is 1, all bonds being resistors of
        1; in a ring of k bonds it is at most 1 - 1/k. Resistances come from the inverse of the graph Laplacian.
        """
        near = (bond > 0).double()
        degree = near.sum(-1)
        leaves = exists & (degree <= 1)
        here = exists.double()
        share = here / here.sum(-1, keepdim=True).clamp(min=1)
        laplacian = torch.diag_embed(degree + 1 - here) - near + here[:, :, None] * share[:, None, :]
        inverse = torch.linalg.inv(laplacian)
        own = inverse.diagonal(dim1=-2, dim2=-1)
        resistance = own[:, :, None] + own[:, None, :] - 2 * inverse
        ring = (bond > 0) & (resistance < 1 - 0.5 / self.max_atoms)
        i, j = self.pairs.to(bond.device)
        return leaves, ring[:, i, j]

    def backward_allowed(self, state: AtomState) -> Bool[Tensor, "n a"]:
        """Take away an atom, take away a ring bond (by its pair of atoms), or take back the stop."""
        leaves, rings = self._removable(state.element >= 0, state.bond)
        removable = torch.cat([leaves, rings], -1) & ~state.is_stopped[:, None]
        return torch.cat([removable, state.is_stopped[:, None]], -1)

    def reverse(self, state: AtomState, action: Int[Tensor, "n 3"], next_state: AtomState) -> Int[Tensor, " n"]:
        where, what, _ = action.unbind(-1)
        m, e = self.max_atoms, len(self.elements)
        ring = m + self.pair_index.to(where.device)[(what - e).clamp(min=0), (where - 1).clamp(min=0)]
        undo = torch.where(where == 0, m + self.pairs.shape[1], torch.where(what < e, state.count, ring))
        return torch.where(state.is_stopped, -1, undo)

    def backward_step(self, state: AtomState, action: Int[Tensor, " n"]) -> AtomState:
        """Takes away an atom (those after it move up one place) or a bond, or takes back the stop."""
        m, p = self.max_atoms, self.pairs.shape[1]
        device = action.device
        removes, opens = (action >= 0) & (action < m), (action >= m) & (action < m + p)
        places = torch.arange(m, device=device)
        leaf = torch.where(removes, action, m)[:, None]
        order = (places + (places >= leaf)).clamp(max=m - 1)
        gone = removes[:, None] & (places == m - 1)
        rows = order[:, :, None].expand(-1, -1, m)
        bond = state.bond.gather(1, rows).gather(2, rows.transpose(1, 2))
        bond = bond.masked_fill(gone[:, :, None] | gone[:, None, :], 0)
        i, j = self.pairs.to(device)[:, (action - m).clamp(min=0, max=p - 1)] if p else places.new_zeros(2, len(action))
        cut = (places == i[:, None])[:, :, None] & (places == j[:, None])[:, None, :] & opens[:, None, None]
        return AtomState(
            element=state.element.gather(1, order).masked_fill(gone, -1),
            bond=bond.masked_fill(cut | cut.transpose(1, 2), 0),
            count=state.count - removes.long(),
            is_stopped=state.is_stopped & (action != m + p),
        )

    def unfold(self, state: AtomState, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l 3"]:
        n, m = state.element.shape
        device, e = state.element.device, len(self.elements)
        rows, atoms = torch.arange(n, device=device), torch.arange(m, device=device)
        length = state.count + self.rings(state)
        exists, bond = state.element >= 0, state.bond
        rank = torch.zeros_like(state.element)
        taken = []
        for back in range(self.max_steps - 1):
            goes = length > back
            options = torch.cat(self._removable(exists, bond), -1)
            noise = torch.rand(options.shape, generator=generator, device=device)
            option = torch.where(options, noise, -1.0).argmax(-1)
            is_atom = option < m
            i, j = self.pairs.to(device)[:, (option - m).clamp(min=0)] if m > 1 else rows.new_zeros(2, n)
            a = torch.where(is_atom, option.clamp(max=m - 1), j)
            b = torch.where(is_atom, bond[rows, a].argmax(-1), i)
            order = bond[rows, a, b]
            rank[rows, a] = torch.where(goes & is_atom, exists.sum(-1) - 1, rank[rows, a])
            taken.append((length - 1 - back, goes, is_atom, a, b, order))
            at_a, at_b = (atoms == a[:, None]) & goes[:, None], (atoms == b[:, None]) & goes[:, None]
            cut = at_a[:, :, None] & at_b[:, None, :]
            bond = bond.masked_fill(cut | cut.transpose(1, 2), 0)
            exists = exists & ~(at_a & is_atom[:, None])
        actions = torch.zeros(n, self.max_steps, 3, dtype=torch.long, device=device)
        for place, goes, is_atom, a, b, order in taken:
            first, second = rank[rows, a], rank[rows, b]
            host = torch.where(is_atom, torch.where(place == 0, 0, second), torch.maximum(first, second))
            what = torch.where(is_atom, state.element[rows, a], e + torch.minimum(first, second))
            action = torch.stack([host + 1, what, (order - 1).clamp(min=0)], -1)
            at = place.clamp(min=0)
            actions[rows, at] = torch.where(goes[:, None], action, actions[rows, at])
        return actions

    def log_symmetry(self, state: AtomState) -> Float[Tensor, " n"]:
        """log(|Aut| / K): K the number of Kekule structures, Aut of the molecule with its aromatic bonds all alike.

        Of one graph with localised bonds, every order of taking it apart is a labelled path, |its automorphisms| of
        them the same path; so its paths have probability 1 / |its automorphisms| in sum. The Kekule structures of a
        molecule fall into orbits of Aut, each of size |Aut| / |automorphisms of one of them|; summed over orbits, the
        paths into one molecule have K / |Aut|.
        """
        values = [math.log(symmetry(elements, bonds)) for elements, bonds in self.graphs(state)]
        return torch.tensor(values, dtype=torch.float64)

    def graphs(self, state: AtomState) -> list[tuple[tuple[str, ...], Bonds]]:
        """Each state as element symbols and bonds (atom, atom, order)."""
        row, pair = (state.bond[:, self.pairs[0], self.pairs[1]] > 0).cpu().nonzero(as_tuple=True)
        i, j = self.pairs[:, pair]
        bonds: list[list[tuple[int, int, int]]] = [[] for _ in range(len(state.count))]
        orders = state.bond.cpu()[row, i, j]
        for r, a, b, order in zip(row.tolist(), i.tolist(), j.tolist(), orders.tolist(), strict=True):
            bonds[r].append((a, b, order))
        atoms = zip(state.element.tolist(), state.count.tolist(), strict=True)
        names = [tuple(self.elements[element] for element in row[:count]) for row, count in atoms]
        return [(elements, tuple(found)) for elements, found in zip(names, bonds, strict=True)]

    def features(self, state: AtomState) -> Float[Tensor, "n d"]:
        """One-hot elements and bond orders in the order the atoms were added, and whether it is finished."""
        i, j = self.pairs.to(state.bond.device)
        kinds = torch.nn.functional.one_hot(state.element + 1, len(self.elements) + 1).flatten(-2)
        orders = torch.nn.functional.one_hot(state.bond[..., i, j], len(ORDERS) + 1).flatten(-2)
        return torch.cat([kinds, orders, state.is_stopped[..., None].long()], -1).float()

    def decode(self, state: AtomState) -> list[Molecule]:
        return [Molecule(_smiles(elements, bonds)) for elements, bonds in self.graphs(state)]

    def encode(self, molecules: Sequence[Molecule], *, device: torch.device | str = "cpu") -> AtomState:
        """Molecules as terminal states, stereochemistry left out; raises `ConfigError` for one that cannot be made."""
        state = self.initial(len(molecules), device="cpu")
        for row, molecule in enumerate(molecules):
            mol = Chem.Mol(molecule.mol)
            Chem.Kekulize(mol, clearAromaticFlags=True)
            atoms = [
                (atom.GetSymbol(), atom.GetFormalCharge(), atom.GetNumRadicalElectrons()) for atom in mol.GetAtoms()
            ]
            fits = self.min_atoms <= len(atoms) <= self.max_atoms
            rings = mol.GetNumBonds() - len(atoms) + 1
            if not fits or rings > self.max_rings or any(a not in self.elements or q or r for a, q, r in atoms):
                raise ConfigError(
                    f"expected neutral molecules of {self.min_atoms} to {self.max_atoms} atoms "
                    f"{', '.join(self.elements)} with at most {self.max_rings} rings, got {molecule.key!r}"
                )
            state.element[row, : len(atoms)] = torch.tensor([self.elements.index(symbol) for symbol, *_ in atoms])
            for bond in mol.GetBonds():
                i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
                state.bond[row, i, j] = state.bond[row, j, i] = 1 + ORDERS.index(bond.GetBondType())
            if bool((self.free_valence(state)[row] < 0).any()):
                raise ConfigError(f"expected molecules of the elements' lowest valences, got {molecule.key!r}")
        return AtomState(
            element=state.element.to(device),
            bond=state.bond.to(device),
            count=(state.element >= 0).sum(-1).to(device),
            is_stopped=torch.ones(len(molecules), dtype=torch.bool, device=device),
        )

    def describe(self) -> dict[str, Any]:
        """What a saved model needs: the arguments."""
        sizes = {
            "elements": list(self.elements),
            "max_atoms": self.max_atoms,
            "min_atoms": self.min_atoms,
            "max_rings": self.max_rings,
        }
        return {"class_path": "samplers.environment.atom.AtomEnvironment", "init_args": sizes}

    def write(self, folder: Path) -> None:
        """Nothing beside the arguments."""

    @classmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> AtomEnvironment:
        """The environment of a saved model."""
        return cls(**sizes)


def assembled(elements: Sequence[str], bonds: Bonds) -> Chem.Mol:
    """The sanitised RDKit molecule of a graph."""
    mol = Chem.RWMol()
    for element in elements:
        mol.AddAtom(Chem.Atom(element))
    for i, j, order in bonds:
        mol.AddBond(i, j, ORDERS[order - 1])
    Chem.SanitizeMol(mol)
    return mol


@lru_cache(maxsize=100_000)
def _smiles(elements: tuple[str, ...], bonds: Bonds) -> str:
    return Molecule.from_mol(assembled(elements, bonds)).smiles


@lru_cache(maxsize=100_000)
def symmetry(elements: tuple[str, ...], bonds: Bonds) -> float:
    """|Aut| / K of a graph, see `AtomEnvironment.log_symmetry`."""
    if len(bonds) >= len(elements) and sum(order == 2 for *_, order in bonds) >= 2:
        mol = assembled(elements, bonds)
        aromatic = {(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds() if b.GetIsAromatic()}
        if aromatic:
            doubles = [(i, j) for i, j, order in bonds if order == 2 and (i, j) in aromatic]
            blurred = tuple((i, j, AROMATIC if (i, j) in aromatic else order) for i, j, order in bonds)
            matched = {atom for pair in doubles for atom in pair}
            free = [pair for pair in aromatic if set(pair) <= matched]
            return automorphisms(elements, blurred) / perfect_matchings(frozenset(matched), free)
    return float(automorphisms(elements, bonds))


def perfect_matchings(atoms: frozenset[int], pairs: Sequence[tuple[int, int]]) -> int:
    """In how many ways all atoms can be put in disjoint pairs."""
    if not atoms:
        return 1
    first = min(atoms)
    return sum(perfect_matchings(atoms - set(pair), pairs) for pair in pairs if first in pair and atoms >= set(pair))


def automorphisms(elements: Sequence[str], bonds: Bonds) -> int:
    """The number of ways to map a graph onto itself, elements and bond orders kept."""
    n = len(elements)
    near: list[dict[int, int]] = [{} for _ in range(n)]
    for i, j, order in bonds:
        near[i][j] = near[j][i] = order
    colour: list[Any] = [*elements]
    for _ in range(3):
        names: dict[Any, int] = {}
        signs = [(colour[i], tuple(sorted((order, colour[j]) for j, order in near[i].items()))) for i in range(n)]
        colour = [names.setdefault(sign, len(names)) for sign in signs]
    if len(set(colour)) == n:
        return 1
    alike = {kind: [i for i in range(n) if colour[i] == kind] for kind in colour}
    walk = _walk(near, min(range(n), key=lambda i: len(alike[colour[i]])))
    image: dict[int, int] = {}

    def count(at: int) -> int:
        if at == n:
            return 1
        atom, total = walk[at], 0
        for other in alike[colour[atom]]:
            if other in image.values():
                continue
            if all(near[other].get(image[j]) == near[atom].get(j) for j in walk[:at]):
                image[atom] = other
                total += count(at + 1)
                del image[atom]
        return total

    return count(0)


def _walk(near: Sequence[dict[int, int]], start: int) -> list[int]:
    """Atoms in breadth-first order."""
    order = [start]
    for atom in order:
        order += [other for other in near[atom] if other not in order]
    return order
