"""How hard a molecule would be to make."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import final

import numpy as np
from rdkit import Chem, RDConfig
from rdkit.Chem import rdFingerprintGenerator

from mogen.errors import DataError
from objectives.molecule.molecule import MoleculeObjective


@final
class SAScore(MoleculeObjective):
    """Synthetic accessibility from fragment frequencies and complexity: 1 is easy, 10 is hard."""

    name = "sa"
    source = "Ertl and Schuffenhauer 2009 (RDKit Contrib SA_Score)"

    def __init__(self, *, worst: float = 10.0, best: float = 1.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        score = _sascorer().calculateScore(mol)
        return math.nan if score is None else score


@final
class SCScore(MoleculeObjective):
    """Synthetic complexity learned from reactions: 1 is simple, 5 is complex.

    Morgan bits (radius 2, 1024, chirality) through five ReLU layers of 300, then 1 + 4 sigmoid. Weights come from
    `weights`, or else from oracles/scscore_1024bool.npz in the folder that MOGEN_DATA names.
    """

    name = "scscore"
    source = "Coley et al. 2018, the 1024-bit boolean model"

    def __init__(self, *, weights: str | None = None, worst: float = 5.0, best: float = 1.0) -> None:
        self.weights = _scscore_file(weights)
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"weights_sha256": hashlib.sha256(Path(self.weights).read_bytes()).hexdigest()[:16]}

    def measure(self, mol: Chem.Mol) -> float:
        x = _chiral_bits().GetFingerprintAsNumPy(mol).astype(np.float32)
        *hidden, last = _layers(self.weights)
        for weight, bias in hidden:
            x = np.maximum(x @ weight + bias, 0)
        return 1 + 4 / (1 + math.exp(-float((x @ last[0] + last[1])[0])))


@cache
def _sascorer() -> ModuleType:
    """RDKit's own SA_Score script, loaded from its Contrib folder without touching sys.path."""
    path = Path(RDConfig.RDContribDir) / "SA_Score" / "sascorer.py"
    spec = importlib.util.spec_from_file_location("_rdkit_contrib_sascorer", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise DataError(f"the SA score needs RDKit's Contrib file sascorer.py, not found at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _chiral_bits() -> rdFingerprintGenerator.FingerprintGenerator64:
    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024, includeChirality=True)


def _scscore_file(weights: str | None) -> str:
    folder = os.environ.get("MOGEN_DATA")
    if weights is None and not folder:
        raise DataError(
            "SCScore needs its weights, oracles/scscore_1024bool.npz, in the folder that the environment variable "
            "MOGEN_DATA names, but MOGEN_DATA is not set"
        )
    path = Path(weights) if weights is not None else Path(folder or "") / "oracles" / "scscore_1024bool.npz"
    if not path.is_file():
        raise DataError(f"SCScore needs its weights in an .npz file, but there is none at {path}")
    return str(path)


@cache
def _layers(path: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The (weight, bias) pairs in order; raises `DataError` where the file holds something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in sorted(file.files)]
    except (OSError, ValueError) as error:
        raise DataError(f"SCScore cannot read the weights in {path}: {error}") from error
    if len(arrays) != 12 or arrays[0].shape[:1] != (1024,) or arrays[-1].shape != (1,):
        raise DataError(f"SCScore needs 6 weight and 6 bias arrays from 1024 bits to 1 score in {path}")
    return tuple(zip(arrays[::2], arrays[1::2], strict=True))
