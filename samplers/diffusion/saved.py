"""Parts of saved models (processes, solvers, networks) by their class and arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mogen.errors import RunError


def described(item: object) -> Any:
    """The class of an object and what it was made with, for objects that keep their arguments under their names."""
    if item is None or isinstance(item, bool | int | float | str):
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
