"""Molecules as trees of fragments joined at attachment atoms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError
from samplers.environment.environment import Environment
from samplers.environment.vocabulary import Fragment, Vocabulary, assemble


@dataclass(frozen=True)
class FragmentState:
    """n trees of at most f fragments with at most s sites each; nodes are numbered in the order they were added."""

    fragment: Int[Tensor, "*n f"]
    """index into the vocabulary, -1 where there is no node"""
    parent: Int[Tensor, "*n f"]
    """the earlier node a node hangs on, -1 for the first"""
    parent_site: Int[Tensor, "*n f"]
    child_site: Int[Tensor, "*n f"]
    used: Bool[Tensor, "*n f s"]
    count: Int[Tensor, " *n"]
    is_stopped: Bool[Tensor, " *n"]

    @staticmethod
    def stack(states: Sequence[FragmentState]) -> FragmentState:
        """States of one shape, stacked along a new second axis (time)."""
        fields = ("fragment", "parent", "parent_site", "child_site", "used", "count", "is_stopped")
        return FragmentState(*(torch.stack([getattr(state, name) for state in states], 1) for name in fields))


@final
class FragmentEnvironment(Environment[FragmentState, Molecule]):
    """Trees of at most `max_fragments` fragments; one action adds one fragment (Bengio et al. 2021; Jain et al. 2023).

    An action is (where, what): `where` is 0 for stop, or 1 + node * s + site for a free site; `what` is a
    (fragment, site) pair of the vocabulary. The first fragment is named by the pair of its site 0. A tree of
    `max_fragments` ends by itself. With a `core`, every molecule grows from that fragment.

    Args:
        vocabulary: fragments; None for the shipped ones, or a JSON file.
        max_fragments: most fragments in a molecule.
        min_fragments: fewest fragments before stopping is allowed, where free sites remain.
        core: SMILES of a required core with open attachment points written as [*], counted as one fragment.
    """

    def __init__(
        self,
        vocabulary: str | None = None,
        max_fragments: int = 9,
        min_fragments: int = 2,
        core: str | None = None,
    ) -> None:
        if not 1 <= min_fragments <= max_fragments:
            raise ConfigError(
                f"expected 1 <= min_fragments <= max_fragments, got {min_fragments} and {max_fragments} "
                "in the fragment environment"
            )
        table = Vocabulary.default() if vocabulary is None else Vocabulary.from_json(vocabulary)
        fragments = [*table.fragments]
        if core is not None:
            fragments += Vocabulary.from_smiles([core]).fragments
        self._set_up(fragments, max_fragments, min_fragments, has_core=core is not None)

    @classmethod
    def of(
        cls, fragments: Sequence[Fragment], max_fragments: int = 9, min_fragments: int = 1, has_core: bool = False
    ) -> FragmentEnvironment:
        """An environment over fragments made in Python; with `has_core`, the last one is the core."""
        self = cls.__new__(cls)
        self._set_up(fragments, max_fragments, min_fragments, has_core)
        return self

    def _set_up(self, fragments: Sequence[Fragment], max_fragments: int, min_fragments: int, has_core: bool) -> None:
        self.vocabulary = Vocabulary(fragments)
        self.max_fragments, self.min_fragments, self.has_core = max_fragments, min_fragments, has_core
        counts = [len(fragment.sites) for fragment in fragments]
        self.max_sites = max(counts)
        pairs = [(f, site) for f, count in enumerate(counts) for site in range(count)]
        self.pair_fragment = torch.tensor([f for f, _ in pairs])
        self.pair_site = torch.tensor([site for _, site in pairs])
        self.pair_index = torch.zeros(len(fragments), self.max_sites, dtype=torch.long)
        self.pair_index[self.pair_fragment, self.pair_site] = torch.arange(len(pairs))
        self.site_exists = torch.arange(self.max_sites)[None] < torch.tensor(counts)[:, None]
        is_core = self.pair_fragment == len(fragments) - 1 if has_core else torch.zeros(len(pairs), dtype=torch.bool)
        self.first_pair = (self.pair_site == 0) & (is_core | (not has_core))
        self.later_pair = ~is_core
        self.max_steps = max_fragments
        self.sizes = (1 + max_fragments * self.max_sites, len(pairs))
        self._log_group = torch.tensor([math.log(len(item.symmetries)) for item in fragments], dtype=torch.float64)

    def to(self, device: torch.device | str) -> FragmentEnvironment:
        """Moves the lookup tables."""
        for name in ("pair_fragment", "pair_site", "pair_index", "site_exists", "first_pair", "later_pair"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def initial(self, n: int, *, device: torch.device | str = "cpu") -> FragmentState:
        empty = torch.full((n, self.max_fragments), -1, device=device)
        return FragmentState(
            fragment=empty,
            parent=empty,
            parent_site=empty,
            child_site=empty,
            used=torch.zeros(n, self.max_fragments, self.max_sites, dtype=torch.bool, device=device),
            count=torch.zeros(n, dtype=torch.long, device=device),
            is_stopped=torch.zeros(n, dtype=torch.bool, device=device),
        )

    def free_sites(self, state: FragmentState) -> Bool[Tensor, "*n f s"]:
        """Sites that exist and hold no bond yet."""
        exists = self.site_exists[state.fragment.clamp(min=0)] & (state.fragment >= 0)[..., None]
        return exists & ~state.used

    def is_terminal(self, state: FragmentState) -> Bool[Tensor, " *n"]:
        return state.is_stopped | (state.count == self.max_fragments)

    def allowed(self, state: FragmentState, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        return self._where(state) if chosen.shape[-1] == 0 else self._what(state, chosen[..., 0])

    def _where(self, state: FragmentState) -> Bool[Tensor, "n a"]:
        is_open = ~self.is_terminal(state)
        sites = self.free_sites(state).flatten(-2) & is_open[..., None]
        sites[..., 0] |= state.count == 0  # the first fragment needs no site
        no_site = ~sites.any(-1)
        stop = no_site | (is_open & (state.count >= self.min_fragments))
        return torch.cat([stop[..., None], sites], -1)

    def _what(self, state: FragmentState, where: Int[Tensor, " *n"]) -> Bool[Tensor, "n a"]:
        pairs = torch.where((state.count == 0)[..., None], self.first_pair, self.later_pair)
        only = torch.zeros_like(self.first_pair)
        only[0] = True
        return torch.where((where == 0)[..., None], only, pairs)

    def step(self, state: FragmentState, action: Int[Tensor, "n 2"]) -> FragmentState:
        where, what = action.unbind(-1)
        grows = where > 0
        node, site = (where - 1).clamp(min=0) // self.max_sites, (where - 1).clamp(min=0) % self.max_sites
        is_first = state.count == 0
        here = torch.nn.functional.one_hot(state.count.clamp(max=self.max_fragments - 1), self.max_fragments).bool()
        here = here & grows[:, None]
        joins = here & ~is_first[:, None]

        def put(field: Tensor, value: Tensor, mask: Tensor) -> Tensor:
            return torch.where(mask, value[:, None], field)

        sites = torch.arange(self.max_sites, device=where.device)
        own = joins[..., None] & (sites == self.pair_site[what][:, None])[:, None]
        nodes = torch.arange(self.max_fragments, device=where.device)
        host = ((nodes == node[:, None]) & (grows & ~is_first)[:, None])[..., None] & (sites == site[:, None])[:, None]
        return FragmentState(
            fragment=put(state.fragment, self.pair_fragment[what], here),
            parent=put(state.parent, node, joins),
            parent_site=put(state.parent_site, site, joins),
            child_site=put(state.child_site, self.pair_site[what], joins),
            used=state.used | own | host,
            count=state.count + grows,
            is_stopped=state.is_stopped | (~grows & (state.count < self.max_fragments)),
        )

    def leaves(self, state: FragmentState) -> Bool[Tensor, "*n f"]:
        """Nodes with one neighbour, or the only node; the core is never one."""
        leaf = (state.used.sum(-1) <= 1) & (state.fragment >= 0)
        if self.has_core:
            leaf[..., 0] &= state.count == 1
        return leaf

    def backward_allowed(self, state: FragmentState) -> Bool[Tensor, "n a"]:
        leaves = self.leaves(state) & ~state.is_stopped[..., None]
        return torch.cat([leaves, state.is_stopped[..., None]], -1)

    def reverse(self, state: FragmentState, action: Int[Tensor, "n 2"], next_state: FragmentState) -> Int[Tensor, " n"]:
        unstop = torch.where(self.is_terminal(state), -1, self.max_fragments)
        return torch.where(action[:, 0] > 0, state.count, unstop)

    def backward_step(self, state: FragmentState, action: Int[Tensor, " n"]) -> FragmentState:
        """Takes a leaf away (the nodes after it move up one place), or takes back the stop."""
        removes = (action >= 0) & (action < self.max_fragments)
        leaf = torch.where(removes, action, self.max_fragments)
        last = self.max_fragments - 1
        places = torch.arange(self.max_fragments, device=action.device)
        order = (places[None] + (places[None] >= leaf[:, None])).clamp(max=last)
        gone = (removes[:, None] & (places[None] == last)) | (state.fragment.gather(1, order) < 0)

        def moved(field: Tensor) -> Tensor:
            return torch.where(gone, -1, field.gather(1, order))

        at = leaf.clamp(max=last)[:, None]
        host, host_site = state.parent.gather(1, at)[:, 0], state.parent_site.gather(1, at)[:, 0]
        # a first node that is a leaf has one child, node 1, which becomes the first
        is_root = removes & (leaf == 0) & (state.count > 1)
        host = torch.where(is_root, 1, host)
        host_site = torch.where(is_root, state.child_site[:, min(1, last)], host_site)
        freed = (places[None] == host[:, None])[..., None] & (
            torch.arange(self.max_sites, device=action.device)[None] == host_site[:, None]
        )[:, None]
        used = state.used & ~(freed & removes[:, None, None])
        used = used.gather(1, order[..., None].expand_as(used)) & ~gone[..., None]
        parent = moved(state.parent)
        parent = torch.where(parent > leaf[:, None], parent - 1, parent)
        first = is_root[:, None] & (places[None] == 0)
        clear = first | gone
        return FragmentState(
            fragment=moved(state.fragment),
            parent=torch.where(clear, -1, parent),
            parent_site=torch.where(clear, -1, moved(state.parent_site)),
            child_site=torch.where(clear, -1, moved(state.child_site)),
            used=used,
            count=state.count - removes.long(),
            is_stopped=state.is_stopped & (action != self.max_fragments),
        )

    def unfold(self, state: FragmentState, *, generator: torch.Generator | None = None) -> Int[Tensor, "n f 2"]:
        n, f = state.fragment.shape
        device = state.fragment.device
        rows = torch.arange(n, device=device)
        bonds = self._bonds(state)
        alive = state.fragment >= 0
        rank = torch.zeros_like(state.fragment)
        actions = torch.zeros(n, f, 2, dtype=torch.long, device=device)
        steps = []
        for place in range(f - 1, -1, -1):  # the node that was added last goes first
            goes = state.count > place
            leaf = alive & (((bonds >= 0) & alive[:, None]).sum(-1) <= 1)
            if self.has_core and place:
                leaf[:, 0] = False
            noise = torch.rand(n, f, generator=generator, device=device)
            node = torch.where(leaf, noise, -1.0).argmax(-1)
            host = ((bonds[rows, node] >= 0) & alive).int().argmax(-1)
            rank[rows, node] = torch.where(goes, place, rank[rows, node])
            alive = alive & ~(goes[:, None] & (torch.arange(f, device=device) == node[:, None]))
            steps.append((place, goes, node, host))
        for place, goes, node, host in steps:
            where = 1 + rank[rows, host] * self.max_sites + bonds[rows, host, node] if place else torch.ones_like(node)
            own = bonds[rows, node, host] if place else torch.zeros_like(node)
            what = self.pair_index[state.fragment[rows, node].clamp(min=0), own.clamp(min=0)]
            actions[:, place] = torch.where(goes[:, None], torch.stack([where, what], -1), 0)
        return actions

    def _bonds(self, state: FragmentState) -> Int[Tensor, "n f f"]:
        """The site by which a node (row) holds another (column), -1 where they are not joined."""
        n, f = state.fragment.shape
        bonds = torch.full((n, f, f), -1, device=state.fragment.device)
        row, child = (state.parent >= 0).nonzero(as_tuple=True)
        parent = state.parent[row, child]
        bonds[row, child, parent] = state.child_site[row, child]
        bonds[row, parent, child] = state.parent_site[row, child]
        return bonds

    def log_symmetry(self, state: FragmentState) -> Float[Tensor, " n"]:
        """log(|Aut(tree)| / prod |Aut(fragment)|), automorphisms acting on sites (orbit-stabiliser theorem)."""
        group = torch.where(state.fragment >= 0, self._log_group[state.fragment.clamp(min=0).cpu()], 0.0).sum(-1)
        orders = [math.log(self.automorphisms(nodes, edges)) for nodes, edges in self.trees(state)]
        return torch.tensor(orders, dtype=torch.float64) - group

    def trees(self, state: FragmentState) -> list[tuple[list[int], list[tuple[int, int, int, int]]]]:
        """Each tree as fragments and edges (node, site, node, site)."""
        columns = (state.fragment, state.parent, state.parent_site, state.child_site, state.count)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [
            (fragment[:count], [(parent[i], parent_site[i], i, child_site[i]) for i in range(1, count)])
            for fragment, parent, parent_site, child_site, count in rows
        ]

    def automorphisms(self, nodes: Sequence[int], edges: Sequence[tuple[int, int, int, int]]) -> int:
        """The number of ways to map a tree onto itself, sites of unused bonds included."""
        if not nodes:
            return 1
        neighbours: list[dict[int, tuple[int, int]]] = [{} for _ in nodes]
        for i, site_i, j, site_j in edges:
            neighbours[i][site_i] = (j, site_j)
            neighbours[j][site_j] = (i, site_i)
        kinds = [(fragment, len(neighbours[i])) for i, fragment in enumerate(nodes)]
        often = Counter(kinds)
        root = min(range(len(nodes)), key=lambda i: often[kinds[i]])

        def canonical(node: int, entry: int) -> tuple[tuple, int]:
            """The least encoding of the subtree seen from `entry` (-1: all of it), and its automorphisms."""
            inner, order = {}, 1
            for site, (other, other_site) in neighbours[node].items():
                if site != entry:
                    inner[site], count = canonical(other, other_site)
                    order *= count
            best, hits = None, 0
            for permutation in self.vocabulary.fragments[nodes[node]].symmetries:
                code = (
                    nodes[node],
                    -1 if entry < 0 else permutation[entry],
                    tuple(sorted((permutation[site], form) for site, form in inner.items())),
                )
                if best is None or code < best:
                    best, hits = code, 1
                elif code == best:
                    hits += 1
            return best or (), order * hits

        form, order = canonical(root, -1)
        alike = [i for i in range(len(nodes)) if i != root and kinds[i] == kinds[root]]
        return order * (1 + sum(canonical(i, -1)[0] == form for i in alike))

    def describe(self) -> dict[str, Any]:
        """What a saved model needs beside the vocabulary file that `write` leaves."""
        sizes = {"max_fragments": self.max_fragments, "min_fragments": self.min_fragments, "has_core": self.has_core}
        return {"class_path": "samplers.environment.fragment.FragmentEnvironment", "init_args": sizes}

    def write(self, folder: Path) -> None:
        """Puts the vocabulary beside a saved model."""
        self.vocabulary.to_json(folder / "vocabulary.json")

    @classmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> FragmentEnvironment:
        """The environment of a saved model."""
        return cls.of(Vocabulary.from_json(folder / "vocabulary.json").fragments, **sizes)

    def decode(self, state: FragmentState) -> list[Molecule]:
        return [Molecule.from_mol(assemble(self.vocabulary, nodes, edges)) for nodes, edges in self.trees(state)]
