"""Classifiers of candidates that fail."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Self, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.surrogate.features import CountFingerprints, Features, TokenWords
from mogen.surrogate.gaussian_process import GaussianProcess
from mogen.surrogate.kernel import Kernel
from mogen.surrogate.surrogate import Observations
from mogen.types import C

_NOISE = 0.1
_SHAPES = (0.01, 0.1)
_UNSEEN = (0.03, 0.1, 0.3, 1.0, 3.0)
HELD_OUT = 0.25
"""share of the candidates, the newest, that tells which of several classifiers foresees failures best"""


class Classifier(ABC, Generic[C]):
    """Foresees which candidates fail."""

    @abstractmethod
    def fit(self, candidates: Sequence[C], failed: Bool[Tensor, " n"]) -> Self:
        """Learns from candidates in the order in which they came."""

    @abstractmethod
    def log_probability(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """log P(valid) of every candidate."""


@final
class Smooth(Classifier[C]):
    """A least-squares Gaussian process classifier of validity (Rasmussen and Williams 6.5).

    Labels are 1 and 0; P(valid) = Phi((mean - 1/2) / sqrt(variance + 0.01)).
    """

    def __init__(self, kernels: Sequence[Kernel] | None = None) -> None:
        self.process: GaussianProcess[C] = GaussianProcess(kernels)

    def fit(self, candidates: Sequence[C], failed: Bool[Tensor, " n"]) -> Self:
        label = (~failed).double()[:, None]
        noise = torch.full_like(label, _NOISE)
        self.process.fit(Observations(list(candidates), label, noise, ~failed, label))
        return self

    def log_probability(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        mean, deviation = self.process.marginal(candidates)
        score = (mean - 0.5) / (deviation**2 + _NOISE**2).sqrt()
        return torch.special.log_ndtr(score[:, 0])


@final
class Alerts(Classifier[C]):
    """P(valid) = exp(-sum of the risks of the parts a candidate contains): a noisy or (Pearl 1988, section 4.3.2).

    The risks are those of the highest posterior density, a convex problem: they minimise sum over valid s_i - sum over
    failed log(1 - exp(-s_i)) + sum_w (a / r risk_w - a log risk_w), s_i the sum of candidate i. A part never seen has
    the risk r, one seen only in c valid candidates a / (a / r + c); the newest ones tell which a and r foresee best.

    Args:
        features: parts of candidates; words of one and two tokens, or atom environments of molecules, if null.
    """

    def __init__(self, features: Features | None = None) -> None:
        self.features = features

    def fit(self, candidates: Sequence[C], failed: Bool[Tensor, " n"]) -> Self:
        """Learns from candidates in the order in which they came."""
        self.features = self.features or default_parts(candidates)
        known, table = self._table(candidates)
        is_failed = failed.numpy()
        first = round((1 - HELD_OUT) * len(candidates))
        self.shape, self.unseen = max(
            itertools.product(_SHAPES, _UNSEEN),
            key=lambda prior: _foreseen(table, is_failed, first, *prior),
        )
        self.known, self.risk = known, _risks(table, is_failed, self.shape, self.unseen)
        return self

    def log_probability(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """log P(valid) of every candidate."""
        parts, table = self._table(candidates)
        place = np.searchsorted(self.known, parts).clip(max=len(self.known) - 1)
        risk = np.where(self.known[place] == parts, self.risk[place], self.unseen)
        return torch.from_numpy(-(table @ risk))

    def _table(self, candidates: Sequence[C]) -> tuple[np.ndarray, Any]:
        """The different parts of candidates, and which candidate has which."""
        from scipy.sparse import csr_matrix

        assert self.features is not None
        sets = self.features(candidates)
        parts = np.unique(sets.members)
        table = csr_matrix(sets.columns(parts), shape=(len(sets), len(parts)))
        table.sum_duplicates()
        table.data[:] = 1.0
        return parts, table


def _risks(table: Any, failed: np.ndarray, shape: float, unseen: float) -> np.ndarray:
    """The risk of every part (column)."""
    from scipy.optimize import minimize

    safe, bad = np.asarray(table[~failed].sum(0)).ravel(), table[failed]
    weight = safe + shape / unseen
    suspect = np.asarray(bad.sum(0)).ravel() > 0  # the others are known in closed form
    bad = bad[:, suspect]
    rest = table[failed][:, ~suspect] @ (shape / weight[~suspect])

    def loss(risk: Any) -> tuple[float, Any]:
        chance = -np.expm1(-np.maximum(bad @ risk + rest, 1e-12))
        value = weight[suspect] @ risk - shape * np.log(risk).sum() - np.log(chance).sum()
        return float(value), weight[suspect] - shape / risk - ((1 - chance) / chance) @ bad

    found = shape / weight
    if suspect.any():
        start, limits = found[suspect], [(1e-9, 20.0)] * int(suspect.sum())
        found[suspect] = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 200}).x
    return found


def _foreseen(table: Any, failed: np.ndarray, first: int, shape: float, unseen: float) -> float:
    """Log-likelihood of the candidates from `first` on, by the risks of those before."""
    if not first:
        return 0.0
    old = np.asarray(table[:first].sum(0)).ravel() > 0
    risk = np.full(table.shape[1], unseen)
    risk[old] = _risks(table[:first][:, old], failed[:first], shape, unseen)
    total = np.maximum(table[first:] @ risk, 1e-12)
    return float(np.where(failed[first:], np.log(-np.expm1(-total)), -total).sum())


def default_parts(candidates: Sequence[Any]) -> Features:
    """Atom environments of radius 1 of molecules; words of one and two tokens of anything else that has a text."""
    from mogen.domain.molecule import Molecule

    if candidates and all(isinstance(item, Molecule) for item in candidates):
        return CountFingerprints(radius=1)
    return TokenWords()
