"""Chains to train on: a folder of structure files or one archive of backbones, split by cluster, batched by length."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone, Residues, read_backbones
from mogen.errors import DataError

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".bcif", ".gz")
log = logging.getLogger("mogen")


@dataclass(frozen=True)
class Chain:
    """A backbone with its name and the cluster of similar sequences it belongs to."""

    name: str
    backbone: Backbone
    cluster: int


def read_chains(source: Path) -> list[Chain]:
    """Chains of a folder of PDB/mmCIF files, or of an .npz with name, sequence, cluster, offset and coords_milliA.

    Without clusters every sequence is its own.
    """
    if source.is_dir():
        chains = _from_folder(source)
    elif source.suffix == ".npz" and source.is_file():
        chains = _from_archive(source)
    else:
        raise DataError(f"expected a folder of PDB or mmCIF files, or an .npz of backbones, there is none at {source}")
    if not chains:
        raise DataError(f"expected chains in {source}, got none that can be read")
    return chains


def is_compact(backbone: Backbone) -> bool:
    """Whether the radius of gyration is below 1.5 times that of a globular protein, 2.2 n^0.38 Å."""
    ca = backbone.ca
    radius = float((ca - ca.mean(0)).square().sum(1).mean().sqrt())
    return radius < 1.5 * 2.2 * len(backbone) ** 0.38


def _from_folder(folder: Path) -> list[Chain]:
    chains: list[Chain] = []
    clusters: dict[str, int] = {}
    for path in sorted(item for item in folder.rglob("*") if item.suffix.lower() in SUFFIXES):
        try:
            backbone = read_backbones(path)[0]
        except DataError as error:
            log.warning("%s", error)
            continue
        cluster = clusters.setdefault(backbone.sequence, len(clusters))
        chains.append(Chain(path.stem, backbone, cluster))
    return chains


def _from_archive(path: Path) -> list[Chain]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names, sequences, clusters = file["name"], file["sequence"], file["cluster"]
            offsets, atoms = file["offset"], file["coords_milliA"].astype(np.float64) / 1000
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"expected backbones in {path}, got {error}") from error
    chains = []
    for i, (name, sequence) in enumerate(zip(names, sequences, strict=True)):
        piece = torch.from_numpy(atoms[offsets[i] : offsets[i + 1]])
        chains.append(Chain(str(name), Backbone.of(piece, numbered(piece, str(sequence))), int(clusters[i])))
    return chains


def numbered(atoms: Float[Tensor, "r 4 3"], sequence: str) -> Residues:
    """Numbers from 1 with a gap wherever C and the next N are more than 2 Å apart, as wide as the CA distance says."""
    gap = (atoms[1:, 0] - atoms[:-1, 2]).norm(dim=-1)
    missing = ((atoms[1:, 1] - atoms[:-1, 1]).norm(dim=-1) / 3.8).round().long().clamp(min=2)
    steps = torch.where(gap > 2.0, missing, 1).tolist()
    numbers = [1]
    for step in steps:
        numbers.append(numbers[-1] + step)
    n = len(sequence)
    return Residues(("A",) * n, tuple(numbers), ("",) * n, "".join(c if c.isalpha() else "X" for c in sequence))


def conformer_pairs(chains: Sequence[Chain], *, apart: float = 2.0) -> list[tuple[int, int, float]]:
    """Pairs of chains with the same sequence at least so many Å (CA RMSD after superposition) apart, widest first."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, chain in enumerate(chains):
        groups[chain.backbone.sequence].append(i)
    found = []
    for group in groups.values():
        for a, first in enumerate(group):
            for second in group[a + 1 :]:
                rmsd = superposed_rmsd(chains[first].backbone.ca, chains[second].backbone.ca)
                if rmsd >= apart:
                    found.append((first, second, rmsd))
    return sorted(found, key=lambda item: -item[2])


def superposed_rmsd(a: Float[Tensor, "r 3"], b: Float[Tensor, "r 3"]) -> float:
    """RMSD after the best proper rotation and translation (Kabsch), from the singular values alone."""
    a, b = (x.double() - x.double().mean(0) for x in (a, b))
    u, s, v = torch.linalg.svd(a.T @ b)
    sign = torch.sign(torch.linalg.det(u) * torch.linalg.det(v))
    square = a.square().sum() + b.square().sum() - 2 * (s[0] + s[1] + sign * s[2])
    return float((square / len(a)).clamp(min=0).sqrt())


@dataclass(frozen=True)
class Split:
    """Chains to train on, to validate on, and held out because their cluster has two conformations."""

    train: list[Chain]
    validation: list[Chain]
    held_out: list[Chain]


def split(
    chains: Sequence[Chain], *, share: float = 0.05, apart: float = 2.0, shortest: int = 20, longest: int = 256
) -> Split:
    """A split by cluster: those with a conformer pair are held out whole, a share of the others is for validation.

    Which ones is decided by a hash of the cluster's number, so that it does not depend on order or on other clusters.
    Only compact chains of the lengths given are trained and validated on.
    """
    moving = {chains[i].cluster for pair in conformer_pairs(chains, apart=apart) for i in pair[:2]}

    def is_for_validation(cluster: int) -> bool:
        return int(hashlib.sha256(str(cluster).encode()).hexdigest()[:8], 16) / 16**8 < share

    def is_usable(backbone: Backbone) -> bool:
        return shortest <= len(backbone) <= longest and is_compact(backbone)

    still = [chain for chain in chains if chain.cluster not in moving and is_usable(chain.backbone)]
    validation = [chain for chain in still if is_for_validation(chain.cluster)]
    train = [chain for chain in still if not is_for_validation(chain.cluster)]
    if not train:
        raise DataError(f"expected compact chains of {shortest} to {longest} residues that are not held out, got none")
    return Split(train, validation, [chain for chain in chains if chain.cluster in moving])


class Batches:
    """Batches of chains of about the same length; which ones depends on the seed and the number of the step alone.

    A cluster is drawn, then one of its chains, then the chains nearest in length around it: as many as keep the sum of
    squared lengths below the budget, and at most `largest`.
    """

    def __init__(self, chains: Sequence[Chain], *, budget: int = 65_536, largest: int = 16, seed: int = 0) -> None:
        self.chains = sorted(chains, key=lambda chain: (len(chain.backbone), chain.name))
        self.budget, self.largest, self.seed = budget, largest, seed
        self.clusters: dict[int, list[int]] = defaultdict(list)
        for i, chain in enumerate(self.chains):
            self.clusters[chain.cluster].append(i)
        self.order = sorted(self.clusters)

    def generator(self, step: int) -> torch.Generator:
        """The random numbers of one step."""
        digest = hashlib.sha256(f"{self.seed} {step}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    def at(self, step: int, generator: torch.Generator) -> list[Backbone]:
        """The chains of a step; a short list is filled up with copies."""
        del step
        members = self.clusters[self.order[int(torch.randint(len(self.order), (), generator=generator))]]
        middle = members[int(torch.randint(len(members), (), generator=generator))]
        length = len(self.chains[middle].backbone)
        count = max(1, min(self.largest, self.budget // length**2))
        low = max(0, middle - 2 * count)
        near = list(range(low, min(len(self.chains), middle + 2 * count + 1)))
        chosen = [near[i] for i in torch.randperm(len(near), generator=generator)[: count - 1].tolist()]
        drawn = [middle, *chosen]
        drawn += [middle] * (count - len(drawn))
        return [self.chains[i].backbone for i in drawn]
