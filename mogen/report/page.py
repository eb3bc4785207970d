"""The page a reader opens: one file, no network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mogen.report.drawing import draw
from mogen.report.export import write_sdf
from mogen.report.figure import colours, write_front_figure, write_hypervolume_figure
from mogen.report.folder import OURS, RunFolder, number, seconds

if TYPE_CHECKING:
    import pandas as pd

DRAWN = 200
LISTED = 2000
SHOWN_OF_BASELINE = 400

# title, how it is found in the figures of a method, format, which direction is better (None: neither), what it means
COLUMNS: tuple[tuple[str, tuple[str, ...], str, str | None, str], ...] = (
    ("Hypervolume", ("hypervolume",), ".4f", "high", "Share of the utility space that the front dominates."),
    ("Front", ("front_size",), ",.0f", None, "Candidates that no other candidate dominates."),
    ("Zeros", ("zero_share",), ".0%", "low", "Front points with a zero utility; they add no hypervolume."),
    ("R2", ("r2", "mean"), ".4f", None, "Mean R2 over the preferences."),
    ("IGD+", ("igd_plus",), ".4f", "low", "Distance to the true front, where one is known."),
    ("IntDiv", ("diversity", "intdiv"), ".3f", "high", "Mean Tanimoto distance within the set."),
    ("#Circles", ("diversity", "circles"), ",.0f", "high", "Molecules that are pairwise farther apart than 0.75."),
    ("Vendi", ("diversity", "vendi"), ".2f", "high", "Effective number of different molecules."),
    ("Top-k div.", ("diversity", "top_k"), ".3f", "high", "Mean distance among the k best."),
    ("Alignment", ("alignment",), ".3f", "high", "Mean Pearson correlation of what was asked and what came."),
    ("Asked", ("asked",), ",.0f", None, "Unique candidates asked."),
    ("Paid", ("paid",), ",.0f", None, "Candidates with at least one fresh measurement."),
    ("Seconds", ("seconds",), ",.1f", None, "Wall time of all stages."),
)


def write_report(folder: Path | str) -> Path:
    """Writes `report.html`, `front.png`, `hypervolume.png` and `front.sdf` from the files of a run folder.

    Nothing is measured again. Raises `RunError` where the folder is missing, unfinished or damaged.
    """
    run = RunFolder.read(folder)
    write_front_figure(run, run.path / "front.png")
    write_hypervolume_figure(run, run.path / "hypervolume.png")
    write_sdf(run.front, run.path / "front.sdf")
    target = run.path / "report.html"
    partial = run.path / "report.html.partial"
    partial.write_text(render(run), encoding="utf-8")
    os.replace(partial, target)
    return target


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
    return environment.get_template("report.html.j2").render(
        title=run.path.resolve().name,
        summary=run.summary,
        axes=run.axes,
        cards=_cards(run.summary),
        verdict=verdict(run.figures),
        comparison=_comparison(run.figures),
        columns=COLUMNS,
        colours=colours(run),
        rows=rows,
        front_size=len(run.front),
        drawn=sum(row["drawing"] is not None for row in rows),
        drawing_limit=DRAWN,
        stages=_stages(run.summary.get("seconds")),
        config=run.config,
        versions={str(name): str(value) for name, value in _flat(run.versions)},
        data=Markup(embedded(_plot_data(run, members))),
        plotly=Markup(get_plotlyjs()),
    )


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
    sentences = [
        after + _standing(ours, best, known[best], 1 + sum(value > ours for value in known.values()), len(known))
    ]
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


def _comparison(figures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each method; the best of a column is marked on the digits that are shown."""
    table = {name: [_figure(item, keys) for _, keys, *_ in COLUMNS] for name, item in figures.items()}
    shown = {
        name: [_written(value, form) for value, (_, _, form, *_) in zip(values, COLUMNS, strict=True)]
        for name, values in table.items()
    }
    best: list[str | None] = []
    for column, (_, _, _, direction, _) in enumerate(COLUMNS):
        found = [(values[column], shown[name][column]) for name, values in table.items() if values[column] is not None]
        pick = min if direction == "low" else max
        best.append(pick(found)[1] if direction is not None and len({text for _, text in found}) > 1 else None)
    return [
        {"name": name, "cells": [(text, text == best[column]) for column, text in enumerate(texts)]}
        for name, texts in shown.items()
    ]


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The headline numbers: label, number, remark."""
    zero = _figure(summary, ("zero_share",))
    asked, paid, budget = (_figure(summary, (key,)) for key in ("asked", "paid", "budget"))
    circles = _figure(summary, ("diversity", "circles"))
    vendi = _figure(summary, ("diversity", "vendi"))
    return [
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
        (
            "Diversity",
            _written(_figure(summary, ("diversity", "intdiv")), ".3f"),
            f"IntDiv; {_written(circles, ',.0f')} circles, Vendi {_written(vendi, '.1f')}",
        ),
        ("Alignment", _written(_figure(summary, ("alignment",)), ".2f"), "asked preference and outcome"),
        ("Time", _duration(seconds(summary)), "all stages, wall clock"),
    ]


def _duration(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _stages(given: Any) -> list[tuple[str, str]]:
    if not isinstance(given, Mapping):
        return []
    return [(str(name), _written(number(value), ",.1f")) for name, value in given.items()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        pairs += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return pairs


def _rows(run: RunFolder, members: pd.DataFrame) -> list[dict[str, Any]]:
    """The table of the front: key, drawing, raw values and utilities."""
    rows = []
    for index, record in enumerate(members.to_dict("records")):
        key = str(record["candidate"])
        rows.append(
            {
                "candidate": key,
                "drawing": draw(key) if index < DRAWN else None,
                "raw": [(number(record[axis.raw]), _value(number(record[axis.raw]))) for axis in run.axes],
                "utility": [
                    (number(record[axis.utility]), _written(number(record[axis.utility]), ".3f")) for axis in run.axes
                ],
            }
        )
    return rows


def _value(value: float | None) -> str:
    """A raw value with four digits that matter."""
    return _written(value, ",.0f" if value is not None and abs(value) >= 10_000 else ".4g")


def _plot_data(run: RunFolder, members: pd.DataFrame) -> dict[str, Any]:
    methods = []
    for name, colour in colours(run).items():
        table = members if name == OURS else run.baseline_front(name).head(SHOWN_OF_BASELINE)
        methods.append(
            {
                "name": name,
                "colour": colour,
                "candidate": [str(key) for key in table["candidate"]],
                "raw": _matrix(table, [axis.raw for axis in run.axes]),
                "utility": _matrix(table, [axis.utility for axis in run.axes]),
            }
        )
    curves = []
    for name, colour in colours(run).items():
        rows = run.hypervolume[run.hypervolume["method"] == name].sort_values("asked")
        curves.append(
            {
                "name": name,
                "colour": colour,
                "asked": [number(float(value)) for value in rows["asked"]],
                "hypervolume": [number(float(value)) for value in rows["hypervolume"]],
            }
        )
    axes = [{"name": axis.name, "label": axis.label, "worst": axis.worst, "best": axis.best} for axis in run.axes]
    return {"ours": OURS, "axes": axes, "methods": methods, "curves": curves}


def _matrix(table: pd.DataFrame, columns: list[str]) -> list[list[float | None]]:
    return [[number(float(value)) for value in row] for row in table[columns].itertuples(index=False, name=None)]
