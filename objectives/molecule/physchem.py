"""Plain physicochemical properties, and windows of them that are wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from mogen.errors import ConfigError
from objectives.molecule.molecule import MoleculeObjective


def crippen_logp(mol: Chem.Mol) -> float:
    """The sum of Wildman and Crippen's atom contributions to logP."""
    return rdMolDescriptors.CalcCrippenDescriptors(mol)[0]


PROPERTIES: dict[str, tuple[Callable[[Chem.Mol], float], str, str]] = {
    "logp": (crippen_logp, "log10", "Wildman and Crippen 1999 (RDKit Crippen.MolLogP)"),
    "tpsa": (rdMolDescriptors.CalcTPSA, "A^2", "Ertl et al. 2000, nitrogen and oxygen only (RDKit CalcTPSA)"),
    "mw": (rdMolDescriptors._CalcMolWt, "g/mol", "average molecular weight with hydrogens (RDKit MolWt)"),
    "rings": (rdMolDescriptors.CalcNumRings, "", "smallest set of smallest rings (RDKit CalcNumRings)"),
    "aromatic_rings": (rdMolDescriptors.CalcNumAromaticRings, "", "RDKit CalcNumAromaticRings"),
    "hbd": (rdMolDescriptors.CalcNumHBD, "", "hydrogen-bond donors (RDKit CalcNumHBD)"),
    "hba": (rdMolDescriptors.CalcNumHBA, "", "hydrogen-bond acceptors (RDKit CalcNumHBA)"),
    "rotatable_bonds": (
        rdMolDescriptors.CalcNumRotatableBonds,
        "",
        "strict definition, amides do not count (RDKit CalcNumRotatableBonds)",
    ),
}
"""name -> (function of an RDKit molecule, unit, source)"""


def known_property(name: str) -> str:
    """The name itself where it is a property; raises `ConfigError` that names the known ones."""
    if name not in PROPERTIES:
        raise ConfigError(f"expected a property among {', '.join(PROPERTIES)}, got {name!r}")
    return name


@final
class LogP(MoleculeObjective):
    """Octanol-water partition coefficient, log10, by atom contributions."""

    name = "logp"
    unit, source = PROPERTIES["logp"][1:]

    def __init__(self, *, worst: float = 6.0, best: float = 2.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return crippen_logp(mol)


@final
class Tpsa(MoleculeObjective):
    """Topological polar surface area in square angstrom."""

    name = "tpsa"
    unit, source = PROPERTIES["tpsa"][1:]

    def __init__(self, *, worst: float = 200.0, best: float = 60.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors.CalcTPSA(mol)


@final
class MolecularWeight(MoleculeObjective):
    """Average molecular weight in g/mol, hydrogens included."""

    name = "mw"
    unit, source = PROPERTIES["mw"][1:]

    def __init__(self, *, worst: float = 1000.0, best: float = 300.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors._CalcMolWt(mol)


@final
class Rings(MoleculeObjective):
    """Number of rings."""

    name = "rings"
    unit, source = PROPERTIES["rings"][1:]

    def __init__(self, *, worst: float = 8.0, best: float = 3.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors.CalcNumRings(mol)


@final
class AromaticRings(MoleculeObjective):
    """Number of aromatic rings."""

    name = "aromatic_rings"
    unit, source = PROPERTIES["aromatic_rings"][1:]

    def __init__(self, *, worst: float = 6.0, best: float = 2.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors.CalcNumAromaticRings(mol)


@final
class HydrogenBondDonors(MoleculeObjective):
    """Number of hydrogen-bond donors."""

    name = "hbd"
    unit, source = PROPERTIES["hbd"][1:]

    def __init__(self, *, worst: float = 10.0, best: float = 0.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors.CalcNumHBD(mol)


@final
class HydrogenBondAcceptors(MoleculeObjective):
    """Number of hydrogen-bond acceptors."""

    name = "hba"
    unit, source = PROPERTIES["hba"][1:]

    def __init__(self, *, worst: float = 15.0, best: float = 0.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors.CalcNumHBA(mol)


@final
class RotatableBonds(MoleculeObjective):
    """Number of rotatable bonds, strict definition."""

    name = "rotatable_bonds"
    unit, source = PROPERTIES["rotatable_bonds"][1:]

    def __init__(self, *, worst: float = 15.0, best: float = 0.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return rdMolDescriptors.CalcNumRotatableBonds(mol)
