"""Files for other programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
from rdkit import Chem

from mogen.report import write_candidates, write_front_csv, write_sdf

FRONT = pd.DataFrame(
    {
        "candidate": ["CCO", "c1ccccc1O", "not a molecule"],
        "raw_a<b>": [0.1, 1 / 3, 2.0],
        "utility_a<b>": [0.1, 0.2, 1.0],
    }
)


def test_sdf_holds_molecules_with_coordinates_and_values(tmp_path: Path) -> None:
    path = write_sdf(FRONT, tmp_path / "front.sdf")
    mols = list(Chem.SDMolSupplier(str(path)))
    assert [Chem.MolToSmiles(mol) for mol in mols] == ["CCO", "Oc1ccccc1"]
    assert [mol.GetProp("_Name") for mol in mols] == ["CCO", "c1ccccc1O"]
    assert float(mols[1].GetProp("raw_a_b_")) == 1 / 3
    assert any(abs(x) > 0.5 for x, _, _ in mols[0].GetConformer().GetPositions())


def test_sdf_of_an_empty_front_is_an_empty_file(tmp_path: Path) -> None:
    assert write_sdf(FRONT.head(0), tmp_path / "front.sdf").read_text() == ""


def test_csv_and_parquet_come_back_unchanged(tmp_path: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_csv(write_front_csv(FRONT, tmp_path / "front.csv")), FRONT)
    pd.testing.assert_frame_equal(pd.read_parquet(write_candidates(FRONT, tmp_path / "c.parquet")), FRONT)


def test_importing_the_room_is_light() -> None:
    heavy = ["pandas", "matplotlib", "plotly", "rdkit", "torch", "jinja2"]
    code = f"import sys, mogen.report; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
