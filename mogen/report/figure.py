"""Pictures of a run for slides and papers."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mogen.report.folder import OURS, RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#7A7A7A", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Told apart by readers of every colour vision (Okabe and Ito 2008); the first is ours."""

MARKS = ("o", "x", "^", "s", "D", "v", "P")
PANELS = 6
"""Pairs of objectives in one picture; the page shows every pair."""


def colours(run: RunFolder) -> dict[str, str]:
    """One colour for each method, the same in every picture of a run."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(run.figures)}


def write_front_figure(run: RunFolder, path: Path | str) -> Path:
    """Draws the front over pairs of objectives in raw values, beside the front of every baseline."""
    pairs = list(combinations(range(len(run.axes)), 2))[:PANELS] or [(0, 0)]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = _figure(4.2 * columns, 3.6 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for panel in grid.flat[len(pairs) :]:
        panel.set_axis_off()
    for panel, (first, second) in zip(grid.flat, pairs, strict=False):
        _draw_pair(panel, run, first, second)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.suptitle(_plain(run.title), x=0.01, ha="left", fontsize=11)
    figure.legend(
        handles[::-1], labels[::-1], loc="outside lower center", ncols=min(len(labels), 3 * columns), frameon=False
    )
    return _save(figure, path)


def write_hypervolume_figure(run: RunFolder, path: Path | str) -> Path:
    """Draws hypervolume against the number of asked candidates, for every method."""
    figure = _figure(7.4, 4.0)
    panel = figure.subplots()
    for index, (method, colour) in enumerate(colours(run).items()):
        rows = run.hypervolume[run.hypervolume["method"] == method].sort_values("asked")
        width, style = (2.4, "-") if method == OURS else (1.5, ("--", "-.", ":")[index % 3])
        last = f" {rows['hypervolume'].iloc[-1]:.3f}" if len(rows) else ""
        label = _plain(method) + last
        panel.plot(rows["asked"], rows["hypervolume"], color=colour, linewidth=width, linestyle=style, label=label)
    panel.set_title(_plain(run.title), loc="left", fontsize=11)
    panel.set_xlabel("asked candidates (unique)")
    panel.set_ylabel("hypervolume")
    panel.set_ylim(bottom=0)
    panel.set_xlim(left=0)
    _calm(panel)
    panel.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _save(figure, path)


def _draw_pair(panel: Axes, run: RunFolder, first: int, second: int) -> None:
    x, y = run.axes[first], run.axes[second]
    for index, (method, colour) in reversed(list(enumerate(colours(run).items()))):
        front = run.front if method == OURS else run.baseline_front(method)
        size, order = (26, 3) if method == OURS else (18, 2)
        style: dict[str, Any] = {"color": colour, "marker": MARKS[index % len(MARKS)], "s": size, "alpha": 0.75}
        panel.scatter(front[x.raw], front[y.raw], label=method, zorder=order, linewidths=0.8, **style)
    panel.set_xlabel(_plain(f"{x.label}, {x.sense}"))
    panel.set_ylabel(_plain(f"{y.label}, {y.sense}"))
    _calm(panel)


def _figure(width: float, height: float) -> Figure:
    """A picture that needs no display and leaves no trace in pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _calm(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#E6E8EB", linewidth=0.7)
    panel.set_axisbelow(True)


def _plain(text: str) -> str:
    """Text that matplotlib must not read as mathematics."""
    return text.replace("$", r"\$")


def _save(figure: Figure, path: Path | str) -> Path:
    figure.savefig(path, dpi=160)
    return Path(path)
