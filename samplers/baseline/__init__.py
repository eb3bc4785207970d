"""Methods that a generator is compared with, under the same accounting."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "RandomPolicy": "random",
    "NSGA2Baseline": "evolution",
    "GraphGA": "graph_ga",
    "Search": "search",
    "Proposal": "search",
    "Learner": "learner",
    "MOReinforce": "reinforce",
    "MOA2C": "a2c",
    "EnvelopeQ": "envelope_q",
    "MARS": "mars",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its module when it is first asked for (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
