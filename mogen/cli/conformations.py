"""Conformations of a structure from a trained model: what `mogen sample MODEL --input FILE` writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mogen.errors import ConfigError

if TYPE_CHECKING:
    from mogen.domain.backbone import Backbone

FORMATS = ("pdb", "cif", "xtc", "dcd")


def write_conformations(
    sampler: Any,
    input: str,
    out: str,
    n: int,
    *,
    seed: int = 0,
    chains: str | None = None,
    fixed: str | None = None,
    format: str = "pdb",
    relax: bool = False,
    pack: bool = False,
) -> None:
    """A file of all conformations and a table of them in a folder; with side chains a second file."""
    import pandas as pd
    import torch

    from mogen.domain.backbone import read_backbone
    from mogen.domain.conformation import radius_of_gyration, rmsd
    from mogen.domain.relaxation import relaxed
    from mogen.metric.ensemble import backbone_validity

    if not hasattr(sampler, "conformations"):
        raise ConfigError(f"expected a model of protein conformations for --input, got a {type(sampler).__name__}")
    if format not in FORMATS:
        raise ConfigError(f"expected --format pdb, cif, xtc or dcd, got {format!r}")
    if fixed is not None and relax:
        raise ConfigError("expected either --fixed or --relax, got both: relaxing would move what is fixed")
    backbone = read_backbone(Path(input), chains=None if chains is None else chains.split(","))
    check_extras(backbone, format, pack)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    places = [] if fixed is None else fixed_places(fixed, len(backbone))
    made, starts = sampler.conformations(backbone, n, fixed=places, generator=torch.Generator().manual_seed(seed))
    made = relaxed(made) if relax else made
    path = folder / f"conformations.{format}"
    write_file(path, made, pack=pack)
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
        "peptide_bonds_above_1_4": [row.peptide_above_1_4 for row in rows],
        "peptide_bonds_above_2_0": [row.peptide_above_2_0 for row in rows],
    }
    pd.DataFrame(table).to_csv(folder / "conformations.csv", index=False)
    valid = sum(row.ca == 1 for row in rows)
    if relax:
        print("peptide bonds relaxed; no CA moved by 0.3 Å or more", file=sys.stderr)
    print(f"{n} conformations in {path}, {valid} of them without CA clashes or breaks; each noise time in the table")
    print("explored by a model that does not know the sequence: they have no thermodynamic weights", file=sys.stderr)


def check_extras(backbone: Backbone, format: str, pack: bool) -> None:
    """Says what is missing before anything is computed."""
    from mogen.domain.sidechains import packed
    from mogen.domain.trajectory import writer_of

    if pack:
        packed(backbone)
    if format in ("xtc", "dcd"):
        writer_of(format)


def write_file(path: Path, made: list[Backbone], *, pack: bool) -> None:
    """The conformations in the format the name says; with side chains, packed.pdb beside it."""
    from mogen.domain.backbone import write_backbones
    from mogen.domain.sidechains import write_packed
    from mogen.domain.trajectory import write_trajectory

    if path.suffix in (".xtc", ".dcd"):
        write_trajectory(path, made)
    else:
        write_backbones(path, made)
    if pack:
        write_packed(path.with_name("packed.pdb"), made)


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
