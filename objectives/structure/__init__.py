"""Measurements of protein conformations."""

from objectives.structure.constraint import ValidBackbone as ValidBackbone
from objectives.structure.contacts import Contacts as Contacts
from objectives.structure.contacts import NativeContacts as NativeContacts
from objectives.structure.energy import OpenMMEnergy as OpenMMEnergy
from objectives.structure.geometry import DistanceRestraint as DistanceRestraint
from objectives.structure.geometry import EndToEnd as EndToEnd
from objectives.structure.geometry import RadiusOfGyration as RadiusOfGyration
from objectives.structure.geometry import SecondaryStructure as SecondaryStructure
from objectives.structure.geometry import SurfaceArea as SurfaceArea
from objectives.structure.reference import RmsdTo as RmsdTo
from objectives.structure.reference import TmTo as TmTo
from objectives.structure.structure import BackboneObjective as BackboneObjective
from objectives.structure.structure import CoordinateObjective as CoordinateObjective
