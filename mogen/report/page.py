"""The page a reader opens: one file, no network."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mogen.report.diversity import DiversityCurve, diversity_curve
from mogen.report.drawing import draw
from mogen.report.export import write_sdf
from mogen.report.figure import colours, write_front_figure, write_hypervolume_figure
from mogen.report.folder import OURS, RunFolder, number, seconds
from mogen.report.structure import (
    draw_trace,
    file_of,
    label,
    parse_backbone,
    picture,
    write_distance_figure,
    write_ramachandran_figure,
    write_structures,
)

if TYPE_CHECKING:
    import pandas as pd

    from mogen.domain.backbone import Backbone

DRAWN = 200
"""members of our front that are drawn"""
DRAWN_OF_BASELINE = 60
"""members of each baseline's front that are drawn where the pointer rests on them"""
LISTED = 2000
SHOWN_OF_BASELINE = 400
SIZE = '<span id="size"></span>'

STRUCTURES = (("ramachandran.png", write_ramachandran_figure), ("distances.png", write_distance_figure))
"""figures of protein conformations"""

Column = tuple[str, tuple[str, ...], str, str | None, str]
"""title, how it is found in the figures of a method, format, which direction is better (None: neither), meaning"""

COLUMNS: tuple[Column, ...] = (
    ("Hypervolume", ("hypervolume",), ".4f", "high", "Share of the utility space that the front dominates."),
    ("Front", ("front_size",), ",.0f", None, "Candidates that no other candidate of the method dominates."),
    ("Zeros", ("zero_share",), ".0%", "low", "Front points with a zero utility; they add no hypervolume."),
    ("R2", ("r2", "mean"), ".4f", "low", "Mean R2 over the preferences: distance from the ideal."),
    ("IGD+", ("igd_plus",), ".4f", "low", "Distance to the true front, where one is known."),
    ("Alignment", ("alignment",), ".3f", "high", "Mean Pearson correlation of what was asked and what came."),
    ("Asked", ("asked",), ",.0f", None, "Unique candidates asked."),
    ("Paid", ("paid",), ",.0f", None, "Candidates with at least one fresh measurement; the rest was known already."),
    ("Seconds", ("seconds",), ",.1f", None, "Wall time of the method itself."),
)

DIVERSITY: tuple[Column, ...] = (
    ("Front IntDiv", ("front_diversity", "intdiv"), ".3f", "high", "Mean Tanimoto distance between front members."),
    ("Front #Circles", ("front_diversity", "circles"), ",.0f", "high", "Front members pairwise farther than 0.75."),
    ("Top-k", ("diversity", "top_k"), ".3f", "high", "Mean distance among the 100 best by mean utility."),
    ("IntDiv", ("diversity", "intdiv"), ".3f", None, "Mean Tanimoto distance between all valid candidates."),
    ("#Circles", ("diversity", "circles"), ",.0f", None, "Valid candidates pairwise farther apart than 0.75."),
    ("Vendi", ("diversity", "vendi"), ",.1f", None, "Effective number of different valid candidates."),
)


def write_report(folder: Path | str) -> Path:
    """Writes `report.html`, `front.png`, `hypervolume.png` and `front.sdf` (molecules only) from the files of a run.

    For protein conformations also front/*.pdb, `ramachandran.png` and `distances.png`, which stand in the page too.
    Nothing is measured again. Raises `RunError` where the folder is missing, unfinished or damaged.
    """
    run = RunFolder.read(folder)
    write_front_figure(run, run.path / "front.png")
    write_hypervolume_figure(run, run.path / "hypervolume.png")
    _write_molecules(run)
    if write_structures(run):
        for name, write in STRUCTURES:
            write(run, run.path / name)
    target = run.path / "report.html"
    partial = run.path / "report.html.partial"
    partial.write_text(_sized(render(run)), encoding="utf-8")
    os.replace(partial, target)
    return target


def _write_molecules(run: RunFolder) -> None:
    """Writes `front.sdf`, unless no member of the front is a molecule."""
    path = write_sdf(run.front, run.path / "front.sdf")
    if not path.stat().st_size:
        path.unlink()


