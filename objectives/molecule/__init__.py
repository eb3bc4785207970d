"""Measurements of small molecules."""

from objectives.molecule.constraint import MolecularWeightLimit as MolecularWeightLimit
from objectives.molecule.constraint import RequiredSubstructure as RequiredSubstructure
from objectives.molecule.constraint import SizeLimit as SizeLimit
from objectives.molecule.constraint import StructuralAlerts as StructuralAlerts
from objectives.molecule.constraint import Valence as Valence
from objectives.molecule.druglikeness import Desirability as Desirability
from objectives.molecule.druglikeness import LipinskiViolations as LipinskiViolations
from objectives.molecule.druglikeness import Qed as Qed
from objectives.molecule.guacamol import ModifiedProperty as ModifiedProperty
from objectives.molecule.guacamol import ModifiedSimilarity as ModifiedSimilarity
from objectives.molecule.molecule import MoleculeObjective as MoleculeObjective
from objectives.molecule.physchem import AromaticRings as AromaticRings
from objectives.molecule.physchem import HydrogenBondAcceptors as HydrogenBondAcceptors
from objectives.molecule.physchem import HydrogenBondDonors as HydrogenBondDonors
from objectives.molecule.physchem import LogP as LogP
from objectives.molecule.physchem import MolecularWeight as MolecularWeight
from objectives.molecule.physchem import Rings as Rings
from objectives.molecule.physchem import RotatableBonds as RotatableBonds
from objectives.molecule.physchem import Tpsa as Tpsa
from objectives.molecule.similarity import ScaffoldMatch as ScaffoldMatch
from objectives.molecule.similarity import TanimotoSimilarity as TanimotoSimilarity
from objectives.molecule.synthesis import SAScore as SAScore
from objectives.molecule.synthesis import SCScore as SCScore
