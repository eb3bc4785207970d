"""mogen doctor: what this installation is made of."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "lightning", "rdkit", "numpy", "moocore", "pymoo", "mol_ga", "jsonargparse", "plotly", "pyarrow")
EXTRAS = {
    "botorch": "Gaussian-process beliefs and acquisitions",
    "torch_geometric": "graph data sets and networks",
    "biotite": "protein structures",
    "ray": "measuring on several machines",
}


def doctor() -> int:
    """Show versions, processors, extras and data folders; the exit code is 1 where something needed is missing."""
    from mogen.run import compiler

    missing = _packages()
    _processors()
    for name, purpose in EXTRAS.items():
        print(f"extra {name:<18} {_installed(name) or 'not installed'} ({purpose})")
    print(f"C compiler               {compiler() or 'not found (graph diffusion is slower, compile: true refused)'}")
    _data()
    return 1 if missing else 0


def _packages() -> list[str]:
    print(f"mogen {_installed('mogen')} on Python {platform.python_version()}, {platform.platform()}")
    found = {name: _installed(name) for name in PACKAGES}
    for name, text in found.items():
        print(f"package {name:<16} {text or 'MISSING'}")
    return [name for name, text in found.items() if text is None]


def _processors() -> None:
    print(f"processors               {os.cpu_count()}")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    print(f"torch threads            {torch.get_num_threads()}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"GPU                      {', '.join(devices) or 'none seen by torch'}")


def _data() -> None:
    from mogen.dataset import folders, listing

    for folder in folders():
        print(f"data folder              {folder}{'' if folder.is_dir() else ' (not there yet)'}")
    found = [item.name for item in listing() if item.path]
    print(f"data sets found          {', '.join(found) or 'none'}")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


COMMAND = doctor
