"""mogen show: what a name stands for."""

from __future__ import annotations

import inspect
from typing import Any

from mogen import plugins
from mogen.cli.list_command import GROUPS
from mogen.errors import MogenError, PluginError


def show(name: str) -> None:
    """Show what a name stands for: what it is, parameters, unit, worst and best, source.

    Args:
        name: an objective, a set, a sampler, a baseline, a constraint, a data set, or FILE.py:attribute
    """
    from mogen.dataset import DATASETS

    plugins.check_rooms()
    if name.rpartition(":")[0].endswith(".py"):
        _show_object(name, "object", plugins.load_path(name))
        return
    kinds = [kind for kind, group in GROUPS.items() if name in plugins.names(group)]
    for kind in kinds:
        _show_object(name, kind.removesuffix("s"), plugins.load(GROUPS[kind], name))
    if name in DATASETS:
        _show_dataset(name)
    elif not kinds:
        known = {item for group in GROUPS.values() for item in plugins.names(group)} | set(DATASETS)
        raise PluginError(f"nothing is called {name!r}: {plugins.closest(name, known)}")


def _show_object(name: str, kind: str, item: Any) -> None:
    print(f"{name} ({kind})")
    if text := inspect.getdoc(item):
        print(text)
    if kind == "set":
        _show_set(item())
        return
    if (callable(item) and not hasattr(item, "evaluate")) or inspect.isclass(item):
        _show_parameters(item)
    _show_facts(item)


def _show_set(item: Any) -> None:
    print(f"identity {item.identity}")
    for objective in item.objectives:
        print(f"  {objective.name:<24} worst {objective.worst:g}, best {objective.best:g} {objective.unit}".rstrip())
    for constraint in item.constraints:
        print(f"  constraint {constraint.identity}")


def _show_parameters(item: Any) -> None:
    try:
        parameters = list(inspect.signature(item).parameters.values())
    except (TypeError, ValueError):
        return
    print("parameters:" if parameters else "parameters: none")
    for parameter in parameters:
        print(f"  {parameter}")


def _show_facts(item: Any) -> None:
    """Unit, worst, best and source: of the object itself, else of the one built without arguments."""
    if callable(item) and not hasattr(item, "worst"):
        item = _built(item)
    for fact in ("unit", "worst", "best", "version", "source"):
        value = getattr(item, fact, None)
        if value not in (None, "") and not callable(value):
            print(f"{fact}: {value}")


def _built(item: Any) -> Any:
    try:
        required = [p for p in inspect.signature(item).parameters.values() if p.default is p.empty]
        required = [p for p in required if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if inspect.isabstract(item) or required:
            return item
        built = item()
    except (MogenError, TypeError, ValueError):
        return item
    return built if hasattr(built, "worst") else item


def _show_dataset(name: str) -> None:
    from mogen.dataset import DATASETS, listing

    found = next(item for item in listing() if item.name == name)
    print(f"{name} (data set)\n{DATASETS[name].content}\nsource: {DATASETS[name].source}")
    print(f"file: {found.path or 'not found'}")


COMMAND = show
