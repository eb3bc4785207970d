"""Conformations of a structure from a trained model: what `mogen sample MODEL --input FILE` writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mogen.errors import ConfigError


def write_conformations(
    sampler: Any, input: str, out: str, n: int, *, seed: int, chains: str | None, fixed: str | None, format: str
) -> None:
    """A multi-model file and a table of conformations in a folder."""
    import pandas as pd
    import torch

    from mogen.domain.backbone import read_backbones, write_backbones
    from mogen.domain.conformation import radius_of_gyration, rmsd
    from mogen.metric.ensemble import backbone_validity

    if not hasattr(sampler, "conformations"):
        raise ConfigError(f"expected a model of protein conformations for --input, got a {type(sampler).__name__}")
    if format not in ("pdb", "cif"):
        raise ConfigError(f"expected --format pdb or cif, got {format!r}")
    backbone = read_backbones(Path(input), chains=None if chains is None else chains.split(","))[0]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    places = [] if fixed is None else fixed_places(fixed, len(backbone))
    made, starts = sampler.conformations(backbone, n, fixed=places, generator=torch.Generator().manual_seed(seed))
    path = folder / f"conformations.{format}"
    write_backbones(path, made)
    atoms = torch.stack([item.coordinates for item in made])
    bonded = torch.tensor(backbone.is_bonded, dtype=torch.bool)
    rows = [backbone_validity(item[None], bonded) for item in atoms]
    table = {
        "model": range(1, n + 1),
        "noise_time": starts,
        "rmsd_to_input": rmsd(atoms[:, :, 1], backbone.ca).tolist(),
        "radius_of_gyration": radius_of_gyration(atoms[:, :, 1]).tolist(),
        "has_no_clash": [row.clash == 1 for row in rows],
        "has_ca_bonds": [row.bond == 1 for row in rows],
        "peptide_bonds_above_2_0": [row.peptide_above_2_0 for row in rows],
    }
    pd.DataFrame(table).to_csv(folder / "conformations.csv", index=False)
    valid = sum(row.ca == 1 for row in rows)
    print(f"{n} conformations in {path}, {valid} of them without CA clashes or breaks; each noise time in the table")
    print("explored by a model that does not know the sequence: they have no thermodynamic weights", file=sys.stderr)


def fixed_places(text: str, length: int) -> list[int]:
    """Places from 0 of residues such as 1-20,35 (counted along the chain from 1)."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        try:
            start, stop = int(first), int(last or first)
        except ValueError as error:
            raise ConfigError(f"expected residues such as 1-20,35 for --fixed, got {text!r}") from error
        if not 1 <= start <= stop <= length:
            raise ConfigError(f"expected residues from 1 to {length} for --fixed, got {part.strip()!r}")
        found += range(start - 1, stop)
    return sorted(set(found))
