"""How good is an ensemble of protein conformations?

Conformations are CA positions (k x r x 3) or N, CA, C, O (k x r x 4 x 3), in ångström. Divergences are Jensen-Shannon
*distances* (square root, nats) over the range of the reference; samples outside it fall out of the histogram, so that
the fraction inside is reported beside every one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.domain.conformation import native_contacts as native_contacts
from mogen.domain.conformation import pair_distances, radius_of_gyration, rmsd, superpose, tm_score
from mogen.errors import ShapeError

CLASH = 3.0
"""Å below which two CA clash: 2 * 1.7 - 0.4"""
BOND = 4.2
"""Å above which neighbouring CA are not bonded: 3.8 + 0.4"""


class Divergence(NamedTuple):
    """A Jensen-Shannon distance (nats^1/2, at most 0.833), and the share of samples inside the reference's range."""

    distance: float
    in_support: float


@dataclass(frozen=True)
class Validity:
    """Shares of conformations without CA clashes, with all CA bonds, with both; and of broken peptide bonds."""

    clash: float
    bond: float
    ca: float
    peptide_above_1_4: float | None
    peptide_above_2_0: float | None


def validity(ca: Float[Tensor, "k r 3"], is_bonded: Bool[Tensor, " s"], *, longest: float = BOND) -> Validity:
    """Val-Clash, Val-Bond and Val-CA of CA traces; `is_bonded` says which neighbours belong together (r - 1)."""
    clash, bond = has_no_clash(ca), has_bonds(ca, is_bonded, longest=longest)
    return Validity(_share(clash), _share(bond), _share(clash & bond), None, None)


def backbone_validity(atoms: Float[Tensor, "k r 4 3"], is_bonded: Bool[Tensor, " s"]) -> Validity:
    """The same with the share of peptide bonds (C to the next N) longer than 1.4 and 2.0 Å, over all conformations."""
    plain = validity(atoms[:, :, 1], is_bonded)
    peptide = peptide_bonds(atoms)[:, is_bonded]
    broken = (float((peptide > limit).double().mean()) if peptide.numel() else 0.0 for limit in (1.4, 2.0))
    return Validity(plain.clash, plain.bond, plain.ca, *broken)


def has_no_clash(ca: Float[Tensor, "k r 3"], *, limit: float = CLASH) -> Bool[Tensor, " k"]:
    """No two CA closer than 3 Å."""
    above = torch.ones(ca.shape[1], ca.shape[1], dtype=torch.bool, device=ca.device).triu(1)
    return ~((torch.cdist(ca.double(), ca.double()) < limit) & above).flatten(1).any(1)


def has_bonds(
    ca: Float[Tensor, "k r 3"], is_bonded: Bool[Tensor, " s"], *, longest: float = BOND
) -> Bool[Tensor, " k"]:
    """All neighbouring CA that belong together closer than the longest bond."""
    length = (ca[:, 1:].double() - ca[:, :-1].double()).norm(dim=-1)
    return ~((length >= longest) & is_bonded).any(1)


def peptide_bonds(atoms: Float[Tensor, "k r 4 3"]) -> Float[Tensor, "k s"]:
    """Lengths from C to the next N, Å."""
    return (atoms[:, 1:, 0].double() - atoms[:, :-1, 2].double()).norm(dim=-1)


def js_of_values(
    values: Float[Tensor, "k p"], reference: Float[Tensor, "q p"], *, bins: int = 50, pseudo: float = 1e-6
) -> Divergence:
    """The mean over columns of the distance between histograms over the reference's range (Lu et al. 2024).

    The pseudo-count is added to the density of every bin.
    """
    if values.ndim != 2 or reference.ndim != 2 or values.shape[1] != reference.shape[1]:
        raise ShapeError(f"expected k x p and q x p values, got {tuple(values.shape)} and {tuple(reference.shape)}")
    found = []
    for mine, theirs in zip(values.double().T.numpy(), reference.double().T.numpy(), strict=True):
        edges = np.linspace(
            theirs.min(), theirs.max() if theirs.max() > theirs.min() else theirs.min() + 1e-9, bins + 1
        )
        found.append((_js(_density(mine, edges) + pseudo, _density(theirs, edges) + pseudo), _inside(mine, edges)))
    distances, inside = zip(*found, strict=True)
    return Divergence(float(np.mean(distances)), float(np.mean(inside)))


