"""mogen report: the page of a finished run."""

from __future__ import annotations

from pathlib import Path

from mogen.errors import RunError


def report(folder: str) -> None:
    """Write the report of a finished run again, from the files of its folder alone.

    Args:
        folder: a run folder, such as runs/demo
    """
    path = Path(folder)
    if not path.is_dir():
        raise RunError(f"expected a run folder, there is none at {folder}")
    if not (path / "summary.json").is_file():
        raise RunError(
            f"expected a finished run with summary.json, there is none in {folder}: `mogen resume` ends a run"
        )
    from mogen.report import write_report

    print(write_report(path))


COMMAND = report
