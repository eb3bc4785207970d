"""How much a molecule looks like a drug."""

from __future__ import annotations

from typing import final

from rdkit import Chem
from rdkit.Chem import QED, rdMolDescriptors

from mogen.errors import ConfigError
from objectives.molecule.molecule import MoleculeObjective
from objectives.molecule.physchem import PROPERTIES, crippen_logp, known_property


@final
class Qed(MoleculeObjective):
    """Quantitative estimate of drug-likeness: weighted geometric mean of eight desirabilities, 0 to 1."""

    name = "qed"
    source = "Bickerton et al. 2012, mean weights (RDKit QED.qed)"

    def __init__(self, *, worst: float = 0.0, best: float = 1.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return QED.qed(mol)


@final
class LipinskiViolations(MoleculeObjective):
    """How many of the rule of five's four limits are broken.

    MolWt > 500, Crippen logP > 5, more than 5 NH and OH hydrogens, more than 10 nitrogen and oxygen atoms.
    """

    name = "lipinski_violations"
    source = "Lipinski et al. 1997, his counts of N, O, NH and OH"

    def __init__(self, *, worst: float = 4.0, best: float = 0.0) -> None:
        self.worst, self.best = float(worst), float(best)

    def measure(self, mol: Chem.Mol) -> float:
        return float(
            (rdMolDescriptors._CalcMolWt(mol) > 500)
            + (crippen_logp(mol) > 5)
            + (rdMolDescriptors.CalcNumLipinskiHBD(mol) > 5)
            + (rdMolDescriptors.CalcNumLipinskiHBA(mol) > 10)
        )


@final
class Desirability(MoleculeObjective):
    """How well a property lies in the window that is wanted, 0 to 1.

    d(x) = 1 for low <= x <= high, falling linearly to 0 at low - margin and high + margin.
    """

    source = "Derringer and Suich 1980, two-sided with exponent 1"

    def __init__(
        self,
        property: str,
        low: float,
        high: float,
        margin: float,
        *,
        name: str | None = None,
        worst: float = 0.0,
        best: float = 1.0,
    ) -> None:
        if not low <= high or not margin > 0:
            raise ConfigError(
                f"a desirability window needs low <= high and margin > 0, got low={low}, high={high}, margin={margin}"
            )
        self.property = known_property(property)
        self.low, self.high, self.margin = float(low), float(high), float(margin)
        self.name = name or f"{property}_window"
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"property": property, "low": self.low, "high": self.high, "margin": self.margin}

    def measure(self, mol: Chem.Mol) -> float:
        x = PROPERTIES[self.property][0](mol)
        outside = max(self.low - x, x - self.high, 0.0)
        return max(0.0, 1.0 - outside / self.margin)
