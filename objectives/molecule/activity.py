"""Activity against proteins, as published models predict it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from torch import Tensor

from mogen.dataset.molecules import locate
from mogen.dataset.published import load_published
from mogen.domain.molecule import Molecule
from mogen.errors import DataError
from mogen.objective.objective import Objective
from objectives.molecule.forest import Forest
from objectives.molecule.message_passing import MolecularGraph, SehNetwork, is_representable

CHUNK = 128
"""molecules in one pass of the network"""
SEH = "seh_proxy_bengio2021"
HOW = {
    SEH: "best_params.pkl.gz of github.com/GFNOrg/gflownet (mols/data/pretrained_proxy), or its arrays as .npz",
    "gsk3b_rf": "an .npz file of the GSK3b forest (make one with objectives.molecule.forest.save_forest)",
    "jnk3_rf": "an .npz file of the JNK3 forest (make one with objectives.molecule.forest.save_forest)",
}
"""what to import under each name"""


@final
class Seh(Objective[Molecule]):
    """Predicted binding to soluble epoxide hydrolase: the proxy of the GFlowNet papers, about 0 to 8 and above.

    The papers' reward is value / 8, which passes 1 for the best molecules; here a utility ends at 1. Molecules with
    elements beyond barium are NaN. Computed in float64, so that company in a batch changes nothing.

    Args:
        weights: the published file (a pickle of arrays, which is never executed, or an .npz); by default the data set
            seh_proxy_bengio2021.
        device: where the network runs: cpu, cuda, ...
    """

    name = "seh"
    source = "Bengio et al. 2021, message-passing proxy of docking scores against 4JNC"

    def __init__(
        self, weights: str | None = None, *, device: str = "cpu", worst: float = 0.0, best: float = 8.0
    ) -> None:
        self.weights, self.device = str(found(SEH, weights)), device
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"weights_sha256": _fingerprint(self.weights)}

    @torch.inference_mode()
    def evaluate(self, candidates: Sequence[Molecule]) -> Float[Tensor, " n"]:
        values = torch.full((len(candidates),), torch.nan, dtype=torch.float64)
        rows = [row for row, molecule in enumerate(candidates) if is_representable(molecule.mol)]
        rows.sort(key=lambda row: candidates[row].mol.GetNumAtoms())
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            graph = MolecularGraph.of([candidates[row].mol for row in part])
            moved = MolecularGraph(*(value.to(self.device) for value in vars(graph).values()))
            values[part] = _network(self.weights, self.device)(moved).cpu()
        return values


class ForestActivity(Objective[Molecule]):
    """The share of trees of a random forest that call a molecule active, by its Morgan bits (radius 2, 2048)."""

    forest: str

    def __init__(self, forest: str | None = None, *, worst: float = 0.0, best: float = 1.0) -> None:
        self.path = str(found(type(self).forest, forest))
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"forest_sha256": _fingerprint(self.path)}

    def evaluate(self, candidates: Sequence[Molecule]) -> Float[Tensor, " n"]:
        values = torch.full((len(candidates),), torch.nan, dtype=torch.float64)
        rows = [row for row, molecule in enumerate(candidates) if molecule.mol is not None]
        for start in range(0, len(rows), 1024):
            part = rows[start : start + 1024]
            bits = np.stack([_bits(candidates[row].mol) for row in part])
            values[part] = torch.from_numpy(_forest(self.path).score(bits))
        return values


@final
class Gsk3b(ForestActivity):
    """Predicted inhibition of glycogen synthase kinase 3 beta, 0 to 1.

    `forest` is an .npz file of trees; by default the data set gsk3b_rf.
    """

    name = "gsk3b"
    source = "Li, Zhang and Liu 2018: random forest on ExCAPE-DB labels, as in TDC (Huang et al. 2021)"
    forest = "gsk3b_rf"


@final
class Jnk3(ForestActivity):
    """Predicted inhibition of c-Jun N-terminal kinase 3, 0 to 1.

    `forest` is an .npz file of trees; by default the data set jnk3_rf.
    """

    name = "jnk3"
    source = "Li, Zhang and Liu 2018: random forest on ExCAPE-DB labels, as in TDC (Huang et al. 2021)"
    forest = "jnk3_rf"


def found(name: str, given: str | None) -> Path:
    """The file given, or the one of a name in the data folders; raises `DataError` that says how to get one."""
    if given is not None:
        if not Path(given).is_file():
            raise DataError(f"expected a file for {name}, but there is none at {given}")
        return Path(given)
    try:
        return locate(name)
    except DataError as error:
        raise DataError(
            f"there is no {name} in the folder that MOGEN_DATA names or among imported data: bring it with "
            f"`mogen data import {name} FILE`, FILE being {HOW[name]}"
        ) from error


@cache
def _network(path: str, device: str) -> SehNetwork:
    content = load_published(path)
    if isinstance(content, dict):
        content = [content[name] for name in sorted(content)]
    if not isinstance(content, list) or not all(isinstance(item, Tensor) for item in content):
        raise DataError(f"expected the 22 arrays of the sEH proxy in {path}, got {type(content).__name__}")
    return SehNetwork.of(content, path).to(device)


@cache
def _forest(path: str) -> Forest:
    return Forest.read(Path(path))


@cache
def _morgan() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)


def _bits(mol: Chem.Mol) -> np.ndarray:
    return _morgan().GetFingerprintAsNumPy(mol)


def _fingerprint(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
