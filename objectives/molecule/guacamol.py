"""The pieces GuacaMol's multi-property tasks are made of: a property or a similarity, shaped by a Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

from rdkit import Chem

from mogen.errors import ConfigError
from objectives.molecule.molecule import MoleculeObjective, standard_reference
from objectives.molecule.physchem import PROPERTIES, known_property
from objectives.molecule.similarity import known_fingerprint, similarity


def gaussian(x: float, mu: float, sigma: float) -> float:
    """exp(-((x - mu) / sigma)^2 / 2): as near to mu as possible."""
    return math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def min_gaussian(x: float, mu: float, sigma: float) -> float:
    """1 up to mu, above it the Gaussian: small enough is enough."""
    return 1.0 if x <= mu else gaussian(x, mu, sigma)


def max_gaussian(x: float, mu: float, sigma: float) -> float:
    """1 from mu on, below it the Gaussian: large enough is enough."""
    return 1.0 if x >= mu else gaussian(x, mu, sigma)


MODIFIERS: dict[str, Callable[[float, float, float], float]] = {
    "gaussian": gaussian,
    "min_gaussian": min_gaussian,
    "max_gaussian": max_gaussian,
}


@final
class ModifiedProperty(MoleculeObjective):
    """A property shaped by `gaussian` (near mu), `min_gaussian` (up to mu) or `max_gaussian` (from mu), 0 to 1."""

    source = "Brown et al. 2019 (GuacaMol), score modifiers"

    def __init__(
        self,
        property: str,
        modifier: str,
        mu: float,
        sigma: float,
        *,
        name: str | None = None,
        worst: float = 0.0,
        best: float = 1.0,
    ) -> None:
        self.property, self.modifier = known_property(property), _known_modifier(modifier, sigma)
        self.mu, self.sigma = float(mu), float(sigma)
        self.name = name or f"{property}_{modifier}"
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"property": property, "modifier": modifier, "mu": self.mu, "sigma": self.sigma}

    def measure(self, mol: Chem.Mol) -> float:
        return MODIFIERS[self.modifier](PROPERTIES[self.property][0](mol), self.mu, self.sigma)


@final
class ModifiedSimilarity(MoleculeObjective):
    """A Tanimoto similarity to a reference, shaped by a Gaussian, 0 to 1."""

    source = "Brown et al. 2019 (GuacaMol), score modifiers; unfolded count fingerprints, no chirality"

    def __init__(
        self,
        reference: str,
        fingerprint: str,
        modifier: str,
        mu: float,
        sigma: float,
        *,
        name: str | None = None,
        worst: float = 0.0,
        best: float = 1.0,
    ) -> None:
        self.reference = standard_reference(reference, "a similarity")
        self.fingerprint, self.modifier = known_fingerprint(fingerprint), _known_modifier(modifier, sigma)
        self.mu, self.sigma = float(mu), float(sigma)
        self.name = name or f"similarity_{modifier}"
        self.worst, self.best = float(worst), float(best)
        self.parameters = {
            "reference": self.reference,
            "fingerprint": fingerprint,
            "modifier": modifier,
            "mu": self.mu,
            "sigma": self.sigma,
        }

    def measure(self, mol: Chem.Mol) -> float:
        return MODIFIERS[self.modifier](similarity(mol, self.reference, self.fingerprint), self.mu, self.sigma)


def _known_modifier(name: str, sigma: float) -> str:
    if name not in MODIFIERS:
        raise ConfigError(f"expected a modifier among {', '.join(MODIFIERS)}, got {name!r}")
    if not sigma > 0:
        raise ConfigError(f"the sigma of a modifier must be above 0, got {sigma}")
    return name
