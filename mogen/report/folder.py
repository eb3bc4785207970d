"""The files of a finished run, read back and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from mogen.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("summary.json", "candidates.parquet", "hypervolume.csv", "config.yaml", "versions.json", "front.csv")
OURS = "mogen"


@dataclass(frozen=True)
class Axis:
    """One objective as a reader meets it."""

    name: str
    unit: str
    worst: float
    best: float

    @property
    def raw(self) -> str:
        """The column of raw values."""
        return f"raw_{self.name}"

    @property
    def utility(self) -> str:
        """The column of utilities."""
        return f"utility_{self.name}"

    @property
    def label(self) -> str:
        """Name and unit, as written beside an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def sense(self) -> str:
        """Which raw values are better."""
        return "more is better" if self.best > self.worst else "less is better"


@final
@dataclass(frozen=True)
class RunFolder:
    """What a finished run left on disk; read one with `RunFolder.read`."""

    path: Path
    summary: Mapping[str, Any]
    versions: Mapping[str, Any]
    config: str
    candidates: pd.DataFrame
    front: pd.DataFrame
    hypervolume: pd.DataFrame

    @classmethod
    def read(cls, path: Path | str) -> RunFolder:
        """Reads a run folder; raises `RunError` where it is missing, unfinished or damaged."""
        import pandas as pd

        path = Path(path)
        if not path.is_dir():
            raise RunError(f"expected the folder of a finished run, got {str(path)!r}, which is not a folder")
        missing = [name for name in REQUIRED if not (path / name).is_file()]
        if missing:
            raise RunError(f"expected a finished run with all its files, but {path} lacks {', '.join(missing)}")
        run = cls(
            path=path,
            summary=_read(path / "summary.json", _mapping),
            versions=_read(path / "versions.json", _mapping),
            config=_read(path / "config.yaml", lambda file: file.read_text(encoding="utf-8")),
            candidates=_read(path / "candidates.parquet", pd.read_parquet),
            front=_read(path / "front.csv", _table),
            hypervolume=_read(path / "hypervolume.csv", _table),
        )
        run._check()
        return run

    def _check(self) -> None:
        columns = [column for axis in self.axes for column in (axis.raw, axis.utility)]
        expected = {
            "candidates.parquet": (self.candidates, ["method", "candidate", *columns]),
            "front.csv": (self.front, ["candidate", *columns]),
            "hypervolume.csv": (self.hypervolume, ["method", "asked", "hypervolume"]),
        }
        for name, (table, wanted) in expected.items():
            absent = [column for column in wanted if column not in table.columns]
            if absent:
                raise RunError(f"expected the columns {', '.join(absent)}, which {self.path / name} lacks")

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The objectives, in the order of the run."""
        try:
            return tuple(
                Axis(str(item["name"]), str(item.get("unit") or ""), float(item["worst"]), float(item["best"]))
                for item in self.summary["objectives"]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"expected objectives with name, worst and best in {self.path / 'summary.json'}, got {error!r}"
            ) from error

    @cached_property
    def objective_set(self) -> str:
        """The name of the objective set."""
        given = self.summary.get("objective_set")
        return str(given.get("name", "")) if isinstance(given, Mapping) else str(given or "")

    @cached_property
    def title(self) -> str:
        """The run and its objectives by name."""
        name = self.path.resolve().name
        return name if self.objective_set in ("", name) else f"{name}: {self.objective_set}"

    @cached_property
    def figures(self) -> dict[str, Mapping[str, Any]]:
        """The figures of each method, ours first."""
        return {OURS: self.summary, **(self.summary.get("baselines") or {})}

    @cached_property
    def ranked_front(self) -> pd.DataFrame:
        """The front, best mean utility first."""
        utility = self.front[[axis.utility for axis in self.axes]].mean(axis=1)
        order = utility.sort_values(ascending=False, kind="stable").index
        return self.front.loc[order].reset_index(drop=True)

    def baseline_front(self, method: str) -> pd.DataFrame:
        """The candidates of one baseline that no other of its candidates dominates, best mean utility first."""
        import torch

        from mogen.pareto import is_non_dominated

        rows = self.candidates[self.candidates["method"] == method]
        if "valid" in rows.columns:
            rows = rows[rows["valid"].astype(bool)]
        columns = [axis.utility for axis in self.axes]
        rows = rows.dropna(subset=columns).drop_duplicates("candidate")
        if rows.empty:
            return rows.reset_index(drop=True)
        keep = is_non_dominated(torch.as_tensor(rows[columns].to_numpy(dtype="float64", copy=True)))
        rows = rows[keep.numpy()]
        order = rows[columns].mean(axis=1).sort_values(ascending=False, kind="stable").index
        return rows.loc[order].reset_index(drop=True)


def number(value: Any) -> float | None:
    """A finite number, or None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


NOT_OURS = ("baselines", "report", "total")
"""seconds of a run that its own method did not spend"""


def seconds(figures: Mapping[str, Any]) -> float | None:
    """The seconds a method itself took, whether given as one number or by stage; baselines and report left out."""
    given = figures.get("seconds")
    if not isinstance(given, Mapping):
        return number(given)
    stages = [value for name, value in given.items() if name not in NOT_OURS]
    known = [value for value in map(number, stages) if value is not None]
    return sum(known) if known else None


def _mapping(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} at the top")
    return value


def _table(path: Path) -> pd.DataFrame:
    """A CSV whose keys stay text: `001`, `None` and `NA` are names, only an empty cell is missing."""
    import pandas as pd

    text = {"candidate": str, "method": str}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """One file through its reader; every way of being damaged is one `RunError`."""
    try:
        return reader(path)
    except (OSError, ValueError) as error:  # JSON, CSV, Unicode and Arrow errors are all ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(f"expected a readable {path.name} in {path.parent}, got: {reason}") from error
