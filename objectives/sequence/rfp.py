"""A stand-in for FoldX on red fluorescent proteins: an ensemble trained on published labels, never FoldX itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError, DataError
from mogen.objective.objective import Objective

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
LENGTH = 244
"""longest sequence"""
MOST_SUBSTITUTIONS = 40
"""from the nearest parent of the same length; the labels have at most 30"""
PROPERTIES = {"sasa": "A^2", "stability": "kcal/mol"}


@final
class RfpStandIn(Objective[TokenSequence]):
    """Surface area or stability of a red fluorescent protein, as an ensemble of ridge regressions believes it.

    Not FoldX: five regressions on one-hot places and random rectified features, each on a bootstrap sample of the 4,247
    labelled sequences of up to 244 residues that were published with LaMBO. Held-out RMSE on a random tenth: 30.8 A^2
    (R^2 0.996) and 2.6 kcal/mol (0.993); on sequences with more than 15 substitutions, trained on the others: 120 A^2
    (0.91) and 4.9 kcal/mol (0.97). NaN for other lengths than the parents' and for more than 40 substitutions from the
    nearest parent, where no label is near.

    Args:
        property: sasa (solvent-accessible surface area) or stability (minus the folding energy).
    """

    source = "trained on the labels of Stanton et al. 2022 (LaMBO, Apache-2.0); a stand-in, not FoldX"

    def __init__(
        self,
        property: str = "stability",
        *,
        name: str | None = None,
        worst: float | None = None,
        best: float | None = None,
    ) -> None:
        if property not in PROPERTIES:
            raise ConfigError(f"the RFP stand-in has no property {property!r}; there are {', '.join(PROPERTIES)}")
        scale = {"sasa": (10_000.0, 12_500.0), "stability": (-50.0, 100.0)}[property]
        self.property, self.unit = property, PROPERTIES[property]
        self.name = name or f"rfp_{property}"
        self.worst = scale[0] if worst is None else float(worst)
        self.best = scale[1] if best is None else float(best)
        self.parameters = {"property": property, "weights": weights().digest}

    def evaluate(self, candidates: Sequence[TokenSequence]) -> Float[Tensor, " n"]:
        made = weights()
        value = torch.full((len(candidates),), torch.nan, dtype=torch.float64)
        near = [row for row, item in enumerate(candidates) if made.is_near(item.text)]
        for at in range(0, len(near), 512):
            rows = near[at : at + 512]
            value[rows] = made.members([candidates[row].text for row in rows])[
                :, :, list(PROPERTIES).index(self.property)
            ].mean(0)
        return value

    @property
    def parents(self) -> tuple[str, ...]:
        """The published start: the front of the known structures."""
        return weights().parents

    @property
    def held_out(self) -> dict[str, float]:
        """Root mean squared error and R^2 on the labels that no member saw in a first training (a tenth of them)."""
        return weights().held_out[self.property]


@dataclass(frozen=True)
class Ensemble:
    """Linear readouts of features: mean + (features - centre) w for every member."""

    parents: tuple[str, ...]
    centre: Float[Tensor, "e d"]
    readout: Float[Tensor, "e d 2"]
    offset: Float[Tensor, "e 2"]
    hidden: int
    held_out: dict[str, dict[str, float]]
    digest: str

    def is_near(self, text: str) -> bool:
        """Whether a text is a parent with few substitutions."""
        if not set(text) <= set(AMINO_ACIDS):
            return False
        codes = np.frombuffer(text.encode(), dtype=np.uint8)
        return any(
            len(parent) == len(text)
            and int((np.frombuffer(parent.encode(), dtype=np.uint8) != codes).sum()) <= MOST_SUBSTITUTIONS
            for parent in self.parents
        )

    def members(self, texts: Sequence[str]) -> Float[Tensor, "e n 2"]:
        """What each member believes."""
        found = []
        for k in range(len(self.offset)):
            described = features(texts, k, self.hidden)
            found.append((described - self.centre[k]) @ self.readout[k] + self.offset[k])
        return torch.stack(found)


def features(texts: Sequence[str], member: int, hidden: int) -> Float[Tensor, "n d"]:
    """One-hot residue of every place, and relu(one-hot W + b) with W and b drawn by the member's number."""
    onehot = torch.zeros(len(texts), LENGTH, len(AMINO_ACIDS), dtype=torch.float64)
    for row, text in enumerate(texts):
        codes = torch.tensor([AMINO_ACIDS.index(letter) for letter in text])
        onehot[row, torch.arange(len(text)), codes] = 1
    flat = onehot.flatten(1)
    weight, bias = random_features(member, hidden)
    return torch.cat([flat, (flat @ weight + bias).clamp(min=0)], 1)


@cache
def random_features(member: int, hidden: int) -> tuple[Tensor, Tensor]:
    """W ~ N(0, 0.15^2) and b ~ N(0, 1), times 3 / sqrt(hidden)."""
    made = torch.Generator().manual_seed(7919 + member)
    weight = torch.randn(LENGTH * len(AMINO_ACIDS), hidden, generator=made).double() * 0.15
    scale = 3 / hidden**0.5
    return weight * scale, torch.randn(hidden, generator=made).double() * scale


def fitted(
    texts: Sequence[str], label: Float[Tensor, "n 2"], members: int, hidden: int, penalty: float = 0.3, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, readouts and offsets of ridge regressions on bootstrap samples, in their dual form.

    Labels are standardised, so that the penalty means the same for both.
    """
    mean, spread = label.mean(0), label.std(0)
    centres, readouts, offsets = [], [], []
    made = torch.Generator().manual_seed(seed)
    for k in range(members):
        rows = torch.randint(len(texts), (len(texts),), generator=made)
        described = features([texts[row] for row in rows.tolist()], k, hidden)
        centre, y = described.mean(0), (label[rows] - mean) / spread
        level = y.mean(0)
        centred = described - centre
        kernel = centred @ centred.T + penalty * torch.eye(len(rows), dtype=torch.float64)
        weight = torch.cholesky_solve(y - level, torch.linalg.cholesky(kernel))
        centres.append(centre)
        readouts.append((centred.T @ weight) * spread)
        offsets.append(level * spread + mean)
    return torch.stack(centres), torch.stack(readouts), torch.stack(offsets)


@cache
def weights() -> Ensemble:
    """The shipped ensemble."""
    path = Path(__file__).parent / "rfp_standin.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise DataError(f"the weights of the RFP stand-in cannot be read from {path}: {error}") from error
    held_out = {
        name: {"rmse": float(arrays["rmse"][k]), "r2": float(arrays["r2"][k]), "labels": float(arrays["labels"])}
        for k, name in enumerate(PROPERTIES)
    }
    centre, readout, offset = (torch.from_numpy(arrays[key]).double() for key in ("centre", "readout", "offset"))
    parents = tuple(str(text) for text in arrays["parents"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Ensemble(parents, centre, readout, offset, int(arrays["hidden"]), held_out, digest)
