"""One run on disk: its files, what is finished of it, and who may continue it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, final

import yaml

from mogen.errors import RunError


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all: to a temporary neighbour first, then renamed."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON whole or not at all; NaN and infinities are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises `RunError` where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"expected a readable JSON file, got {error} in {path}") from error


def plain(content: Any) -> Any:
    """Content as JSON knows it: tuples become lists, anything else unknown becomes text."""
    return json.loads(json.dumps(content, default=str))


@final
class RunFolder:
    """The folder of one run.

    `state.json` holds what the run is (`facts`), the stages that are finished with what each left, and the seconds
    spent in each stage over all sessions. It is written whole or not at all, so a run killed at any moment can go on.
    """

    FILES = (
        "config.yaml",
        "versions.json",
        "ledger.sqlite",
        "ledger.sqlite-wal",
        "ledger.sqlite-shm",
        "metrics.csv",
        "candidates.parquet",
        "front.csv",
        "front.sdf",
        "hypervolume.csv",
        "rounds.csv",
        "report.html",
        "front.png",
        "hypervolume.png",
        "summary.json",
        "log.txt",
        "final.json",
        "state.json",
        "run.lock",
    )
    FOLDERS = ("checkpoints", "baselines", "model")
    STATE = ("facts", "stages", "seconds")
    FIRST = frozenset({"run.lock", "config.yaml", "config.yaml.part", "state.json.part"})
    """what is written before the state, and may be there without it"""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.state: dict[str, Any] = {key: {} for key in self.STATE}
        self.lock: IO[str] | None = None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def open(self, config: Mapping[str, Any], facts: Mapping[str, Any], *, overwrite: bool = False) -> bool:
        """Starts a run here or takes up an unfinished one of the same config; returns whether it was taken up.

        Raises `RunError` where the folder holds something else, another config or a finished run (without
        `overwrite`), or where another process is at work in it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"expected a folder for the run, got a file at {self.path}")
        if self.foreign():
            raise RunError(f"expected a new or empty folder or an unfinished run, got other files in {self.path}")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.acquire()
        except OSError as error:
            raise RunError(f"expected a folder that can be written, got {error.strerror} for {self.path}") from error
        try:
            return self.take(config, facts, overwrite)
        except BaseException:
            self.release()
            raise

    def take(self, config: Mapping[str, Any], facts: Mapping[str, Any], overwrite: bool) -> bool:
        """Goes on with the run of this folder, which is ours alone, or makes it a new one."""
        is_run = (self / "state.json").is_file()
        kept = {} if not is_run or overwrite else self.read()
        if is_run and not overwrite and not kept.get("is_clearing"):
            self.check(config, facts)
            self.state = kept
            return True
        self.state = {"facts": plain(facts), "stages": {}, "seconds": {}, "is_clearing": True}
        if is_run:
            self.save()
        self.clear()
        write_text(self / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))
        del self.state["is_clearing"]
        self.save()
        return False

    def foreign(self) -> list[str]:
        """Names in a folder that is no run, other than those of a run killed before its state was written."""
        if not self.path.is_dir() or (self / "state.json").exists():
            return []
        names = {item.name for item in self.path.iterdir()}
        return sorted(names - (self.FIRST if "run.lock" in names else set()))

    def check(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Raises `RunError` unless the run in this folder is unfinished and has this config."""
        changed = differences(self.kept_config(), plain(config)) or differences(self.read()["facts"], plain(facts))
        if changed:
            raise RunError(
                f"expected the config the run was started with, got another {', '.join(changed)} in {self.path}; "
                "choose another folder or overwrite the run"
            )
        if self.is_finished:
            raise RunError(f"expected another folder, or --overwrite to run again: {self.path} holds a finished run")

    def kept_config(self) -> Any:
        """The config on disk."""
        try:
            return yaml.safe_load((self / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RunError(f"expected the run's config, got {error} in {self / 'config.yaml'}") from error

    def read(self) -> dict[str, Any]:
        """The state on disk."""
        state = read_json(self / "state.json")
        if not isinstance(state, dict) or not all(isinstance(state.get(key), dict) for key in self.STATE):
            raise RunError(f"expected a run's state with {', '.join(self.STATE)}, got another JSON in {self.path}")
        return state

    @property
    def is_finished(self) -> bool:
        """Whether the last stage is done."""
        return (self / "state.json").is_file() and "report" in self.read()["stages"]

    def finished(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left, or None where it is not finished."""
        return self.state["stages"].get(stage)

    def finish(self, stage: str, **left: Any) -> None:
        """Marks a stage as finished."""
        self.state["stages"][stage] = left
        self.save()

    def spend(self, stage: str, seconds: float) -> None:
        """Adds time to a stage; kept on disk, so that it adds up over sessions."""
        self.state["seconds"][stage] = self.state["seconds"].get(stage, 0.0) + seconds
        self.save()

    def save(self) -> None:
        """Writes the state whole or not at all."""
        write_json(self / "state.json", self.state)

    def clear(self) -> None:
        """Removes a run's own files and folders, nothing else; its lock and state stay."""
        for name in self.FILES:
            (self / f"{name}.part").unlink(missing_ok=True)
            if name not in ("run.lock", "state.json"):
                (self / name).unlink(missing_ok=True)
        for name in self.FOLDERS:
            shutil.rmtree(self / name, ignore_errors=True)

    def acquire(self) -> None:
        """Takes the run for this process; the lock goes with the process, however it ends, and is not inherited."""
        self.lock = (self / "run.lock").open("w")
        try:
            fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            self.release()
            raise RunError(
                f"expected a run nobody works on, got one another process is running in {self.path}"
            ) from error

    def release(self) -> None:
        """Gives the run back."""
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def differences(kept: Any, given: Any) -> list[str]:
    """The names of the entries that differ between two mappings."""
    if not isinstance(kept, dict) or not isinstance(given, dict):
        return [] if kept == given else ["config"]
    names: Iterable[str] = [*kept, *(name for name in given if name not in kept)]
    return [name for name in names if kept.get(name) != given.get(name)]