def js_of_histograms(
    values: Float[Tensor, "k p"],
    histograms: list[Float[Tensor, " h"]],
    width: float,
    *,
    bins: int | None = 50,
    pseudo: float = 1e-6,
) -> Divergence:
    """The same against histograms with bins of one width from 0, whose range is from the first to the last count.

    The counts are put together into so many bins, each where its centre lies; None keeps them as they are.
    """
    found = []
    for mine, counts in zip(values.double().T.numpy(), histograms, strict=True):
        there = counts.nonzero()[:, 0]
        first, last = int(there[0]), int(there[-1]) + 1
        edges = np.linspace(width * first, width * last, (last - first if bins is None else bins) + 1)
        centres = width * (np.arange(first, last) + 0.5)
        theirs, _ = np.histogram(centres, bins=edges, weights=counts[first:last].double().numpy())
        theirs = theirs / (theirs.sum() * np.diff(edges))
        found.append((_js(_density(mine, edges) + pseudo, theirs + pseudo), _inside(mine, edges)))
    distances, inside = zip(*found, strict=True)
    return Divergence(float(np.mean(distances)), float(np.mean(inside)))


def js_pair_distances(ca: Float[Tensor, "k r 3"], reference: Float[Tensor, "q r 3"]) -> Divergence:
    """JS-PwD: pairs at least three residues apart."""
    return js_of_values(pair_distances(ca), pair_distances(reference))


def js_radius_of_gyration(ca: Float[Tensor, "k r 3"], reference: Float[Tensor, "q r 3"]) -> Divergence:
    """JS-Rg."""
    return js_of_values(radius_of_gyration(ca)[:, None], radius_of_gyration(reference)[:, None])


@dataclass(frozen=True)
class Tica:
    """Time-lagged independent components: (features - mean) @ projection."""

    mean: Float[Tensor, " d"]
    projection: Float[Tensor, "d c"]

    def __call__(self, features: Float[Tensor, "k d"]) -> Float[Tensor, "k c"]:
        return (features.double() - self.mean) @ self.projection

    @classmethod
    def fit(cls, features: Float[Tensor, "s d"], *, lag: int, components: int = 2, share: float = 1e-6) -> Tica:
        """The slowest components of a trajectory (Perez-Hernandez et al. 2013), scaled to unit variance.

        C_0 and C_lag are symmetrised over time reversal; directions with less than a share of the largest variance
        are left out.
        """
        if lag < 1 or len(features) <= lag + 1:
            raise ShapeError(f"expected more frames than the lag of {lag}, got {len(features)}")
        early, late = features[:-lag].double(), features[lag:].double()
        mean = (early.mean(0) + late.mean(0)) / 2
        early, late = early - mean, late - mean
        same = (early.T @ early + late.T @ late) / (2 * len(early))
        lagged = (early.T @ late + late.T @ early) / (2 * len(early))
        values, vectors = torch.linalg.eigh(same)
        kept = values > share * values[-1]
        whiten = vectors[:, kept] / values[kept].sqrt()
        _, turned = torch.linalg.eigh(whiten.T @ lagged @ whiten)
        return cls(mean, whiten @ turned.flip(1)[:, :components])


def js_tica(tica: Tica, features: Float[Tensor, "k d"], reference: Float[Tensor, "q d"]) -> Divergence:
    """JS-TIC: one histogram for every component, averaged."""
    return js_of_values(tica(features), tica(reference))


def js_of_density_2d(
    points: Float[Tensor, "k 2"],
    density: Float[Tensor, "x y"],
    x_edges: Float[Tensor, " e"],
    y_edges: Float[Tensor, " f"],
    *,
    pseudo: float = 1e-6,
) -> Divergence:
    """The joint distance between points and a reference density in the plane."""
    edges = [x_edges.double().numpy(), y_edges.double().numpy()]
    counts, _ = np.histogramdd(points.double().numpy(), bins=edges)
    theirs = density.double().numpy() * np.outer(np.diff(edges[0]), np.diff(edges[1]))
    mine = counts / max(counts.sum(), 1)
    distance = _js(mine.ravel() + pseudo / mine.size, theirs.ravel() / theirs.sum() + pseudo / mine.size)
    return Divergence(distance, float(counts.sum() / max(len(points), 1)))


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values, bins=edges)
    return counts / (max(counts.sum(), 1) * np.diff(edges))


def _inside(values: np.ndarray, edges: np.ndarray) -> float:
    return float(((values >= edges[0]) & (values <= edges[-1])).mean()) if len(values) else 0.0


