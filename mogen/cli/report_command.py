"""mogen report: the page of a finished run."""

from __future__ import annotations

import json
from pathlib import Path

from mogen.errors import RunError


def report(folder: str) -> None:
    """Write the report of a finished run again, from the files of its folder alone.

    Args:
        folder: a run folder, such as runs/demo, or the folder of several seeds
    """
    path = Path(folder)
    if not path.is_dir():
        raise RunError(f"expected a run folder, there is none at {folder}")
    if not (path / "summary.json").is_file():
        raise RunError(
            f"expected a finished run with summary.json, there is none in {folder}: `mogen resume` ends a run"
        )
    from mogen.report import write_report

    summary = _summary(path)
    for part in [path / f"seed-{seed}" for seed in summary.get("seeds", [])] or [path]:
        print(write_report(part))
    if "seeds" in summary:
        from mogen.cli.seeds import table

        print(table(summary))


def _summary(folder: Path) -> dict:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"expected JSON in {folder / 'summary.json'}, got {error}") from error
    if not isinstance(summary, dict):
        raise RunError(f"expected keys and values in {folder / 'summary.json'}, got a {type(summary).__name__}")
    return summary


COMMAND = report
