"""Measured candidates in files: what a user has, and what a robot sends back."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from mogen.errors import DataError
from mogen.loop.library import COLUMNS, standard
from mogen.objective import Evaluation, ObjectiveSet, Status

FAILED = ("failed", "fail", "error", "invalid")
"""what stands in a cell where a measurement was tried and failed"""
NOISE = "_sd"
"""what stands after an objective's name in the column of its standard deviations"""
MISSING = ("", "nan", "na", "n/a", "none", "null", "-")
"""what stands in a cell where nothing was measured"""


@final
@dataclass(frozen=True)
class Measurements:
    """Rows of a file: candidates (repeats are replicates) and their evaluation."""

    candidates: list[Any]
    evaluation: Evaluation
    lines: list[int]
    """the line (or record) of the file each row stands in"""

    def __len__(self) -> int:
        return len(self.candidates)


def read_measurements(
    path: str | Path,
    objectives: ObjectiveSet[Any],
    *,
    kind: str = "molecule",
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Measurements:
    """The rows of a CSV, SDF or Parquet file; raises `DataError` that names every wrong row by its line.

    `columns` says which column holds the candidate (key `candidate`) and each objective, where they are called
    otherwise; `units` says which unit a column is in, which must be the objective's. An objective without a column is
    missing. A column `status` that says failed makes every empty value of its row a failure. A column of an objective's
    name and `_sd` holds the standard deviations of its measurements, where they are known.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"expected a file of measurements, there is none at {path}")
    lines, rows = _rows(path)
    given = list(dict.fromkeys(name for row in rows for name in row))
    names = _names(objectives, given, dict(columns or {}), path)
    _check_units(objectives, dict(units or {}), path)
    wrong: list[str] = []
    candidates, kept, cells, noises = [], [], [], []
    for line, row in zip(lines, rows, strict=True):
        text = str(row.get(names["candidate"]) or "").strip()
        candidate = standard(text, kind)
        if candidate is None:
            wrong.append(f"line {line}: {text!r} is no {kind}")
            continue
        has_failed = str(row.get("status") or "").strip().lower() in FAILED
        try:
            values = [_cell(row.get(names[item.name]), item.name, has_failed) for item in objectives.objectives]
            noise = [_noise(row.get(names[item.name + NOISE]), item.name) for item in objectives.objectives]
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
            continue
        candidates.append(candidate)
        kept.append(line)
        cells.append(values)
        noises.append(noise)
    if wrong:
        more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise DataError(f"expected candidates and numbers in {path}, got {'; '.join(wrong[:8])}{more}")
    m = objectives.m
    raw = torch.tensor([[value for value, _ in row] for row in cells], dtype=torch.float64).reshape(-1, m)
    status = torch.tensor([[int(state) for _, state in row] for row in cells], dtype=torch.long).reshape(-1, m)
    found = objectives.evaluation(raw, None, status)
    levels = torch.tensor(noises, dtype=torch.float64).reshape(-1, m)
    return Measurements(candidates, replace(found, noise=levels) if levels.isfinite().any() else found, kept)


def _names(objectives: ObjectiveSet[Any], given: Sequence[str], mapped: dict[str, str], path: Path) -> dict[str, str]:
    """Which column holds what."""
    levels = [name + NOISE for name in objectives.names]
    known = ["candidate", *objectives.names, *levels]
    for key, column in mapped.items():
        if key not in known:
            raise DataError(f"expected columns for {', '.join(known)}, got one for {key!r}")
        if column not in given:
            raise DataError(f"expected a column {column!r} for {key} in {path}, got {', '.join(given) or 'none'}")
    names = {name: mapped.get(name, name) for name in (*objectives.names, *levels)}
    names["candidate"] = mapped.get("candidate") or next((c for c in given if c.strip().lower() in COLUMNS), "")
    if not names["candidate"]:
        raise DataError(f"expected a column {' or '.join(COLUMNS)} in {path}, got {', '.join(given) or 'none'}")
    if not any(names[name] in given for name in objectives.names):
        raise DataError(
            f"expected a column for at least one of {', '.join(objectives.names)} in {path}, got {', '.join(given)}"
        )
    return names


def _check_units(objectives: ObjectiveSet[Any], units: dict[str, str], path: Path) -> None:
    for item in objectives.objectives:
        if item.name in units and units[item.name] != item.unit:
            raise DataError(
                f"expected {item.name!r} in {item.unit or 'no unit'}, got {units[item.name]} in {path}: convert the "
                "column, or state the objective in the unit that was measured"
            )


def _cell(cell: Any, name: str, has_failed: bool) -> tuple[float, Status]:
    """A value and its status; raises `ValueError` for what is neither a number, nor nothing, nor a failure."""
    text = "" if cell is None else str(cell).strip()
    if text.lower() in FAILED:
        return math.nan, Status.FAILED
    if text.lower() in MISSING:
        return math.nan, Status.FAILED if has_failed else Status.MISSING
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number for {name}") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no finite number for {name}")
    return value, Status.MEASURED


def _noise(cell: Any, name: str) -> float:
    """A standard deviation, NaN where none is given; raises `ValueError` for anything else."""
    value, state = _cell(cell, f"{name}{NOISE}", False)
    if state == Status.MEASURED and value < 0:
        raise ValueError(f"{cell!r} is no standard deviation of {name}")
    return value


def _rows(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """Line numbers (from 1, the header included) and rows by column; empty rows are left out."""
    ending = path.suffix.lower()
    try:
        lines, rows = _sdf(path) if ending == ".sdf" else _parquet(path) if ending == ".parquet" else _csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"expected a table in {path}, got {' '.join(str(error).split())[:200]}") from error
    kept = [place for place, row in enumerate(rows) if any(str(cell or "").strip() for cell in row.values())]
    return [lines[place] for place in kept], [rows[place] for place in kept]


def _csv(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """Separated by whatever of comma, semicolon and tab is most frequent in the first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=head.count))
        names = next(reader, None)
        if not names:
            raise ValueError("an empty file")
        lines, rows = [], []
        for cells in reader:
            lines.append(reader.line_num)
            rows.append(dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=False)))
    return lines, rows


def _parquet(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    import pandas as pd

    records = pd.read_parquet(path).to_dict("records")
    rows: list[dict[str, Any]] = [{str(key): value for key, value in record.items()} for record in records]
    return list(range(1, len(rows) + 1)), rows


def _sdf(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    """Records and properties of an SDF; the record's number stands for its line."""
    from mogen.domain.sdf import read_sdf

    rows = read_sdf(path)
    return list(range(1, len(rows) + 1)), rows
