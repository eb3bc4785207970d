"""Parts of saved models (processes, solvers, networks, scalarizations) by their class and arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mogen import preference as preferences
from mogen.errors import ConfigError, RunError
from mogen.preference import Scalarization

FILE = "mogen.plugins.file_"
"""how the names of modules begin that stand for a file of the user's"""
PLAIN = (type(None), bool, int, float, str)


def described(item: object) -> Any:
    """The class of an object and what it was made with, for objects that keep their arguments under their names."""
    if isinstance(item, PLAIN):
        return item
    if isinstance(item, list | tuple):
        return [described(part) for part in item]
    if isinstance(item, Mapping):
        return {str(key): described(part) for key, part in item.items()}
    kind = type(item)
    given = getattr(item, "options", None)  # a network's attributes are its parts
    if given is None:
        given = {name: getattr(item, name) for name in inspect.signature(kind).parameters}
    arguments = {name: described(value) for name, value in given.items()}
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def rebuilt(facts: Any) -> Any:
    """The object `described` described; raises `RunError` for classes that are not of the samplers package."""
    if isinstance(facts, list):
        return [rebuilt(part) for part in facts]
    if not isinstance(facts, Mapping):
        return facts
    if set(facts) != {"class_path", "init_args"}:
        return {key: rebuilt(part) for key, part in facts.items()}
    module, _, name = str(facts["class_path"]).rpartition(".")
    if not module.startswith("samplers."):
        raise RunError(f"expected a class of the samplers package in a saved model, got {facts['class_path']!r}")
    kind = getattr(import_module(module), name, None)
    if not inspect.isclass(kind):
        raise RunError(f"expected a class of the samplers package in a saved model, got {facts['class_path']!r}")
    try:
        return kind(**{key: rebuilt(part) for key, part in facts["init_args"].items()})
    except (TypeError, AttributeError) as error:
        raise RunError(f"expected the arguments of {name} in a saved model, got others: {error}") from error


def described_scalarization(item: Scalarization) -> dict[str, Any]:
    """The class of a scalarization and its arguments, of which it can be made again.

    Raises `ConfigError` for a class without an import path, and for arguments that are not kept under their names or
    that are no numbers, texts, lists or mappings of such.
    """
    kind = type(item)
    path = f"{kind.__module__}.{kind.__qualname__}"
    try:
        facts = {"class_path": path, "init_args": _arguments(item)}
        made = rebuilt_scalarization(facts)
    except (RunError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"expected a scalarization that can be saved, got {path}: {error}") from error
    if type(made) is not kind or _arguments(made) != facts["init_args"]:
        raise ConfigError(
            f"expected a scalarization that can be saved, got {path}, which is another one when read back"
        )
    return facts


def _arguments(item: object) -> dict[str, Any]:
    """What an object was made with, where it keeps that under its names."""
    found = {name: getattr(item, name) for name in inspect.signature(type(item)).parameters}
    for name, value in found.items():
        if not _is_plain(value):
            raise TypeError(f"its {name} is of type {type(value).__qualname__}")
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _is_plain(value: Any) -> bool:
    """Whether YAML keeps a value as it is."""
    if type(value) in (list, tuple):
        return all(_is_plain(part) for part in value)
    if type(value) is dict:
        return all(type(key) is str and _is_plain(part) for key, part in value.items())
    return type(value) in PLAIN


def rebuilt_scalarization(facts: Any) -> Scalarization:
    """The scalarization `described_scalarization` described, or one of `mogen.preference` by its name alone.

    Other classes must be subclasses of `Scalarization` that can be imported; a class in a file of the user's must have
    been loaded already, for a saved model runs no file. Raises `RunError` for anything else.
    """
    if isinstance(facts, str):
        return _of_ours(facts)()
    if not isinstance(facts, Mapping) or set(facts) != {"class_path", "init_args"}:
        raise RunError(f"expected class_path and init_args of a scalarization in a saved model, got {facts!r}")
    path, given = str(facts["class_path"]), facts["init_args"]
    module, _, name = path.rpartition(".")
    kind = getattr(_module(module, path), name, None)
    if not (inspect.isclass(kind) and issubclass(kind, Scalarization) and not inspect.isabstract(kind)):
        raise RunError(f"expected a class of scalarizations in a saved model, got {path!r}, which is none")
    try:
        return kind(**given)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise RunError(f"expected the arguments of {name} in a saved model, got others: {error}") from error


def _module(name: str, path: str) -> Any:
    """A module that was loaded or is installed, but no file of the user's."""
    if name in sys.modules:
        return sys.modules[name]
    if name.startswith(FILE):
        raise RunError(
            f"expected a scalarization of an installed package in a saved model, got {path.rpartition('.')[2]!r} of a "
            "file, which a saved model does not run: put it into a package, or load the file first"
        )
    try:
        return import_module(name)
    except Exception as error:  # importing runs a stranger's code
        raise RunError(
            f"expected a scalarization that can be imported in a saved model, got {path!r}: {error}"
        ) from error


def _of_ours(name: str) -> type[Scalarization]:
    """A scalarization of `mogen.preference` by its name."""
    kind = getattr(preferences, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, Scalarization) and not inspect.isabstract(kind)):
        raise RunError(f"expected the name of a scalarization of mogen.preference in a saved model, got {name!r}")
    return kind
