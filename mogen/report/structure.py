"""Pictures and files of protein conformations: traces, PDB files, Ramachandran plots and distance maps."""

from __future__ import annotations

import base64
import colorsys
import hashlib
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mogen.errors import CandidateError
from mogen.report.drawing import HEIGHT, WIDTH
from mogen.report.figure import COLOURS, _calm, _figure, _plain, _save
from mogen.report.folder import OURS, RunFolder

if TYPE_CHECKING:
    from mogen.domain.backbone import Backbone

PIECES = 24
"""pieces of one colour that a trace is drawn in"""
MARGIN = 14
MOST = 400
"""conformations of one method in the figures, at most"""


def parse_backbone(key: str) -> Backbone | None:
    """The backbone a candidate's key stands for, or None where it is none."""
    from mogen.domain.backbone import Backbone

    if "|" not in key:
        return None
    try:
        return Backbone.from_key(key)
    except CandidateError:
        return None


def label(key: str) -> str:
    """What a reader sees of a key: a conformation's length and a short hash, anything else as it is."""
    backbone = parse_backbone(key)
    if backbone is None:
        return key
    return f"{len(backbone)} residues, {hashlib.sha256(key.encode()).hexdigest()[:8]}"


def file_of(place: int) -> str:
    """The PDB file of a member of the front, counted from 0, best mean utility first."""
    return f"front/{place + 1:04d}.pdb"


def draw_trace(key: str, like: Backbone | None = None) -> str | None:
    """The CA trace of a conformation from blue (N) to red (C) as a data URI (SVG), or None for other keys.

    It is seen along the axis of least extent of `like`, superposed on it where it has as many residues.
    """
    from mogen.domain.conformation import superpose

    backbone = parse_backbone(key)
    if backbone is None:
        return None
    ca, view = backbone.ca.double(), (like or backbone).ca.double()
    if len(ca) == len(view) and len(ca) > 2:
        ca = superpose(ca, view)
    axes = np.linalg.svd((view - view.mean(0)).numpy(), full_matrices=True)[2]
    points = (ca - view.mean(0)).numpy() @ axes.T
    return "data:image/svg+xml;base64," + base64.b64encode(_svg(points).encode()).decode("ascii")


def _svg(points: np.ndarray) -> str:
    """Points (x, y and depth, Å) as a picture: pieces from back to front, each over a white border."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    scale = min((WIDTH - 2 * MARGIN) / max(high[0] - low[0], 1), (HEIGHT - 2 * MARGIN) / max(high[1] - low[1], 1))
    middle = (low + high) / 2
    flat = (points[:, :2] - middle) * [scale, -scale] + [WIDTH / 2, HEIGHT / 2]
    ends = np.unique(np.linspace(0, len(points) - 1, min(PIECES, len(points) - 1) + 1).astype(int))
    pieces = []
    for first, last in pairwise(ends):
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in flat[first : last + 1])
        share = first / max(len(points) - 1, 1)
        red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(0.66 * (1 - share), 0.85, 0.85))
        pieces.append((points[first : last + 1, 2].mean(), line, f"#{red:02x}{green:02x}{blue:02x}"))
    body = "".join(
        f"<path stroke='#fff' stroke-width='6' d='M{line}'/><path stroke='{colour}' stroke-width='3' d='M{line}'/>"
        for _, line, colour in sorted(pieces, key=lambda piece: piece[0])
    )
    style = "fill='none' stroke-linecap='round' stroke-linejoin='round'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}'><g {style}>{body}</g></svg>"


def structures(run: RunFolder, method: str = OURS) -> list[Backbone]:
    """The conformations on a method's front, best mean utility first."""
    table = run.ranked_front if method == OURS else run.baseline_front(method)
    found = (parse_backbone(str(key)) for key in table["candidate"].head(MOST))
    return [item for item in found if item is not None]


def write_structures(run: RunFolder) -> int:
    """Writes front/0001.pdb, ... and gives their number; writes nothing where candidates are no backbones."""
    from mogen.domain.backbone import write_backbones

    found = [parse_backbone(str(key)) for key in run.ranked_front["candidate"]]
    folder = run.path / "front"
    shutil.rmtree(folder, ignore_errors=True)
    if not any(item is not None for item in found):
        return 0
    folder.mkdir()
    for place, item in enumerate(found):
        if item is not None:
            write_backbones(run.path / file_of(place), [item])
    return len(found)


def write_ramachandran_figure(run: RunFolder, path: Path | str) -> Path:
    """Draws phi against psi of every residue of every method's front."""
    figure = _figure(5.4, 5.2)
    panel = figure.subplots()
    for index, method in reversed(list(enumerate(run.figures))):
        angles = _angles(structures(run, method))
        size, alpha, order = (9, 0.6, 3) if method == OURS else (5, 0.35, 2)
        style: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)], "s": size, "alpha": alpha, "linewidths": 0}
        panel.scatter(*np.degrees(angles.T), label=_plain(method), zorder=order, **style)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_ticks(range(-180, 181, 60))
    panel.set_xlim(-180, 180)
    panel.set_ylim(-180, 180)
    panel.set_xlabel("phi (degrees)")
    panel.set_ylabel("psi (degrees)")
    panel.set_title("Ramachandran plot of the fronts", loc="left", fontsize=11)
    _calm(panel)
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3, frameon=False, markerscale=2)
    return _save(figure, path)


def _angles(backbones: Sequence[Backbone]) -> np.ndarray:
    """phi and psi (radians) of all residues that have both."""
    from mogen.domain.backbone import torsions

    rows = [torsions(item)[:, :2].numpy() for item in backbones]
    both = np.concatenate(rows) if rows else np.zeros((0, 2))
    return both[np.isfinite(both).all(1)]


def write_distance_figure(run: RunFolder, path: Path | str) -> Path:
    """Draws the CA distance map of our front: means above the diagonal, standard deviations below."""
    figure = _figure(6.4, 5.2)
    panel = figure.subplots()
    found = structures(run)
    ca = np.stack([item.ca.double().numpy() for item in found if len(item) == len(found[0])])
    distance = np.linalg.norm(ca[:, :, None] - ca[:, None], axis=-1)
    mean, spread = distance.mean(0), distance.std(0)
    above, size = np.triu(np.ones_like(mean, dtype=bool), 1), len(mean) + 0.5
    first = panel.imshow(np.where(above, mean, np.nan), cmap="viridis_r", extent=(0.5, size, size, 0.5))
    second = panel.imshow(np.where(above.T, spread, np.nan), cmap="magma_r", extent=(0.5, size, size, 0.5))
    figure.colorbar(first, ax=panel, label="mean CA distance (Å), above", shrink=0.85)
    figure.colorbar(second, ax=panel, label="standard deviation (Å), below", shrink=0.85)
    panel.set_xlabel("residue")
    panel.set_ylabel("residue")
    panel.set_title(f"CA distances of {len(ca)} conformations on the front", loc="left", fontsize=11)
    return _save(figure, path)


def picture(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
