"""What a finished run says on the terminal: its figures beside those of every baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("method", "hypervolume", "front", "zero share", "R2", "IntDiv", "alignment", "asked", "paid", "seconds")

NOTE = """* the largest of this run; only at least five seeds can show a win (--seeds 5)
  paid: what no method had asked for before; baselines begin with the same random candidates"""


def table(summary: Mapping[str, Any]) -> str:
    """One line a method, the best hypervolume marked with a star, and what the star means."""
    methods = {"mogen": summary, **summary.get("baselines", {})}
    best = max((found["hypervolume"] or 0.0) for found in methods.values())
    rows = [COLUMNS]
    for name, found in methods.items():
        seconds = found["seconds"]
        spent = seconds["train"] + seconds["final"] if isinstance(seconds, Mapping) else seconds
        star = "*" if found["hypervolume"] == best and len(methods) > 1 else ""
        rows.append(
            (
                name,
                number(found["hypervolume"]) + star,
                str(found["front_size"]),
                number(found["zero_share"], 3),
                number((found["r2"] or {}).get("mean")),
                number((found["diversity"] or {}).get("intdiv"), 3),
                number(found["alignment"], 3),
                str(found["asked"]),
                str(found["paid"]),
                number(spent, 1),
            )
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = [
        row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    if len(methods) > 1:
        lines.append(NOTE)
    if spent := summary.get("sampler"):
        lines.append("sampler: " + ", ".join(f"{key.replace('_', ' ')} {amount(spent[key])}" for key in spent))
    return "\n".join(lines)


def amount(value: float | None) -> str:
    """A count with separators, a share, or a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
