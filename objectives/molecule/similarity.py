"""How much a molecule resembles another."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, final

from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from mogen.errors import ConfigError
from objectives.molecule.molecule import MoleculeObjective, standard_reference

FINGERPRINTS: dict[str, Callable[[], Any]] = {
    "ECFP4": lambda: rdFingerprintGenerator.GetMorganGenerator(radius=2),
    "ECFP6": lambda: rdFingerprintGenerator.GetMorganGenerator(radius=3),
    "FCFP4": lambda: rdFingerprintGenerator.GetMorganGenerator(
        radius=2, atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen()
    ),
    "AP": lambda: rdFingerprintGenerator.GetAtomPairGenerator(maxDistance=10),
}
"""name -> generator; used as unfolded counts without chirality, as GuacaMol does (atom pairs up to 10 bonds apart)"""


def similarity(mol: Chem.Mol, reference: str, fingerprint: str) -> float:
    """Tanimoto similarity of unfolded count fingerprints: sum of minima over sum of maxima, 0 to 1."""
    return DataStructs.TanimotoSimilarity(
        _generator(fingerprint).GetSparseCountFingerprint(mol), _reference(reference, fingerprint)
    )


def known_fingerprint(name: str) -> str:
    """The name itself where it is a fingerprint; raises `ConfigError` that names the known ones."""
    if name not in FINGERPRINTS:
        raise ConfigError(f"expected a fingerprint among {', '.join(FINGERPRINTS)}, got {name!r}")
    return name


@final
class TanimotoSimilarity(MoleculeObjective):
    """Tanimoto similarity to a reference molecule, 0 to 1.

    s = T(counts, counts of the reference); with `clip`, min(s / clip, 1): more than `clip` is not asked for.
    """

    source = "Brown et al. 2019 (GuacaMol): unfolded count fingerprints, no chirality"

    def __init__(
        self,
        reference: str,
        fingerprint: str = "ECFP4",
        clip: float | None = None,
        *,
        name: str = "similarity",
        worst: float = 0.0,
        best: float = 1.0,
    ) -> None:
        if clip is not None and not 0 < clip <= 1:
            raise ConfigError(f"the clip of a similarity must be above 0 and at most 1, got {clip}")
        self.reference = standard_reference(reference, "a similarity")
        self.fingerprint, self.clip = known_fingerprint(fingerprint), clip
        self.name = name
        self.worst, self.best = float(worst), float(best)
        self.parameters = {
            "reference": self.reference,
            "fingerprint": fingerprint,
            "clip": None if clip is None else float(clip),
        }

    def measure(self, mol: Chem.Mol) -> float:
        value = similarity(mol, self.reference, self.fingerprint)
        return value if self.clip is None else min(value / self.clip, 1.0)


@final
class ScaffoldMatch(MoleculeObjective):
    """1 where the molecule has the Bemis-Murcko scaffold of the reference, else 0.

    Stereochemistry is ignored; `generic` also ignores elements and bond orders.
    """

    source = "Bemis and Murcko 1996 (RDKit MurckoScaffold)"

    def __init__(
        self,
        reference: str,
        generic: bool = False,
        *,
        name: str = "scaffold_match",
        worst: float = 0.0,
        best: float = 1.0,
    ) -> None:
        self.reference = standard_reference(reference, "a scaffold match")
        self.generic, self.name = bool(generic), name
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"reference": self.reference, "generic": self.generic}
        if not _scaffold_of(self.reference, self.generic):
            raise ConfigError(f"a scaffold match needs a reference with a ring, got {reference!r}")

    def measure(self, mol: Chem.Mol) -> float:
        return float(scaffold(mol, self.generic) == _scaffold_of(self.reference, self.generic))


def scaffold(mol: Chem.Mol, generic: bool = False) -> str:
    """The Bemis-Murcko scaffold as canonical SMILES without stereochemistry; empty where there is no ring."""
    core = MurckoScaffold.GetScaffoldForMol(mol)
    if generic and core.GetNumAtoms():
        core = MurckoScaffold.GetScaffoldForMol(MurckoScaffold.MakeScaffoldGeneric(core))
    return Chem.MolToSmiles(core, isomericSmiles=False)


@cache
def _scaffold_of(reference: str, generic: bool) -> str:
    return scaffold(Chem.MolFromSmiles(reference), generic)


@cache
def _generator(fingerprint: str) -> Any:
    return FINGERPRINTS[fingerprint]()


@cache
def _reference(smiles: str, fingerprint: str) -> Any:
    return _generator(fingerprint).GetSparseCountFingerprint(Chem.MolFromSmiles(smiles))
