"""The curves of diversity against a naive twin, and drawings that lose nothing by being small."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from mogen.report.diversity import POINTS, diversity_curve
from mogen.report.drawing import HEIGHT, WIDTH, compact, draw
from mogen.report.folder import RunFolder


def naive_intdiv(smiles: list[str]) -> float:
    """1 - mean similarity over all pairs, one pair at a time."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    return 1 - float(np.mean([DataStructs.TanimotoSimilarity(one, other) for one in bits for other in bits]))


def naive_front(utility: np.ndarray) -> list[int]:
    """Rows that no other row dominates."""
    rows = range(len(utility))
    return [
        i for i in rows if not any((utility[j] >= utility[i]).all() and (utility[j] > utility[i]).any() for j in rows)
    ]


@pytest.mark.parametrize("method", ["mogen", "nsga2"])
def test_curves_agree_with_a_naive_twin(run_folder: Path, method: str) -> None:
    run = RunFolder.read(run_folder)
    curve = diversity_curve(run, method)
    table = run.candidates[run.candidates["method"] == method]
    assert len(curve.asked) == POINTS and curve.asked[-1] == len(table)
    for place in (0, 5, POINTS - 1):
        so_far = table.iloc[: curve.asked[place]]
        so_far = so_far[so_far["valid"]]
        keys = so_far["candidate"].tolist()
        front = naive_front(so_far[[axis.utility for axis in run.axes]].to_numpy())
        assert curve.everything[place] == pytest.approx(naive_intdiv(keys))
        assert curve.front[place] == pytest.approx(naive_intdiv([keys[row] for row in front]))


def test_a_method_that_asked_nothing_has_no_curve(run_folder: Path) -> None:
    assert diversity_curve(RunFolder.read(run_folder), "nobody").asked == []


PICTURE = """<?xml version='1.0'?>
<svg width='260px' height='180px' viewBox='0 0 260 180'>
<path class='bond-0' d='M 1.0,2.5 L 3.0,4.0' style='fill:none;fill-rule:evenodd;stroke:#FF0000;stroke-width:1.0px' />
<path class='bond-1' d='M 5.0,6.0 L 7.0,8.0' style='fill:none;fill-rule:evenodd;stroke:#FF0000;stroke-width:1.0px' />
<path class='atom-1' d='M 9.0 1.0 Q 2.05 3.0, 4.0 5.0 Z' fill='#0000FF'/>
</svg>"""


def test_paths_of_one_style_become_one_path() -> None:
    assert compact(PICTURE) == (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}'>"
        "<path fill='none' stroke='#FF0000' stroke-width='1.0px' d='M1,2.5L3,4M5,6L7,8'/>"
        "<path fill='#0000FF' d='M9 1Q2.05 3, 4 5Z'/></svg>"
    )


def test_a_drawing_is_small_and_well_formed() -> None:
    from xml.etree import ElementTree

    drawing = draw("CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN2CCC(CC2)C(O)(c3ccccc3)c4ccccc4")
    assert drawing is not None and len(drawing) < 8000
    root = ElementTree.fromstring(base64.b64decode(drawing.split(",")[1]))
    fills = [path.get("stroke") or path.get("fill") for path in root]
    assert len(fills) >= 3 and {"#FF0000", "#0000FF"} <= set(fills)
