"""What a run was made with."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import torch

PACKAGES = ("mogen", "torch", "lightning", "rdkit", "numpy", "moocore", "pymoo", "botorch")


def versions() -> dict[str, Any]:
    """Versions of Python and of the packages numbers depend on, the platform, threads and GPU (null where none)."""
    found: dict[str, Any] = {"python": platform.python_version()}
    found.update({name: version for name in PACKAGES if (version := installed(name)) is not None})
    found["platform"] = platform.platform()
    found["threads"] = torch.get_num_threads()
    found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return found


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
