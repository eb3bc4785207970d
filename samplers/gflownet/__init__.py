"""GFlowNets: policies that build candidates in proportion to a reward under a preference."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "GFlowNetSampler": "sampler",
    "GFlowNetModule": "module",
    "HistoryTransformer": "networks.fragment",
    "TreeTransformer": "networks.fragment",
    "MLP": "networks.mlp",
    "CausalTransformer": "networks.sequence",
    "EditTransformer": "networks.sequence",
    "AtomTransformer": "networks.atom",
    "default_network": "networks.default",
    "Network": "policy",
    "Policy": "policy",
    "StatePolicy": "policy",
    "LogPartition": "policy",
    "TrajectoryLoss": "loss",
    "TrajectoryBalance": "loss",
    "SubTrajectoryBalance": "loss",
    "DetailedBalance": "loss",
    "LogPartitionVariance": "loss",
    "FlowMatching": "loss",
    "OrderPreserving": "loss",
    "Asking": "condition",
    "Preferences": "condition",
    "Goals": "condition",
    "Unasked": "condition",
    "InverseTemperature": "condition",
    "ConstantBeta": "condition",
    "UniformBeta": "condition",
    "LogUniformBeta": "condition",
    "GammaBeta": "condition",
    "Replay": "replay",
    "Reward": "reward",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its module when it is first asked for (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
