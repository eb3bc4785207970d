"""Batched pointed DAGs: what is built, step by step, and by which actions."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Environment": "environment",
    "FragmentEnvironment": "fragment",
    "AtomEnvironment": "atom",
    "StringEnvironment": "strings",
    "SequenceEnvironment": "sequence",
    "SequenceEdit": "edit",
    "HyperGrid": "hypergrid",
    "aptamers": "aptamer",
    "Fragment": "vocabulary",
    "Vocabulary": "vocabulary",
    "Trajectories": "rollout",
    "Actor": "rollout",
    "UniformActor": "rollout",
    "exact_policy": "exact",
    "exact_front": "exact",
    "check_environment": "contract",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its module when it is first asked for (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
