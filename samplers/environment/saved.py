"""Parts of saved models: a class of this package by its name and arguments."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from mogen.errors import RunError
from samplers.environment.environment import Environment


def class_path(item: object) -> str:
    """Where the class of an object is imported from."""
    return f"{type(item).__module__}.{type(item).__qualname__}"


def imported(path: str) -> Any:
    """A class of the samplers package; raises `RunError` for anything else a file may name."""
    module, _, name = str(path).rpartition(".")
    if not module.startswith("samplers."):
        raise RunError(f"expected a class of the samplers package in a saved sampler, got {path!r}")
    return getattr(import_module(module), name)


def save_environment(environment: Environment, folder: Path) -> dict[str, Any]:
    """Writes an environment's files and returns what `load_environment` needs beside them."""
    environment.write(folder)
    return environment.describe()


def load_environment(folder: Path, facts: dict[str, Any]) -> Environment:
    """The environment saved in a folder."""
    return imported(facts["class_path"]).read(folder, facts["init_args"])
