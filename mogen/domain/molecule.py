"""Molecules, standardised once: the same molecule is the same key everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from mogen.errors import CandidateError


@dataclass(frozen=True)
class Molecule:
    """A molecule by its standardised canonical SMILES; build one with `Molecule.from_smiles` or `Molecule.from_mol`.

    Standardisation, in this order: sanitise; keep the largest organic fragment (salts and solvents go); neutralise
    charges that a proton can balance (permanent charges and nitro groups stay); remove explicit hydrogens; write the
    canonical SMILES with the stereochemistry that was given. Tautomers are kept as drawn: two tautomers are two
    molecules.
    """

    smiles: str

    @property
    def key(self) -> str:
        """The standardised canonical SMILES."""
        return self.smiles

    @cached_property
    def mol(self) -> Chem.Mol:
        """The RDKit molecule, parsed from the key so that equal keys give equal values."""
        return Chem.MolFromSmiles(self.smiles)

    def __reduce__(self) -> tuple[type[Molecule], tuple[str]]:
        return Molecule, (self.smiles,)

    @classmethod
    def from_smiles(cls, smiles: str) -> Molecule:
        """The molecule a SMILES describes; raises `CandidateError` where it describes none."""
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(smiles)
        if mol is None or mol.GetNumAtoms() == 0:
            raise CandidateError(f"expected a valid SMILES with at least one atom, got {smiles!r}")
        return cls.from_mol(mol)

    @classmethod
    def from_mol(cls, mol: Chem.Mol) -> Molecule:
        """The molecule an RDKit object describes; raises `CandidateError` where it cannot be sanitised."""
        try:
            return cls(_standard_smiles(mol))
        except (Chem.MolSanitizeException, ValueError) as error:
            raise CandidateError(f"expected a molecule RDKit can sanitise, got {error}") from error


def _standard_smiles(mol: Chem.Mol) -> str:
    smiles = Chem.MolToSmiles(mol)
    has_charge = any(atom.GetFormalCharge() for atom in mol.GetAtoms())
    with rdBase.BlockLogs():
        if "." in smiles or has_charge:
            mol = rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(Chem.Mol(mol))
            mol = rdMolStandardize.Uncharger(canonicalOrder=True).uncharge(mol)
            smiles = Chem.MolToSmiles(mol)
        return _settled(smiles)


def _settled(smiles: str, rounds: int = 4) -> str:
    """Repeats reading and writing until the canonical SMILES is its own canonical SMILES."""
    for _ in range(rounds):
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            raise CandidateError(f"expected a SMILES RDKit can read back, got {smiles!r}")
        again = Chem.MolToSmiles(mol)
        if again == smiles:
            break
        smiles = again
    return smiles
