"""Energy of a conformation by molecular mechanics, after side chains were placed."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np

from mogen.domain.backbone import Backbone
from mogen.domain.sidechains import packed
from mogen.errors import ConfigError
from objectives.structure.structure import BackboneObjective


@final
class OpenMMEnergy(BackboneObjective):
    """Potential energy per residue in kJ/mol: ff14SB with implicit solvent (GBn2), OpenMM.

    Side chains are placed by FASPR and hydrogens added (PDBFixer, pH 7), then everything is minimised with N, CA and C
    restrained to where they were (10 kcal/mol/Å^2, which is not part of the value). It is the energy of one structure
    of a force field, not a free energy. Needs the extras `openmm` and `sidechains`; the side chains' rotamer library
    is free for academic users only.

    Args:
        worst: raw value worth nothing.
        best: raw value worth everything.
        iterations: of the minimisation, at most.
        name: what the objective is called, where a set has two of a kind.
    """

    unit, source = "kJ/mol", "OpenMM 8: amber14/protein.ff14SB and implicit/gbn2, restrained minimisation"

    def __init__(
        self, *, worst: float = -100.0, best: float = -300.0, iterations: int = 200, name: str = "openmm_energy"
    ) -> None:
        self.name = name
        self.worst, self.best, self.iterations = float(worst), float(best), int(iterations)
        self.parameters = {"iterations": self.iterations}

    def measure(self, backbone: Backbone) -> float:
        openmm, app, fixer_of = _libraries()
        platform = openmm.Platform.getPlatformByName("Reference")  # the others do not give the same digits twice
        with _seeded():
            fixer = fixer_of(pdbfile=io.StringIO(packed(backbone)))
            fixer.missingResidues = {}
            fixer.findMissingAtoms()
            fixer.addMissingAtoms(seed=1)
            field = app.ForceField("amber14/protein.ff14SB.xml", "implicit/gbn2.xml")
            model = app.Modeller(fixer.topology, fixer.positions)
            model.addHydrogens(field, pH=7.0, platform=platform)
        system = field.createSystem(model.topology, nonbondedMethod=app.NoCutoff)
        anchored = _anchors(openmm, system, model)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(model.positions)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, self.iterations)
        state = context.getState(getEnergy=True, groups=(1 << anchored) - 1)
        return float(state.getPotentialEnergy().value_in_unit(openmm.unit.kilojoule_per_mole)) / len(backbone)


@contextmanager
def _seeded() -> Iterator[None]:
    """Hydrogens start from places drawn with Python's and NumPy's global generators: here always the same ones."""
    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(1)
    np.random.seed(1)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import openmm
        from openmm import app
        from pdbfixer import PDBFixer
    except ImportError as error:
        raise ConfigError(
            "expected the packages openmm and pdbfixer for openmm_energy, they are not installed: "
            "pip install 'mogen[openmm,sidechains]'"
        ) from error
    return openmm, app, PDBFixer


def _anchors(openmm: Any, system: Any, model: Any, group: int = 31) -> int:
    """Springs (10 kcal/mol/Å^2) that hold N, CA and C, in a force group of their own, whose number is returned."""
    force = openmm.CustomExternalForce("0.5 * k * ((x - x0)^2 + (y - y0)^2 + (z - z0)^2)")
    force.addGlobalParameter("k", 4184.0)  # kJ/mol/nm^2
    for name in ("x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    for atom in model.topology.atoms():
        if atom.name in ("N", "CA", "C"):
            force.addParticle(atom.index, model.positions[atom.index].value_in_unit(openmm.unit.nanometer))
    force.setForceGroup(group)
    system.addForce(force)
    return group
