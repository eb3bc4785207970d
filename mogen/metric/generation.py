"""How good a set of generated molecules is: validity, uniqueness, novelty, NSPDK and FCD, each beside its floor.

`floor` is the same figure for as many training molecules: what a perfect memory of the training data would score.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem, rdBase
from scipy.sparse import csr_array, vstack

from mogen.dataset.store import cache
from mogen.errors import ConfigError, DataError

RADIUS = 4
DISTANCE = 4
BUCKETS = 2**16
CHUNK = 1024
Sparse = tuple[np.ndarray, np.ndarray, np.ndarray]
"""row, column and value of every entry"""


@dataclass(frozen=True)
class Shares:
    """Of n generated molecules: valid ones; distinct ones among the valid; distinct ones that training did not have."""

    n: int
    valid: float
    unique: float
    novel: float


def shares(generated: Sequence[str | None], training: Sequence[str]) -> Shares:
    """Validity over everything generated; uniqueness over the valid; novelty over the distinct valid.

    A molecule counts by its canonical SMILES without stereochemistry; None is an invalid one.
    """
    canonical = canonical_smiles(generated)
    valid = [text for text in canonical if text is not None]
    distinct = set(valid)
    known = {text for text in canonical_smiles(training) if text is not None}
    return Shares(
        len(canonical),
        len(valid) / len(canonical) if canonical else float("nan"),
        len(distinct) / len(valid) if valid else float("nan"),
        len(distinct - known) / len(distinct) if distinct else float("nan"),
    )


def canonical_smiles(smiles: Sequence[str | None]) -> list[str | None]:
    """Canonical SMILES without stereochemistry; None where RDKit cannot read one."""
    found: list[str | None] = []
    with rdBase.BlockLogs():
        for text in smiles:
            mol = Chem.MolFromSmiles(text) if text else None
            found.append(Chem.MolToSmiles(mol, isomericSmiles=False) if mol is not None else None)
    return found


def nspdk_mmd(generated: Sequence[str], reference: Sequence[str]) -> float:
    """MMD^2 with the neighbourhood subgraph pairwise distance kernel (Costa and De Grave 2010), radius and distance 4.

    The kernel is a scalar product of features, so MMD^2 is the squared distance of mean features.
    """
    return float(((mean_features(generated) - mean_features(reference)) ** 2).sum())


@dataclass(frozen=True)
class Interval:
    """A figure with the 95 % interval of its bootstrap over the generated molecules, moved to lie around the figure.

    Repeated molecules make every resampled set look worse; what the interval keeps of the bootstrap is its width.
    """

    value: float
    low: float
    high: float


def around(value: float, draws: Sequence[float]) -> Interval:
    """The interval of a bootstrap whose mean is put where the figure is; of no width without draws."""
    if not draws:
        return Interval(value, value, value)
    low, high = np.quantile(draws, [0.025, 0.975]) - np.mean(draws)
    return Interval(value, float(value + low), float(value + high))


def share_interval(share: float, n: int) -> Interval:
    """A share of n independent molecules with its 95 % interval (Wilson 1927)."""
    z, n = 1.959964, max(n, 1)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return Interval(share, middle - half, middle + half)


def nspdk_interval(
    generated: Sequence[str], reference: Sequence[str], *, resamples: int = 200, seed: int = 0
) -> Interval:
    """`nspdk_mmd` with an interval."""
    wanted = mean_features(reference)
    parts = []
    for start in range(0, len(generated), CHUNK):
        part = generated[start : start + CHUNK]
        rows, buckets, values = nspdk_features(part)
        parts.append(csr_array((values, (rows, buckets)), shape=(len(part), BUCKETS)))
    features = vstack(parts).tocsr()
    random = np.random.default_rng(seed)

    def apart(weight: np.ndarray) -> float:
        return float(((features.T @ weight - wanted) ** 2).sum())

    n = len(generated)
    draws = [apart(random.multinomial(n, np.full(n, 1 / n)) / n) for _ in range(resamples)]
    return around(apart(np.full(n, 1 / n)), draws)


def mean_features(smiles: Sequence[str]) -> np.ndarray:
    """The mean NSPDK feature vector (2^16 numbers) of molecules."""
    if not smiles:
        raise DataError("expected molecules for NSPDK, got none")
    total = np.zeros(BUCKETS)
    for start in range(0, len(smiles), CHUNK):
        rows, buckets, values = nspdk_features(smiles[start : start + CHUNK])
        del rows
        total += np.bincount(buckets, weights=values, minlength=BUCKETS)
    return total / len(smiles)


def nspdk_features(smiles: Sequence[str]) -> Sparse:
    """Sparse NSPDK features: molecule, bucket, value; every molecule's features have length 1.

    Edges are labelled nodes (so distances double); aromatic bonds have the label int(1.5) = 1. The neighbourhood of an
    atom at radius r is hashed from the labels and degrees in each shell up to 2 r; every pair of atoms at distance d
    gives a feature of both neighbourhoods and one of the first, for r and d from 0 to 4. Counts are scaled to length 1
    within each (r, d), then as a whole. Hashes are 64-bit mixes of integers, the same everywhere, folded to 16 bits.
    """
    labels, bonds = _arrays(smiles)
    n = len(labels)
    near = bonds > 0
    distance = _distances(near)
    codes = _shells(labels, bonds, distance)
    molecule, first, second = np.nonzero((distance >= 0) & (distance <= DISTANCE))
    apart = distance[molecule, first, second].astype(np.uint64)
    keys: list[np.ndarray] = []
    for radius in range(RADIUS + 1):
        one, two = codes[radius][molecule, first], codes[radius][molecule, second]
        place = _mix(np.uint64(radius * 64) + apart)
        keys.append(_mix(_mix(np.minimum(one, two) + np.uint64(3)) + _mix(np.maximum(one, two)) + place))
        keys.append(_mix(one ^ place))
    block = np.concatenate([(radius * (DISTANCE + 1) + apart) for radius in range(RADIUS + 1) for _ in range(2)])
    owner = np.tile(molecule, 2 * (RADIUS + 1))
    bucket = np.concatenate(keys) & np.uint64(BUCKETS - 1)
    return _scaled(owner.astype(np.uint64), block.astype(np.uint64), bucket, n)


def _scaled(owner: np.ndarray, block: np.ndarray, bucket: np.ndarray, n: int) -> Sparse:
    blocks = (RADIUS + 1) * (DISTANCE + 1)
    whole = (owner * np.uint64(blocks) + block) * np.uint64(BUCKETS) + bucket
    found, count = np.unique(whole, return_counts=True)
    group = (found // np.uint64(BUCKETS)).astype(np.int64)
    length = np.sqrt(np.bincount(group, weights=count.astype(float) ** 2, minlength=n * blocks))
    value: np.ndarray = count / length[group]
    molecule, place = group // blocks, (found % np.uint64(BUCKETS)).astype(np.int64)
    both, inverse = np.unique(molecule * BUCKETS + place, return_inverse=True)
    value = np.bincount(inverse, weights=value)
    molecule, place = both // BUCKETS, both % BUCKETS
    return molecule, place, value / np.sqrt(np.bincount(molecule, weights=value**2, minlength=n))[molecule]


def _arrays(smiles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (0: no atom) and labels of bonds (0: no bond)."""
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(text) for text in smiles]
    for text, mol in zip(smiles, mols, strict=True):
        if mol is None or mol.GetNumAtoms() == 0:
            raise DataError(f"expected molecules for NSPDK, got {text!r}")
    v = max(mol.GetNumAtoms() for mol in mols)
    labels = np.zeros((len(mols), v), dtype=np.uint64)
    bonds = np.zeros((len(mols), v, v), dtype=np.uint64)
    for row, mol in enumerate(mols):
        labels[row, : mol.GetNumAtoms()] = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
        for bond in mol.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            bonds[row, i, j] = bonds[row, j, i] = int(bond.GetBondTypeAsDouble())
    return labels, bonds


