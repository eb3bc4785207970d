"""Multi-objective generative optimisation: a config in, a Pareto front of real candidates out."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Experiment": "mogen.experiment",
    "FinalSampling": "mogen.experiment",
    "Result": "mogen.experiment",
    "Molecule": "mogen.domain.molecule",
    "Objective": "mogen.objective",
    "ObjectiveSet": "mogen.objective",
    "Evaluation": "mogen.objective",
    "Constraint": "mogen.objective",
    "check_objective": "mogen.objective",
    "check_objective_set": "mogen.objective",
    "check_sampler": "mogen.sampler",
    "load_set": "mogen.objective.set_file",
    "ParetoArchive": "mogen.pareto",
    "hypervolume": "mogen.pareto",
    "Sampler": "mogen.sampler",
    "Samples": "mogen.sampler",
    "Oracle": "mogen.oracle",
    "Ledger": "mogen.oracle",
    "MogenError": "mogen.errors",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its room when it is first asked for (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mogen' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
