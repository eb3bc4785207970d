"""Score-based generation of graphs by a system of SDEs (GDSS, Jo et al. 2022), and fronts out of it."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "GDSSSampler": "sampler",
    "Steering": "sampler",
    "GraphTraining": "training",
    "NetworkShape": "training",
    "Transformer": "training",
    "Published": "training",
    "GraphKind": "model",
    "GraphModel": "model",
    "PublishedNetwork": "network",
    "GraphTransformer": "transformer",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its file when it is first asked for (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'samplers.gdss' has no attribute {name!r}")
    return getattr(importlib.import_module(f"samplers.gdss.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
