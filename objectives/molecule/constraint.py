"""What a molecule must be, whatever it scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import final

import torch
from jaxtyping import Bool
from rdkit import Chem, rdBase
from rdkit.Chem import rdMolDescriptors
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError
from mogen.objective.constraint import Constraint


class MoleculeConstraint(Constraint[Molecule]):
    """A condition on a molecule, looked at molecule by molecule; what is no molecule does not pass."""

    @abstractmethod
    def holds(self, mol: Chem.Mol) -> bool:
        """True where one molecule passes."""

    def passes(self, candidates: Sequence[Molecule]) -> Bool[Tensor, " n"]:
        outcome = [molecule.mol is not None and bool(self.holds(molecule.mol)) for molecule in candidates]
        return torch.tensor(outcome, dtype=torch.bool)


@final
class Valence(MoleculeConstraint):
    """Every atom has a valence RDKit accepts and no unpaired electron."""

    name = "valence"
    source = "RDKit DetectChemistryProblems, radical electrons"

    def holds(self, mol: Chem.Mol) -> bool:
        if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
            return False
        return not Chem.DetectChemistryProblems(mol)


@final
class SizeLimit(MoleculeConstraint):
    """The number of heavy atoms lies between `minimum` and `maximum`, both included."""

    name = "size"
    source = "heavy atom count (RDKit)"

    def __init__(self, minimum: int = 1, maximum: int = 50) -> None:
        if not 0 <= minimum <= maximum:
            raise ConfigError(f"a size limit needs 0 <= minimum <= maximum, got {minimum} and {maximum}")
        self.minimum, self.maximum = int(minimum), int(maximum)
        self.parameters = {"minimum": self.minimum, "maximum": self.maximum}

    def holds(self, mol: Chem.Mol) -> bool:
        return self.minimum <= mol.GetNumHeavyAtoms() <= self.maximum


@final
class MolecularWeightLimit(MoleculeConstraint):
    """The molecular weight lies between `minimum` and `maximum` g/mol, both included."""

    name = "molecular_weight"
    source = "average molecular weight with hydrogens (RDKit MolWt)"

    def __init__(self, minimum: float = 0.0, maximum: float = 500.0) -> None:
        if not 0 <= minimum <= maximum:
            raise ConfigError(f"a molecular weight limit needs 0 <= minimum <= maximum, got {minimum} and {maximum}")
        self.minimum, self.maximum = float(minimum), float(maximum)
        self.parameters = {"minimum": self.minimum, "maximum": self.maximum}

    def holds(self, mol: Chem.Mol) -> bool:
        return self.minimum <= rdMolDescriptors._CalcMolWt(mol) <= self.maximum


@final
class StructuralAlerts(MoleculeConstraint):
    """No pattern of the named alert catalogues is found.

    Catalogues are RDKit's: PAINS (or PAINS_A, _B, _C), BRENK, NIH, ZINC, CHEMBL and its parts.
    """

    name = "structural_alerts"
    source = "RDKit FilterCatalog: Baell and Holloway 2010 (PAINS), Brenk et al. 2008 (BRENK)"

    def __init__(self, catalogs: Sequence[str] = ("PAINS", "BRENK")) -> None:
        known = FilterCatalogParams.FilterCatalogs.names
        if isinstance(catalogs, str) or not catalogs or not set(catalogs) <= set(known):
            raise ConfigError(f"structural alerts need a list of catalogs among {', '.join(known)}, got {catalogs!r}")
        self.catalogs = tuple(sorted(set(catalogs)))
        self.parameters = {"catalogs": list(self.catalogs)}

    def holds(self, mol: Chem.Mol) -> bool:
        return not _catalog(self.catalogs).HasMatch(mol)


@final
class RequiredSubstructure(MoleculeConstraint):
    """The SMARTS pattern occurs at least `minimum` times (unique matches)."""

    name = "required_substructure"
    source = "SMARTS (RDKit GetSubstructMatches)"

    def __init__(self, smarts: str, minimum: int = 1) -> None:
        if not _pattern(smarts).GetNumAtoms():
            raise ConfigError(f"a required substructure needs a valid SMARTS pattern, got {smarts!r}")
        if minimum < 1:
            raise ConfigError(f"a required substructure needs minimum >= 1, got {minimum}")
        self.smarts, self.minimum = smarts, int(minimum)
        self.parameters = {"smarts": smarts, "minimum": self.minimum}

    def holds(self, mol: Chem.Mol) -> bool:
        if self.minimum == 1:
            return mol.HasSubstructMatch(_pattern(self.smarts))
        return len(mol.GetSubstructMatches(_pattern(self.smarts))) >= self.minimum


@cache
def _catalog(names: tuple[str, ...]) -> FilterCatalog:
    parameters = FilterCatalogParams()
    for name in names:
        parameters.AddCatalog(FilterCatalogParams.FilterCatalogs.names[name])
    return FilterCatalog(parameters)


@cache
def _pattern(smarts: str) -> Chem.Mol:
    with rdBase.BlockLogs():
        pattern = Chem.MolFromSmarts(smarts)
    return Chem.Mol() if pattern is None else pattern
