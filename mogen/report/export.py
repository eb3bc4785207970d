"""Tables of a run in forms that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mogen.report.drawing import parse

if TYPE_CHECKING:
    import pandas as pd


def write_front_csv(front: pd.DataFrame, path: Path | str) -> Path:
    """Writes the front as CSV, one row per candidate, with every digit of every number."""
    path = Path(path)
    front.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    return path


def write_candidates(candidates: pd.DataFrame, path: Path | str) -> Path:
    """Writes every asked candidate as Parquet."""
    path = Path(path)
    candidates.to_parquet(path, index=False)
    return path


def write_sdf(front: pd.DataFrame, path: Path | str) -> Path:
    """Writes the molecules of the front with 2-D coordinates, and their values as properties.

    The title of each record is its SMILES. Candidates that are no molecules are left out, so the file may be empty.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    path = Path(path)
    columns = [str(column) for column in front.columns if str(column) != "candidate"]
    with Chem.SDWriter(str(path)) as writer:
        for row in front.to_dict("records"):
            mol = parse(str(row["candidate"]))
            if mol is None:
                continue
            rdDepictor.Compute2DCoords(mol)
            mol.SetProp("_Name", str(row["candidate"]))
            for column in columns:
                mol.SetProp(_property_name(column), f"{row[column]}")
            writer.write(mol)
    return path


def _property_name(column: str) -> str:
    """A name fit for the `> <name>` line of an SD record, which ends at the first `>` or line break."""
    return "".join("_" if mark in "<>\r\n" else mark for mark in column)
