"""Drawings of molecules, small enough to carry hundreds in a page."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdkit import Chem

WIDTH, HEIGHT = 260, 180
DEFAULTS = {
    "fill": "#000000",
    "stroke": "none",
    "stroke-width": "1",
    "stroke-linecap": "butt",
    "stroke-opacity": "1",
    "stroke-dasharray": "none",
}
"""what a path looks like where nothing is said (SVG)"""


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
    return "data:image/svg+xml;base64," + base64.b64encode(compact(drawer.GetDrawingText()).encode()).decode("ascii")


def compact(svg: str) -> str:
    """The same picture in about a third of the text: paths of one style become one path, defaults are left out."""
    paths: dict[str, list[str]] = {}
    for attributes in re.findall(r"<path\b([^>]*)/>", svg):
        given = dict(re.findall(r"([\w-]+)='([^']*)'", attributes))
        line = re.sub(r"\.0(?!\d)", "", re.sub(r"\s*([MLQCZ])\s*", r"\1", given["d"]))
        paths.setdefault(_style(given), []).append(line)
    body = "".join(f"<path {style} d='{''.join(lines)}'/>" for style, lines in paths.items())
    rest = "".join(re.findall(r"<(?:ellipse|circle|rect|polygon|text)\b[^>]*/>", svg))
    return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}'>{body}{rest}</svg>"


def _style(given: dict[str, str]) -> str:
    """Fill and stroke of a path as attributes."""
    found = {name: given[name] for name in DEFAULTS if name in given}
    found |= dict(part.split(":", 1) for part in given.get("style", "").split(";") if ":" in part)
    told = {name: found[name] for name, default in DEFAULTS.items() if found.get(name, default) != default}
    return " ".join(f"{name}='{value}'" for name, value in told.items())
