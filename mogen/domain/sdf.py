"""Records of SD files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase


def read_sdf(path: Path | str) -> list[dict[str, Any]]:
    """The properties of every record, and its SMILES under `candidate`: "" where RDKit cannot read it."""
    rows = []
    with rdBase.BlockLogs():
        for mol in Chem.SDMolSupplier(str(path)):
            properties = {} if mol is None else mol.GetPropsAsDict()
            rows.append(properties | {"candidate": "" if mol is None else Chem.MolToSmiles(mol)})
    return rows
