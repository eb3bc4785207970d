"""Training graphs as tensors, in buckets of similar size; every batch depends on the seed and its step alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from mogen.dataset.molecules import encoded, holds_graphs, load_graphs, read_smiles, source_of, split
from mogen.domain.graph import (
    QM9_ATOMS,
    ZINC_ATOMS,
    Graph,
    GraphBatch,
    MolecularGraphs,
    census,
    encode_graphs,
    encode_molecules,
)
from mogen.errors import CandidateError, DataError
from samplers.diffusion import Fields
from samplers.gdss.model import GraphKind

WIDTH = 4
"""nodes by which graphs of one bucket may differ"""
PUBLISHED = ("qm9", "zinc250k")
"""data sets of which it is known that some molecules do not fit"""


@final
class GraphBatches:
    """Batches of clean fields, each of one bucket; an epoch is a random order of all of them.

    Args:
        graphs: dense graphs, or molecules as integers.
        kind: what they are.
        batch: graphs per batch.
        seed: of the order.
        device: where batches are made.
        context: what else every batch has, with a row per graph.
    """

    def __init__(
        self,
        graphs: MolecularGraphs | GraphBatch,
        kind: GraphKind,
        batch: int,
        seed: int = 0,
        device: Any = "cpu",
        context: Fields | None = None,
    ) -> None:
        self.kind, self.batch, self.seed = kind, batch, seed
        self.context = {name: value.to(device) for name, value in (context or {}).items()}
        if isinstance(graphs, MolecularGraphs):
            self.graphs: Any = MolecularGraphs(graphs.atoms.to(device), graphs.bonds.to(device))
            sizes = graphs.sizes
        else:
            self.graphs = GraphBatch(graphs.x.to(device), graphs.adj.to(device), graphs.mask.to(device))
            sizes = graphs.mask.sum(1).long()
        self.buckets = buckets(sizes, batch)
        self.per_epoch = sum(-(-len(rows) // batch) for _, rows in self.buckets)
        self.order: tuple[int, list[tuple[int, Tensor]]] = (-1, [])

    def epoch(self, number: int) -> list[tuple[int, Tensor]]:
        """Width and rows of every batch of an epoch."""
        if self.order[0] != number:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            found: list[tuple[int, Tensor]] = []
            for width, rows in self.buckets:
                mixed = rows[torch.randperm(len(rows), generator=generator)]
                # parts as large as each other: a batch of the one graph that is left would count like any other
                found += [(width, part) for part in mixed.tensor_split(-(-len(rows) // self.batch))]
            turn = torch.randperm(len(found), generator=generator).tolist()
            self.order = number, [found[place] for place in turn]
        return self.order[1]

    def at(self, step: int) -> Fields:
        """The batch of a step."""
        width, rows = self.epoch(step // self.per_epoch)[step % self.per_epoch]
        return {**self.clean(width, rows), **{name: value[rows] for name, value in self.context.items()}}

    def clean(self, width: int, rows: Tensor) -> Fields:
        """The fields of some graphs, as wide as is said."""
        if isinstance(self.graphs, MolecularGraphs):
            part = MolecularGraphs(self.graphs.atoms[rows, :width], self.graphs.bonds[rows, :width, :width])
            return self.kind.fields(part.dense(self.kind.features))
        x, adj, mask = self.graphs.x, self.graphs.adj, self.graphs.mask
        return self.kind.fields(GraphBatch(x[rows, :width], adj[rows, :width, :width], mask[rows, :width]))


def buckets(sizes: Tensor, batch: int) -> list[tuple[int, Tensor]]:
    """Rows by size: no bucket wider than WIDTH nodes, unless it would not fill a batch."""
    found: list[tuple[int, Tensor]] = []
    rows = sizes.argsort(descending=True, stable=True)
    while len(rows):
        widest = max(int(sizes[rows[0]]), 2)
        near = int((sizes[rows] > widest - WIDTH).sum())
        count = len(rows) if len(rows) - max(near, batch) < batch else max(near, batch)
        found.append((widest, rows[:count]))
        rows = rows[count:]
    return found


def training_graphs(
    data: str,
    atoms: Sequence[str] | None = None,
    max_nodes: int | None = None,
    *,
    is_lenient: bool = False,
    has_labels: bool = True,
) -> Any:
    """The training graphs of a data set, their kind without an encoding, and how many were left out.

    A name of plain graphs (a published set or a recipe), or a .json file of them, whose nodes' features are their
    labels, if they have any (and `has_labels`), else their degrees; else molecules: qm9, zinc250k, or any file of
    SMILES, whose atoms and largest size are those of its molecules where they are not given. Molecules that do not fit
    are left out of the published sets; in a file the first of them raises `DataError`, unless `is_lenient`.
    """
    if holds_graphs(data):
        plain = training_plain(data)
        nodes = max_nodes or max(graph.nodes for graph in plain)
        degree = max(max(graph.adjacency.sum(1).max() for graph in plain), torch.tensor(1.0))
        labels = tuple(sorted({label for graph in plain for label in graph.labels})) if has_labels else ()
        features = len(labels) or int(degree) + 1
        sizes = torch.bincount(torch.tensor([graph.nodes for graph in plain]), minlength=nodes + 1)
        kind = GraphKind((), features, nodes, tuple(sizes.tolist()), labels=labels)
        return encode_graphs(plain, nodes, features, labels), kind, 0
    smiles = training_smiles(data)
    types, nodes = vocabulary(smiles, data, atoms, max_nodes)
    made = encoded(smiles, types, nodes)
    if not len(made.graphs):
        raise DataError(f"expected molecules of at most {nodes} atoms among {', '.join(types)} in {data}, got none")
    if made.skipped and not is_lenient and data not in PUBLISHED:
        raise DataError(refusal(smiles, types, nodes, made.skipped, data))
    sizes = torch.bincount(made.graphs.sizes, minlength=nodes + 1)
    return made.graphs, GraphKind(types, len(types), nodes, tuple(sizes.tolist())), made.skipped


def refusal(smiles: Sequence[str], types: Sequence[str], nodes: int, skipped: int, data: str) -> str:
    """How many molecules of a file do not fit, and what is wrong with the first of them."""
    reason = ""
    try:
        encode_molecules(smiles, types, nodes)
    except CandidateError as error:
        _, fit = encode_molecules(smiles, types, nodes, skip=True)
        first = next(row for row, place in enumerate([*fit, -1]) if row != place)
        reason = f" ({error if smiles[first] else f'row {first} has no SMILES'}, counted from 0)"
    return (
        f"expected only molecules that fit in {data}, got {skipped} of {len(smiles)} that do not{reason}: "
        "skip_broken: true leaves them out"
    )


def training_plain(data: str) -> list[Graph]:
    """The last four fifths of a set of plain graphs."""
    plain = load_graphs(data)
    return plain[len(plain) // 5 :]


def training_smiles(data: str) -> list[str]:
    """The molecules to learn from: a published training set, said where it is not as published; or all of a file."""
    if data not in PUBLISHED:
        return read_smiles(source_of(data))
    parted = split(data)
    if parted.reason:
        print(f"warning: a random tenth of {data} is left out for testing: {parted.reason}", file=sys.stderr)
    return parted.train


def vocabulary(
    smiles: Sequence[str], data: str, atoms: Sequence[str] | None, max_nodes: int | None
) -> tuple[tuple[str, ...], int]:
    """The atoms and the largest size to use."""
    known = {"qm9": (QM9_ATOMS, 9), "zinc250k": (ZINC_ATOMS, 38)}.get(data)
    if known is not None:
        return tuple(atoms or known[0]), max_nodes or known[1]
    if atoms is not None and max_nodes is not None:
        return tuple(atoms), max_nodes
    found, largest = census(smiles)
    return tuple(atoms or found), max_nodes or largest
