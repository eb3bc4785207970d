"""Several seeds in one summary: mean, standard deviation, and paired differences to every baseline."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

FIGURES = ("hypervolume", "front_size", "zero_share", "r2", "igd_plus", "diversity", "alignment", "asked", "paid")
ENOUGH = 5
"""seeds below which no difference counts as shown"""


def summarise(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every figure over seeds, and per baseline ours minus theirs, seed by seed, with a 95 % t-interval.

    The verdict on the hypervolume is 'beats' or 'loses' only where the interval over at least 5 seeds excludes zero.
    """
    ours = [figures(item) for item in summaries]
    result: dict[str, Any] = {
        **{key: summaries[0][key] for key in ("budget", "objective_set") if key in summaries[0]},
        "seeds": [item["seed"] for item in summaries],
        "figures": spread(ours),
        "baselines": {},
    }
    for name in summaries[0].get("baselines", {}):
        theirs = [figures(item["baselines"][name]) for item in summaries]
        pairs = [{key: a[key] - b[key] for key in a.keys() & b.keys()} for a, b in zip(ours, theirs, strict=True)]
        difference = spread(pairs, is_interval=True)
        result["baselines"][name] = {
            "figures": spread(theirs),
            "difference": difference,
            "verdict": verdict(difference.get("hypervolume", {}), len(summaries)),
        }
    return result


def verdict(difference: Mapping[str, float], count: int) -> str:
    """What a paired difference over some seeds shows: beats, loses, not shown, or too few seeds."""
    if count < ENOUGH or "low" not in difference:
        return "too few seeds"
    return "beats" if difference["low"] > 0 else "loses" if difference["high"] < 0 else "not shown"


def figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary, nested ones by dotted names; what is null is left out."""
    found: dict[str, float] = {}
    for key in FIGURES:
        value = summary.get(key)
        items = {f"{key}.{part}": item for part, item in value.items()} if isinstance(value, Mapping) else {key: value}
        found |= {name: float(item) for name, item in items.items() if isinstance(item, int | float)}
    return found


def spread(rows: Sequence[Mapping[str, float]], *, is_interval: bool = False) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n - 1) of what every row has, with the 95 % t-interval of the mean if wanted."""
    shared = [key for key in rows[0] if all(key in row for row in rows)]
    return {key: _spread([row[key] for row in rows], is_interval) for key in sorted(shared)}


def table(summary: Mapping[str, Any]) -> str:
    """The hypervolumes and their paired differences, as text, with what they show."""
    count = len(summary["seeds"])
    lines = [f"{count} seeds, hypervolume as mean +- standard deviation", ""]
    lines.append(f"{'method':<12}{'hypervolume':>20}   {'mogen minus it [95 % interval]':<34}{'verdict':<13}".rstrip())
    lines.append(_line("mogen", summary["figures"]["hypervolume"]))
    for name, item in summary["baselines"].items():
        lines.append(_line(name, item["figures"]["hypervolume"], item["difference"]["hypervolume"], item["verdict"]))
    if summary["baselines"] and count < ENOUGH:
        lines += [
            "",
            f"{count} seeds are too few to show a difference: at least {ENOUGH} can (--seeds {ENOUGH})",
        ]
    return "\n".join(lines)


def _spread(values: Sequence[float], is_interval: bool) -> dict[str, float]:
    mean, deviation = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
    found = {"mean": mean, "standard_deviation": deviation}
    if is_interval and len(values) > 1:
        from scipy.stats import t

        half = float(t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
        found |= {"low": mean - half, "high": mean + half}
    return found


def _line(
    name: str, figure: Mapping[str, float], difference: Mapping[str, float] | None = None, shown: str = ""
) -> str:
    text = f"{figure['mean']:.4f} +- {figure['standard_deviation']:.4f}"
    apart = ""
    if difference and "low" in difference:
        apart = f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return f"{name:<12}{text:>20}   {apart:<34}{shown:<13}".rstrip()
