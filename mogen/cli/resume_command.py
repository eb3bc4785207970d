"""mogen resume: goes on where a run was stopped."""

from __future__ import annotations

from pathlib import Path

from mogen import plugins
from mogen.cli.run_command import config_of, execute, finished, of_seed, seeds_of


def resume(folder: str, *, progress: bool = True) -> int:
    """Continue a run that was stopped or killed; it ends as the uninterrupted run would have.

    Args:
        folder: a run folder, such as runs/demo, or the folder of several seeds
        progress: show progress
    """
    path = Path(folder)
    config = config_of(path) | {"progress": progress}
    if config["seeds"] > 1:
        places = [(path / f"seed-{seed}", of_seed(config, seed)) for seed in seeds_of(config)]
        is_finished = (path / "summary.json").is_file() and all(finished(*place) for place in places)
    else:
        is_finished = finished(path, of_seed(config, config["seed"])) is not None
    if is_finished:
        print(f"{folder} is finished, there is nothing to resume")
        return 0
    plugins.check_rooms()
    return execute(config | {"out": folder})


COMMAND = resume
