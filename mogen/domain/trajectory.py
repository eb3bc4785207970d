"""Conformations as a trajectory that molecular viewers read: XTC or DCD, where the optional package mdtraj is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mogen.domain.backbone import Backbone, write_backbones
from mogen.errors import ConfigError, DataError

FORMATS = ("xtc", "dcd")


def writer_of(kind: str) -> Any:
    """mdtraj's class for a format; raises `ConfigError` where mdtraj is not installed."""
    try:
        from mdtraj.formats import DCDTrajectoryFile, XTCTrajectoryFile
    except ImportError as error:
        raise ConfigError(
            f"expected the package mdtraj for .{kind} files, it is not installed: pip install 'mogen[trajectories]'"
        ) from error
    return XTCTrajectoryFile if kind == "xtc" else DCDTrajectoryFile


def write_trajectory(path: Path | str, backbones: Sequence[Backbone]) -> Path:
    """Writes one frame per conformation, and beside it a PDB file of the first one, the topology, whose path it gives.

    XTC keeps 0.01 Å, DCD float32. Needs the extra `trajectories`.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise DataError(f"expected a name that ends in .xtc or .dcd for a trajectory, got {path}")
    if not backbones or any(item.residues != backbones[0].residues for item in backbones):
        raise DataError(f"expected conformations of one chain for {path}, got none or different ones")
    writer = writer_of(kind)
    atoms = torch.stack([item.coordinates.flatten(0, 1) for item in backbones]).numpy()
    with writer(str(path), "w", force_overwrite=True) as file:
        file.write(atoms / 10 if kind == "xtc" else atoms)
    topology = path.with_name(f"{path.stem}_topology.pdb")
    write_backbones(topology, backbones[:1])
    return topology
