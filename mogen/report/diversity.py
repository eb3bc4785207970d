"""How different the molecules of each method are, on its front and along the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from mogen.report.folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

POINTS = 40
LIMIT = 1000
"""molecules of one method looked at in all, evenly spaced, and of one front"""


@final
@dataclass(frozen=True)
class DiversityCurve:
    """IntDiv after so many asked candidates: of the front so far, and of everything asked so far (None for none)."""

    asked: list[int] = field(default_factory=list)
    front: list[float | None] = field(default_factory=list)
    everything: list[float | None] = field(default_factory=list)
    circles: int | None = None
    """#Circles of the last front at a Tanimoto distance of 0.75"""


def diversity_curve(run: RunFolder, method: str) -> DiversityCurve:
    """The diversity of one method against asked candidates; empty where its candidates are no molecules."""
    import numpy as np

    from mogen.metric import circles, fingerprints, intdiv, tanimoto

    table = run.candidates[run.candidates["method"] == method].drop_duplicates("candidate")
    n = len(table)
    counts = sorted({max(1, round(n * step / POINTS)) for step in range(1, POINTS + 1)}) if n else []
    valid = _valid(table, [axis.utility for axis in run.axes])
    fronts = _fronts(table, [axis.utility for axis in run.axes], valid, counts)
    places = np.flatnonzero(valid)
    spread = places[np.linspace(0, len(places) - 1, min(LIMIT, len(places))).round().astype(int)]
    looked = np.unique(np.concatenate([spread, *fronts])).astype(int)
    readable, bits = fingerprints([str(key) for key in table["candidate"].iloc[looked]])
    if not readable:
        return DiversityCurve()
    row = {int(looked[place]): at for at, place in enumerate(readable)}
    spread = np.array([place for place in spread if int(place) in row], dtype=int)
    whole = tanimoto(bits[[row[int(place)] for place in spread]]).numpy()
    everything = [_mean_distance(whole, int((spread < count).sum())) for count in counts]
    chosen = [[row[int(place)] for place in front if int(place) in row] for front in fronts]
    front = [intdiv(tanimoto(bits[rows])) if rows else None for rows in chosen]
    last = circles(1 - tanimoto(bits[chosen[-1]])) if chosen and chosen[-1] else None
    return DiversityCurve(counts, front, everything, last)


def _valid(table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Which rows may stand on a front."""
    known = table[columns].notna().all(axis=1)
    if "valid" in table.columns:
        known &= table["valid"].astype(bool)
    return known.to_numpy()


def _fronts(table: pd.DataFrame, columns: list[str], valid: np.ndarray, counts: list[int]) -> list[np.ndarray]:
    """Positions of (at most `LIMIT`) members of the front after each number of asked candidates."""
    import numpy as np
    import torch

    from mogen.pareto import is_non_dominated

    utility = table[columns].to_numpy(dtype="float64", copy=True)
    members, start, fronts = np.zeros(0, dtype=int), 0, []
    for count in counts:
        members = np.concatenate([members, start + np.flatnonzero(valid[start:count])])
        if len(members):
            members = members[is_non_dominated(torch.from_numpy(utility[members])).numpy()]
        fronts.append(members[np.linspace(0, len(members) - 1, min(LIMIT, len(members))).round().astype(int)])
        start = count
    return fronts


def _mean_distance(similarity: np.ndarray, count: int) -> float | None:
    """IntDiv of the first `count` rows."""
    return float(1 - similarity[:count, :count].mean()) if count else None