def _js(p: np.ndarray, q: np.ndarray) -> float:
    """The Jensen-Shannon distance in nats^1/2."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    kl = [np.where(part > 0, part * np.log(np.where(part > 0, part, 1) / middle), 0).sum() for part in (p, q)]
    return float(np.sqrt(max(0.0, sum(kl) / 2)))


def pairwise_rmsd(a: Float[Tensor, "k r 3"], b: Float[Tensor, "q r 3"]) -> Float[Tensor, "k q"]:
    """RMSD of every pair."""
    return torch.stack([rmsd(item[None], b) for item in a]) if len(a) else torch.zeros(0, len(b), dtype=torch.float64)


def tm_scores(a: Float[Tensor, "k r 3"], b: Float[Tensor, "q r 3"]) -> Float[Tensor, "k q"]:
    """TM-score of every pair."""
    rows = [[tm_score(one, other) for other in b] for one in a]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(a), len(b))


class Matching(NamedTuple):
    """MAT-P: mean over samples of the smallest RMSD to the reference; MAT-R: the same the other way round (Å)."""

    precision: float
    recall: float


def matching(ca: Float[Tensor, "k r 3"], reference: Float[Tensor, "q r 3"]) -> Matching:
    """MAT-P and MAT-R."""
    distance = pairwise_rmsd(ca, reference)
    return Matching(float(distance.amin(1).mean()), float(distance.amin(0).mean()))


def ensemble_tm(ca: Float[Tensor, "k r 3"], states: Float[Tensor, "q r 3"]) -> float:
    """TM_ens: for every state the best TM-score of a sample, averaged."""
    return float(tm_scores(ca, states).amax(0).mean())


def ensemble_rmsd(ca: Float[Tensor, "k r 3"], states: Float[Tensor, "q r 3"]) -> float:
    """RMSD_ens: for every state the smallest RMSD of a sample, averaged (Å)."""
    return float(pairwise_rmsd(ca, states).amin(0).mean())


def mean_pairwise_rmsd(ca: Float[Tensor, "k r 3"]) -> float:
    """The mean RMSD over pairs of different conformations; its difference to a reference's is MAE-RMSD."""
    return _off_diagonal(pairwise_rmsd(ca, ca))


def mean_pairwise_tm(ca: Float[Tensor, "k r 3"]) -> float:
    """The mean TM-score over pairs of different conformations; its difference to a reference's is MAE-TM."""
    return _off_diagonal(tm_scores(ca, ca))


def _off_diagonal(matrix: Float[Tensor, "k k"]) -> float:
    k = len(matrix)
    return float((matrix.sum() - matrix.diagonal().sum()) / (k * (k - 1))) if k > 1 else float("nan")


def rmsf(ca: Float[Tensor, "k r 3"], *, rounds: int = 5) -> Float[Tensor, " r"]:
    """Root mean square fluctuation of every residue about the mean structure (Å), superposed on the mean in rounds."""
    ca = ca.double()
    mean = ca[0]
    for _ in range(rounds):
        ca = superpose(ca, mean)
        mean = ca.mean(0)
    return (ca - mean).square().sum(-1).mean(0).sqrt()


def rmsf_correlation(ca: Float[Tensor, "k r 3"], reference: Float[Tensor, "q r 3"]) -> float:
    """Pearson correlation of the RMSF of residues; NaN where one does not vary."""
    a, b = rmsf(ca), rmsf(reference)
    a, b = a - a.mean(), b - b.mean()
    return float((a @ b) / (a.norm() * b.norm()))


def contacts(ca: Float[Tensor, "k r 3"], *, cutoff: float = 8.0, apart: int = 3) -> Float[Tensor, " p"]:
    """The share of conformations in which every pair of CA at least so many residues apart is within the cutoff."""
    return (pair_distances(ca, apart=apart) < cutoff).double().mean(0)


class ContactChanges(NamedTuple):
    """Jaccard indices with the reference, of contacts that break (weak) and that form (transient); 1 where none do."""

    weak: float
    transient: float


def contact_changes(
    ca: Float[Tensor, "k r 3"], reference: Float[Tensor, "q r 3"], start: Float[Tensor, "r 3"]
) -> ContactChanges:
    """Weak: in the start structure, and in less than 90 % of conformations; transient: not, and in more than 10 %."""
    before = contacts(start[None]) > 0
    shares = [contacts(item) for item in (ca, reference)]
    weak, transient = [before & (share < 0.9) for share in shares], [~before & (share > 0.1) for share in shares]
    return ContactChanges(_jaccard(*weak), _jaccard(*transient))


def _jaccard(a: Bool[Tensor, " p"], b: Bool[Tensor, " p"]) -> float:
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0


def _share(flags: Bool[Tensor, " k"]) -> float:
    return float(flags.double().mean()) if len(flags) else float("nan")
