"""mogen resume: goes on where a run was stopped."""

from __future__ import annotations

from pathlib import Path

from mogen import plugins
from mogen.cli.run_command import config_of, execute


def resume(folder: str) -> int:
    """Continue a run that was stopped or killed; it ends as the uninterrupted run would have.

    Args:
        folder: a run folder, such as runs/demo
    """
    config = config_of(Path(folder))
    if (Path(folder) / "report.html").is_file() and (Path(folder) / "summary.json").is_file():
        print(f"{folder} is finished, there is nothing to resume")
        return 0
    plugins.check_rooms()
    return execute(config | {"out": folder})


COMMAND = resume