def _distances(near: np.ndarray) -> np.ndarray:
    """Bonds between atoms, up to the largest that matters; -1 beyond."""
    n, v, _ = near.shape
    far = np.full((n, v, v), -1, dtype=np.int8)
    exists = near.any(2) | (np.arange(v)[None] == 0)
    far[:, np.arange(v), np.arange(v)] = np.where(exists, 0, -1)
    reached = np.broadcast_to(np.eye(v, dtype=np.float32), (n, v, v))
    step = near.astype(np.float32)
    for distance in range(1, max(RADIUS, DISTANCE) + 1):
        reached = np.minimum(reached @ step, 1.0)
        far[(reached > 0) & (far < 0) & exists[:, :, None] & exists[:, None]] = distance
    return far


def _shells(labels: np.ndarray, bonds: np.ndarray, distance: np.ndarray) -> list[np.ndarray]:
    """The hash of every atom's neighbourhood at radius 0, ..., 4: a running mix of sums over shells."""
    degree = (bonds > 0).sum(2).astype(np.uint64)
    atom = _mix(labels * np.uint64(1024) + degree)
    first, second, third = np.nonzero(np.triu(bonds > 0))
    bond = _mix(bonds[first, second, third] + np.uint64(1 << 32))
    code = _mix(atom)
    found = [code]
    for radius in range(1, RADIUS + 1):
        ends = distance[first, :, second], distance[first, :, third]
        nearest = np.where((ends[0] >= 0) & (ends[1] >= 0), np.minimum(*ends), np.maximum(*ends))
        is_shell = nearest == radius - 1
        edges = np.zeros_like(code)
        np.add.at(edges, first, np.where(is_shell, bond[:, None], np.uint64(0)))
        atoms = np.where(distance == radius, atom[:, None, :], np.uint64(0)).sum(2, dtype=np.uint64)
        code = _mix(_mix(code + _mix(edges)) + _mix(atoms + np.uint64(7)))
        found.append(code)
    return found


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: 64-bit integers spread over all bits."""
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def fcd(generated: Sequence[str], reference: Sequence[str]) -> float:
    """Frechet ChemNet distance (Preuer et al. 2018); depends on the number of molecules, so sizes must agree."""
    if min(len(generated), len(reference)) < 2:
        raise DataError(f"expected at least 2 molecules in each set for FCD, got {len(generated)}, {len(reference)}")
    return frechet(moments(generated), moments(reference))


def fcd_interval(generated: Sequence[str], reference: Sequence[str], *, resamples: int = 50, seed: int = 0) -> Interval:
    """`fcd` with an interval."""
    canonical = [text for text in canonical_smiles(generated) if text is not None]
    rows, wanted = activations(canonical).astype(np.float64), moments(reference)
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        part = rows[random.integers(len(rows), size=len(rows))]
        draws.append(frechet((part.mean(0), np.cov(part.T)), wanted))
    return around(frechet((rows.mean(0), np.cov(rows.T)), wanted), draws)


def frechet(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> float:
    """|mean1 - mean2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two normal distributions."""
    (mean1, cov1), (mean2, cov2) = one, two
    value, vector = np.linalg.eigh(cov1)
    root = (vector * np.sqrt(np.clip(value, 0, None))) @ vector.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov2 @ root), 0, None)).sum()
    return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * cross)


def moments(smiles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of ChemNet's activations, from the cache where they were computed before."""
    canonical = [text for text in canonical_smiles(smiles) if text is not None]
    if len(canonical) < 2:
        raise DataError(f"expected at least 2 readable molecules for FCD, got {len(canonical)}")
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()[:32]
    path = cache() / "fcd" / f"{digest}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["mean"], arrays["covariance"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink()
    rows = activations(canonical).astype(np.float64)
    mean, covariance = rows.mean(0), np.cov(rows.T)
    _keep(path, mean=mean, covariance=covariance)
    return mean, covariance


def _keep(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def activations(smiles: Sequence[str], batch: int = 256) -> np.ndarray:
    """ChemNet's activations (n x 512), from the package fcd and the weights in it."""
    try:
        from fcd import load_ref_model
        from fcd.utils import SmilesDataset
    except ImportError as error:
        raise ConfigError("expected the package fcd for FCD, it is not installed: pip install 'mogen[fcd]'") from error
    model = load_ref_model().eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(smiles), batch):
            part = SmilesDataset(list(smiles[start : start + batch]))
            rows = torch.from_numpy(np.stack([part[row] for row in range(len(part))])).float()
            found.append(model(rows.transpose(1, 2)).numpy())
    return np.concatenate(found)