def render(run: RunFolder) -> str:
    """The whole page as text; everything a user supplied is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("mogen.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    members = run.ranked_front.head(LISTED)
    rows = _rows(run, members)
    curves = {name: diversity_curve(run, name) for name in run.figures}
    figures = {name: {**item, "front_diversity": _of_front(curves[name])} for name, item in run.figures.items()}
    return environment.get_template("report.html.j2").render(
        title=run.title,
        story=story(run),
        summary=run.summary,
        set_name=run.objective_set,
        identity=_identity(run.summary),
        axes=run.axes,
        cards=_cards(run.summary, curves[OURS]),
        verdict=verdict(run.figures),
        comparison=_comparison(figures, COLUMNS),
        diversity=_comparison(figures, DIVERSITY),
        has_diversity=any(curve.asked for curve in curves.values()),
        colours=colours(run),
        rows=rows,
        front_size=len(run.front),
        drawn=sum(row["drawing"] is not None for row in rows),
        pictures=_pictures(run),
        has_molecules=(run.path / "front.sdf").is_file(),
        drawing_limit=DRAWN,
        drawn_of_baseline=DRAWN_OF_BASELINE,
        shown_of_baseline=SHOWN_OF_BASELINE,
        stages=_stages(run.summary.get("seconds")),
        spent=_spent(run.summary.get("sampler")),
        config=run.config,
        versions={str(name): str(value) for name, value in _flat(run.versions)},
        data=Markup(embedded(_plot_data(run, members, curves))),
        plotly=Markup(get_plotlyjs()),
    )


def _sized(page: str) -> str:
    """The page with its own size in its last line."""
    return page.replace(SIZE, f"{len(page.encode()) / 1e6:.1f} MB", 1)


def story(run: RunFolder) -> str:
    """What was done and what is left of it, in two sentences."""
    budget, asked, paid = (number(run.summary.get(name)) for name in ("budget", "asked", "paid"))
    by = f"the objectives of {run.objective_set}" if run.objective_set else f"{len(run.axes)} objectives"
    spent = f"{_written(asked, ',.0f')} different candidates measured by {by}"
    if budget is not None:
        spent += ", its whole budget" if budget == asked else f", of a budget of {budget:,.0f}"
    if paid is not None and asked is not None and paid < asked:
        spent += f" ({asked - paid:,.0f} were known already and cost nothing)"
    size = len(run.front)
    left = {0: "None of them was valid", 1: "One of them is left: it dominates all others"}.get(
        size, f"{size:,} of them are not dominated by any other: they are the front"
    )
    zero = number(run.summary.get("zero_share"))
    remark = f", {zero:.0%} of it with a utility of zero, which adds no hypervolume" if size and zero else ""
    return f"mogen had {spent}. {left}{remark}."


def embedded(value: Any) -> str:
    """JSON that can stand inside a script element: no `<`, `>`, `&` or line separator is left as it is."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def verdict(figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the comparison says, in sentences: which method is best, and how far one run can be trusted."""
    scores = {name: number(item.get("hypervolume")) for name, item in figures.items()}
    known = {name: value for name, value in scores.items() if value is not None}
    ours = known.pop(OURS, None)
    if ours is None:
        return ["This run has no hypervolume for mogen, so it cannot be compared."]
    if not known:
        return ["No baseline was run beside mogen, so nothing can be said about how good this front is."]
    asked = number(figures[OURS].get("asked"))
    after = f"After {asked:,.0f} asked candidates, " if asked is not None else ""
    best = max(known, key=lambda name: known[name])
    place = 1 + sum(value > ours for value in known.values())
    sentences = [after + _standing(ours, best, known.pop(best), place, len(known) + 1) + _rest(known)]
    if len({number(item.get("asked")) for item in figures.values()}) > 1:
        sentences.append("The methods asked different numbers of candidates, so compare them along the curve below.")
    sentences.append(
        "This is one run with one seed: a difference here is an observation. We say that one method beats another "
        "only when a paired interval over at least five seeds excludes zero."
    )
    return sentences


