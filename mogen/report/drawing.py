"""Drawings of molecules, small enough to carry hundreds in a page."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdkit import Chem

WIDTH, HEIGHT = 260, 180


def parse(key: str) -> Chem.Mol | None:
    """The molecule a candidate's key stands for, or None where it is no SMILES."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(key)
    return mol if mol is not None and mol.GetNumAtoms() else None


def draw(key: str) -> str | None:
    """A drawing of a molecule as a data URI (an SVG image, which cannot run code), or None for other keys."""
    from rdkit.Chem.Draw import rdMolDraw2D

    mol = parse(key)
    if mol is None:
        return None
    drawer = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
    options: Any = drawer.drawOptions()  # RDKit's stubs do not know its attributes
    options.clearBackground = False
    options.bondLineWidth = 1
    options.padding = 0.04
    options.maxFontSize = 14
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol)
    drawer.FinishDrawing()
    return "data:image/svg+xml;base64," + base64.b64encode(drawer.GetDrawingText().encode()).decode("ascii")
