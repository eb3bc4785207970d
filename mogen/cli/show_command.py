"""mogen show: what a name stands for."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docstring_parser

from mogen import plugins
from mogen.cli import config as settings
from mogen.cli.list_command import GROUPS
from mogen.errors import MogenError, PluginError

FACTS = ("version", "source")


def show(name: str) -> None:
    """Show what a name stands for: what it is, parameters, unit, worst and best, source.

    Args:
        name: an objective, a set (also FILE.yaml), a sampler, a baseline, a constraint, a data set, the folder or
            name of a model, a dotted path, or FILE.py:attribute
    """
    from mogen.dataset import listing
    from mogen.dataset.generated import RECIPES

    plugins.check_rooms()
    kinds = [kind for kind, group in GROUPS.items() if name in plugins.names(group)]
    data = {item.name: item for item in listing()}
    for kind in kinds:
        _show_object(name, kind.removesuffix("s"), plugins.load(GROUPS[kind], name))
    if name in data:
        _show_dataset(data[name])
    elif name in RECIPES and not kinds:
        _show_recipe(name)
    elif "samplers" in kinds and (model := _model(name)):  # a sampler and a trained model of it share a name
        print()
        _show_model(model)
    elif not kinds:
        _show_elsewhere(name, data)


def _show_elsewhere(name: str, data: Mapping[str, Any]) -> None:
    """A file, a folder, a model by its name, or a dotted path."""
    if name.endswith((".yaml", ".yml")):
        from mogen.objective import load_set

        _show_set(name, load_set(name))
    elif name.rpartition(":")[0].endswith(".py"):
        _show_object(name, "of a file", plugins.load_path(name))
    elif model := _model(name):
        _show_model(model)
    elif "." in name and "/" not in name:
        _show_object(name, "dotted path", plugins.load_dotted(name))
    else:
        from mogen.dataset.generated import RECIPES

        known = {item for group in GROUPS.values() for item in plugins.names(group)} | set(data) | set(RECIPES)
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise PluginError(
            f"nothing is called {name!r}: {hint}`mogen list {'|'.join(GROUPS)}|datasets` names what is known"
        )


def _show_object(name: str, kind: str, item: Any) -> None:
    if kind == "set":
        try:
            _show_set(name, item(), inspect.getdoc(item))
        except MogenError as error:
            print(f"{name} (set)\n{inspect.getdoc(item)}\ncannot be built here: {error}")
        return
    described = docstring_parser.parse(inspect.getdoc(item) or "")
    print(f"{name} ({kind})")
    print("\n\n".join(filter(None, [described.short_description, described.long_description])) or "(says nothing)")
    if (callable(item) and not hasattr(item, "evaluate")) or inspect.isclass(item):
        _show_parameters(item, {part.arg_name: part.description or "" for part in described.params})
    _show_facts(item)


def _show_set(name: str, item: Any, text: str | None = None) -> None:
    print(f"{name} (set)")
    for line in filter(None, (text, item.reference)):
        print(line)
    print(f"identity: {item.identity}")
    print("objectives:")
    for objective in item.objectives:
        print(f"  {objective.name:<22} {_scale(objective)}")
        for fact in filter(None, (_written(objective.parameters), objective.source)):
            print(f"  {'':<22} {fact}")
    if item.constraints:
        print("constraints:")
    for constraint in item.constraints:
        print(f"  {constraint.name:<22} {_written(constraint.parameters)}".rstrip())


def _show_parameters(item: Any, helps: Mapping[str, str]) -> None:
    try:
        parameters = list(inspect.signature(item).parameters.values())
    except (TypeError, ValueError):
        return
    print("parameters:" if parameters else "parameters: none")
    hints = settings.hints_of(item)
    for parameter in parameters:
        kind = "anything" if parameter.annotation is parameter.empty else _type(parameter.annotation)
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        print(f"  {parameter.name}: {kind}{default}")
        for text in filter(None, (" ".join(helps.get(parameter.name, "").split()), _choices(hints, parameter.name))):
            print(f"      {text}")


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _choices(hints: Mapping[str, Any], name: str) -> str:
    """Which classes an argument may be of; each can be shown by its own path."""
    found = [settings.dotted(kind) for kind in settings.choices(hints.get(name))]
    return f"class_path: {', '.join(found)}" if found else ""


def _show_facts(item: Any) -> None:
    """Unit, worst, best and source: of the object itself, of one built without arguments, or of its defaults."""
    if callable(item) and not hasattr(item, "worst"):
        item = _built(item)
    if hasattr(item, "evaluate"):
        print(f"unit: {_text(item, 'unit') or 'none'}")
        for fact in ("worst", "best"):
            print(f"{fact}: {_text(item, fact) or 'given by the set'}")
    for fact in FACTS:
        if text := _text(item, fact):
            print(f"{fact}: {text}")


def _text(item: Any, fact: str) -> str:
    """A fact as text: an attribute, else the default of a constructor's parameter."""
    value = getattr(item, fact, None)
    if value is None and inspect.isclass(item):
        parameter = inspect.signature(item).parameters.get(fact)
        value = None if parameter is None or parameter.default is parameter.empty else parameter.default
    if value is None or callable(value) or isinstance(value, property):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


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


def _scale(objective: Any) -> str:
    return f"worst {objective.worst:g}, best {objective.best:g} {objective.unit}".rstrip()


def _written(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in parameters.items() if value is not None)


def _model(name: str) -> Path | None:
    """The folder of a model: of a run, of itself, or of a name."""
    from mogen.dataset.models import named_models

    here = (path for path in (Path(name) / "model", Path(name)) if (path / "sampler.yaml").is_file())
    return next(here, named_models().get(name))


def _show_model(folder: Path) -> None:
    print(f"{folder} (model)")
    if (folder / "card.md").is_file():
        print((folder / "card.md").read_text(encoding="utf-8").strip())
        return
    content = settings.read(folder / "sampler.yaml")
    for key, value in content.items():
        if key not in ("known",):
            print(f"{key}: {value}")


def _show_dataset(found: Any) -> None:
    from mogen.dataset import DATASETS

    known = DATASETS.get(found.name)
    print(f"{found.name} (data set)\n{known.content if known else 'imported'}")
    if known:
        print(f"source: {known.source}")
    print(f"file: {found.path or 'not found; bring it with `mogen data import` or `mogen data get`'}")
    if found.sha256:
        print(f"sha256: {found.sha256}")


def _show_recipe(name: str) -> None:
    from mogen.dataset.generated import COUNT, RECIPES, SEED

    print(f"{name} (data set)\n{' '.join((RECIPES[name].__doc__ or '').split())}")
    print(f"graphs: {COUNT}, made here from seed {SEED}, without a file; the first fifth is the test set")


COMMAND = show
