"""What every measurement of a molecule shares: one value per molecule, NaN where there is no molecule."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from rdkit import Chem
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError
from mogen.objective.objective import Objective


class MoleculeObjective(Objective[Molecule]):
    """A number about a molecule, measured molecule by molecule on the parsed form each candidate keeps."""

    @abstractmethod
    def measure(self, mol: Chem.Mol) -> float:
        """The raw value of one molecule; NaN where undefined."""

    def evaluate(self, candidates: Sequence[Molecule]) -> Float[Tensor, " n"]:
        values = [math.nan if molecule.mol is None else float(self.measure(molecule.mol)) for molecule in candidates]
        return torch.tensor(values, dtype=torch.float64)


def standard_reference(smiles: str, where: str) -> str:
    """The standardised SMILES of a reference molecule; raises `ConfigError` where it is none."""
    try:
        return Molecule.from_smiles(smiles).smiles
    except CandidateError as error:
        raise ConfigError(f"{where} needs a reference molecule: {error}") from error
