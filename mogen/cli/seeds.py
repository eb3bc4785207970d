"""Several seeds in one summary: mean, standard deviation, and paired differences to every baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mogen.metric.comparison import ENOUGH, Estimate, differences, estimates

FIGURES = ("hypervolume", "front_size", "zero_share", "r2", "igd_plus", "diversity", "alignment", "asked", "paid")


def summarise(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every figure over seeds, and per baseline ours minus theirs, seed by seed, with a 95 % t-interval.

    The verdict on the hypervolume is 'beats' or 'loses' only where the interval over at least 5 seeds excludes zero.
    """
    ours = [figures(item) for item in summaries]
    result: dict[str, Any] = {
        **{key: summaries[0][key] for key in ("budget", "objective_set") if key in summaries[0]},
        "seeds": [item["seed"] for item in summaries],
        "figures": _plain(estimates(ours)),
        "baselines": {},
    }
    for name in summaries[0].get("baselines", {}):
        theirs = [figures(item["baselines"][name]) for item in summaries]
        apart = differences(ours, theirs)
        result["baselines"][name] = {
            "figures": _plain(estimates(theirs)),
            "difference": _plain(apart, is_interval=True),
            "verdict": apart["hypervolume"].verdict() if "hypervolume" in apart else "too few seeds",
        }
    return result


def figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary, nested ones by dotted names; what is null is left out."""
    found: dict[str, float] = {}
    for key in FIGURES:
        value = summary.get(key)
        items = {f"{key}.{part}": item for part, item in value.items()} if isinstance(value, Mapping) else {key: value}
        found |= {name: float(item) for name, item in items.items() if isinstance(item, int | float)}
    return found


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


def _plain(found: Mapping[str, Estimate], *, is_interval: bool = False) -> dict[str, dict[str, float]]:
    return {key: item.to_dict(is_interval=is_interval) for key, item in found.items()}


def _line(
    name: str, figure: Mapping[str, float], difference: Mapping[str, float] | None = None, shown: str = ""
) -> str:
    text = f"{figure['mean']:.4f} +- {figure['standard_deviation']:.4f}"
    apart = ""
    if difference and "low" in difference:
        apart = f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return f"{name:<12}{text:>20}   {apart:<34}{shown:<13}".rstrip()
