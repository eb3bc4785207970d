"""Named sets of objectives, each a YAML file beside this one: which objectives, with which worst and best."""

from __future__ import annotations

from pathlib import Path

from mogen.domain.molecule import Molecule
from mogen.objective import ObjectiveSet, load_set


def druglike() -> ObjectiveSet[Molecule]:
    """QED, synthetic accessibility and molecular weight, normalised as in the MOGFN papers: a saturated smoke test."""
    return _load("druglike")


def fexofenadine() -> ObjectiveSet[Molecule]:
    """GuacaMol's fexofenadine components (similar, polar, not too greasy) and synthetic accessibility."""
    return _load("fexofenadine")


def osimertinib() -> ObjectiveSet[Molecule]:
    """GuacaMol's osimertinib components (similar but not the same, polar, not greasy) and synthetic accessibility."""
    return _load("osimertinib")


def perindopril() -> ObjectiveSet[Molecule]:
    """GuacaMol's perindopril components (similar, with two aromatic rings) and synthetic accessibility."""
    return _load("perindopril")


def _load(name: str) -> ObjectiveSet[Molecule]:
    return load_set(str(Path(__file__).parent / f"{name}.yaml"))