def _standing(ours: float, best: str, score: float, place: int, others: int) -> str:
    if ours > score:
        return f"mogen has the largest hypervolume, {ours:.4f}; the best baseline, {best}, reaches {score:.4f}."
    if ours == score:
        return f"mogen and {best} have the same, largest hypervolume, {ours:.4f}."
    rank = f"{_ordinal(place)} of {others + 1}"
    return f"{best} has the largest hypervolume, {score:.4f}; mogen reaches {ours:.4f} and comes {rank}."


def _rest(scores: Mapping[str, float]) -> str:
    """The other baselines, best first."""
    if not scores:
        return ""
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    *most, last = [f"{name} {score:.4f}" for name, score in ranked]
    return f" The other baseline{'s reach' if most else ' reaches'} " + (
        f"{', '.join(most)} and {last}." if most else f"{last}."
    )


def _ordinal(place: int) -> str:
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _figure(figures: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    """The figure at the end of a path of keys; of a mapping found there, its first value (top-k for several k)."""
    if keys[0] == "seconds":
        return seconds(figures)
    value: Any = figures
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = next(iter(value.values()), None)
    return number(value)


def _written(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _comparison(figures: Mapping[str, Mapping[str, Any]], columns: Sequence[Column]) -> dict[str, Any]:
    """A row for each method; the best of a column is marked on the digits shown, and empty columns are left out."""
    known = [column for column in columns if any(_figure(item, column[1]) is not None for item in figures.values())]
    table = {name: [_figure(item, keys) for _, keys, *_ in known] for name, item in figures.items()}
    shown = {
        name: [_written(value, form) for value, (_, _, form, *_) in zip(values, known, strict=True)]
        for name, values in table.items()
    }
    best: list[str | None] = []
    for column, (_, _, _, direction, _) in enumerate(known):
        found = [(values[column], shown[name][column]) for name, values in table.items() if values[column] is not None]
        pick = min if direction == "low" else max
        best.append(pick(found)[1] if direction is not None and len({text for _, text in found}) > 1 else None)
    rows = [
        {"name": name, "cells": [(text, text == best[column]) for column, text in enumerate(texts)]}
        for name, texts in shown.items()
    ]
    return {"heads": [(title, direction, meaning) for title, _, _, direction, meaning in known], "rows": rows}


def _of_front(curve: DiversityCurve) -> dict[str, Any]:
    return {"intdiv": curve.front[-1] if curve.front else None, "circles": curve.circles}


def _identity(summary: Mapping[str, Any]) -> str:
    given = summary.get("objective_set")
    return str(given.get("identity", "")) if isinstance(given, Mapping) else ""


def _cards(summary: Mapping[str, Any], curve: DiversityCurve) -> list[tuple[str, str, str]]:
    """The headline numbers: label, number, remark."""
    zero = _figure(summary, ("zero_share",))
    asked, paid, budget = (_figure(summary, (key,)) for key in ("asked", "paid", "budget"))
    cards = [
        ("Hypervolume", _written(_figure(summary, ("hypervolume",)), ".4f"), "of utilities, from the origin"),
        (
            "Front",
            _written(_figure(summary, ("front_size",)), ",.0f"),
            "candidates" if zero is None else f"candidates, {zero:.0%} with a zero utility",
        ),
        (
            "Asked",
            _written(asked, ",.0f"),
            f"{_written(paid, ',.0f')} paid, budget {_written(budget, ',.0f')}",
        ),
    ]
    if curve.front and curve.front[-1] is not None:
        remark = f"mean distance on the front; {_written(curve.circles, ',.0f')} far apart"
        cards.append(("Diversity", f"{curve.front[-1]:.3f}", remark))
    cards.append(
        ("Alignment", _written(_figure(summary, ("alignment",)), ".2f"), "of outcome with what was asked; 1 is full")
    )
    whole = summary.get("seconds")
    total = number(whole.get("total")) if isinstance(whole, Mapping) else None
    remark = "training and sampling" + ("" if total is None else f"; {_duration(total)} with baselines and report")
    return [*cards, ("Time", _duration(seconds(summary)), remark)]


def _duration(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _stages(given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, Mapping):
        return []
    return [(name.replace(".", " "), _written(number(value), ",.1f")) for name, value in _flat(given)]


def _spent(given: Any) -> list[tuple[str, str]]:
    """What the sampler says it spent beside measurements: counts whole, shares to three digits."""
    if not isinstance(given, Mapping):
        return []
    return [
        (name.replace("_", " ").replace(".", " "), _written(number(value), ",.0f" if isinstance(value, int) else ".3f"))
        for name, value in _flat(given)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        pairs += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return pairs


def _rows(run: RunFolder, members: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of the front: key, drawing, and (raw, raw as text, utility, utility as text) of every objective."""
    rows, like = [], _seen_along(members)
    for index, record in enumerate(members.to_dict("records")):
        key = str(record["candidate"])
        pairs = [(number(record[axis.raw]), number(record[axis.utility])) for axis in run.axes]
        known = [utility for _, utility in pairs if utility is not None]
        mean = sum(known) / len(known) if known else None
        rows.append(
            {
                "candidate": key if like is None else file_of(index),
                "drawing": _drawing(key, like) if index < DRAWN else None,
                "values": [(raw, _value(raw), utility, _written(utility, ".2f")) for raw, utility in pairs],
                "mean": (mean, _written(mean, ".3f")),
            }
        )
    return rows


def _seen_along(members: pd.DataFrame) -> Backbone | None:
    """The conformation that all others are drawn superposed on; None where candidates are no conformations."""
    return parse_backbone(str(members["candidate"].iloc[0])) if len(members) else None


def _drawing(key: str, like: Backbone | None) -> str | None:
    return draw(key) if like is None else draw_trace(key, like)


def _pictures(run: RunFolder) -> list[tuple[str, str]]:
    """Name and data URI of the figures of conformations."""
    paths = [run.path / name for name, _ in STRUCTURES] if _seen_along(run.front) is not None else []
    return [(path.name, picture(path)) for path in paths if path.is_file()]


def _value(value: float | None) -> str:
    """A raw value with four digits that matter."""
    return _written(value, ",.0f" if value is not None and abs(value) >= 10_000 else ".4g")


def _plot_data(run: RunFolder, members: pd.DataFrame, diversity: Mapping[str, DiversityCurve]) -> dict[str, Any]:
    methods, curves, like = [], [], _seen_along(members)
    for name, colour in colours(run).items():
        table = members if name == OURS else run.baseline_front(name).head(SHOWN_OF_BASELINE)
        keys = [str(key) for key in table["candidate"]]
        methods.append(
            {
                "name": name,
                "colour": colour,
                "candidate": [
                    file_of(i) if name == OURS and like is not None else label(k) for i, k in enumerate(keys)
                ],
                "drawing": [] if name == OURS else [_drawing(key, like) for key in keys[:DRAWN_OF_BASELINE]],
                "raw": _matrix(table, [axis.raw for axis in run.axes]),
                "utility": _matrix(table, [axis.utility for axis in run.axes]),
            }
        )
        rows = run.hypervolume[run.hypervolume["method"] == name].sort_values("asked")
        curves.append(
            {
                "name": name,
                "colour": colour,
                "asked": [number(float(value)) for value in rows["asked"]],
                "hypervolume": [number(float(value)) for value in rows["hypervolume"]],
                "looked": diversity[name].asked,
                "front": diversity[name].front,
                "everything": diversity[name].everything,
            }
        )
    axes = [
        {"name": axis.name, "label": axis.label, "sense": axis.sense, "worst": axis.worst, "best": axis.best}
        for axis in run.axes
    ]
    return {"ours": OURS, "axes": axes, "methods": methods, "curves": curves, "pair": opening_pair(run)}


def opening_pair(run: RunFolder) -> list[int]:
    """The two objectives most at odds on our front (lowest correlation of utilities); the first two where none are."""
    utility = run.front[[axis.utility for axis in run.axes]]
    found = utility.corr().to_numpy()
    pairs = [(found[i, j], i, j) for i, j in combinations(range(len(run.axes)), 2) if math.isfinite(found[i, j])]
    _, first, second = min(pairs, default=(0.0, 0, min(1, len(run.axes) - 1)))
    return [first, second]


def _matrix(table: pd.DataFrame, columns: list[str]) -> list[list[float | None]]:
    return [[number(float(value)) for value in row] for row in table[columns].itertuples(index=False, name=None)]
