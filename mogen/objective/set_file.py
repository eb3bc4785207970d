"""Objective sets as data: a name, a YAML file or a dictionary becomes an `ObjectiveSet`."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import yaml

from mogen import plugins
from mogen.errors import ConfigError, PluginError
from mogen.objective.constraint import Constraint
from mogen.objective.objective import FunctionObjective, Objective
from mogen.objective.objective_set import ObjectiveSet

SET_KEYS = ("name", "reference", "objectives", "constraints")
OBJECTIVE_KEYS = ("name", "function", "worst", "best", "unit", "source", "version", "init")
CONSTRAINT_KEYS = ("name", "init")


@final
@dataclass(frozen=True)
class LocatedFunction:
    """A function known by where it stands, so that it pickles even where a decorator hides it."""

    group: str
    location: str

    def __call__(self, *args: Any, **kwargs: Any) -> float:
        return _located(self.group, self.location)(*args, **kwargs)


@cache
def _located(group: str, location: str) -> Callable[..., float]:
    """The plain function at a place, looked up once a process."""
    found = plugins.resolve(group, location)
    return found.function if isinstance(found, FunctionObjective) else found


def load_set(text_or_path: str | Path | Mapping[str, Any], *, directory: Path | str | None = None) -> ObjectiveSet[Any]:
    """The set a name, a YAML file or a dictionary describes; files of functions are looked for beside the YAML file."""
    if isinstance(text_or_path, Mapping):
        return _built(text_or_path, Path(directory or "."), "the objective set")
    text = str(text_or_path)
    if not text.endswith((".yaml", ".yml")):
        return plugins.resolve("mogen.objective_sets", text, directory=directory)()
    path = Path(directory or ".") / Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"expected an objective set file, but there is none at {path}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"expected keys {', '.join(SET_KEYS)} in {path}, got {'nothing' if data is None else type(data).__name__}"
        )
    return _built({"name": path.stem, **data}, path.parent, str(path))


def _built(data: Mapping[str, Any], directory: Path, where: str) -> ObjectiveSet[Any]:
    _check_keys(data, SET_KEYS, where)
    objectives, constraints = data.get("objectives") or [], data.get("constraints") or []
    if not isinstance(objectives, list) or not objectives:
        raise ConfigError(
            f"expected a list of at least one objective under 'objectives' in {where}, got {objectives!r}"
        )
    if not isinstance(constraints, list):
        raise ConfigError(f"expected a list under 'constraints' in {where}, got {constraints!r}")
    return ObjectiveSet(
        [_objective(item, directory, where) for item in objectives],
        [_constraint(item, directory, where) for item in constraints],
        name=str(data.get("name", "custom")),
        reference=str(data.get("reference", "")),
    )


def _objective(item: Any, directory: Path, where: str) -> Objective[Any]:
    data = {"name": item} if isinstance(item, str) else item
    _check_keys(data, OBJECTIVE_KEYS, f"an objective of {where}")
    text = data.get("function", data.get("name"))
    if not isinstance(text, str):
        raise ConfigError(f"an objective of {where} needs a 'name' or a 'function', got {dict(data)!r}")
    found = plugins.resolve("mogen.objectives", text, directory=directory)
    init = _init(data, where)
    scale = {key: _number(data[key], key, text, where) for key in ("worst", "best") if key in data}
    if isinstance(found, FunctionObjective):
        result: Any = _function(found, text, init, directory)
    elif isinstance(found, Objective):
        result = copy.copy(found)
    elif inspect.isclass(found) or ("function" not in data and _returns_objective(found)):
        accepted = {key: value for key, value in scale.items() if key in inspect.signature(found).parameters}
        result = _constructed(found, {**init, **accepted}, text, where)
    else:
        if not {"worst", "best"} <= set(scale):
            raise ConfigError(f"the plain function {text!r} needs 'worst' and 'best' in {where}")
        named = data.get("name", text) if "function" in data else text
        plain: FunctionObjective[Any] = FunctionObjective(
            found, name=str(named).rpartition(":")[2], worst=scale["worst"], best=scale["best"], parameters=init
        )
        result = _function(plain, text, {}, directory)
    if not isinstance(result, Objective):
        raise ConfigError(f"expected an objective from {text!r} in {where}, got {type(result).__name__}")
    for key, value in scale.items():
        setattr(result, key, value)
    for key in ("unit", "source", "version"):
        if key in data:
            setattr(result, key, str(data[key]))
    if "function" in data and "name" in data:
        result.name = str(data["name"])
    return result


def _returns_objective(found: Any) -> bool:
    return callable(found) and "Objective" in str(getattr(found, "__annotations__", {}).get("return", ""))


def _function(found: FunctionObjective[Any], text: str, init: Mapping[str, Any], directory: Path) -> Any:
    """The same function by its location; where its version is not stated, a hash of the file stands for it."""
    version, location = found.version, text
    file, _, attribute = text.rpartition(":")
    if file.endswith(".py"):
        path = (directory / Path(file).expanduser()).resolve()
        location = f"{path}:{attribute}"
        if version == "1":
            version = "sha256-" + hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return FunctionObjective(
        LocatedFunction("mogen.objectives", location),
        name=found.name,
        worst=found.worst,
        best=found.best,
        unit=found.unit,
        version=version,
        source=found.source,
        parameters={**found.parameters, **init},
    )


def _constraint(item: Any, directory: Path, where: str) -> Constraint[Any]:
    data = {"name": item} if isinstance(item, str) else item
    _check_keys(data, CONSTRAINT_KEYS, f"a constraint of {where}")
    if not isinstance(data.get("name"), str):
        raise ConfigError(f"a constraint of {where} needs a 'name', got {dict(data)!r}")
    found = plugins.resolve("mogen.constraints", data["name"], directory=directory)
    result = found if isinstance(found, Constraint) else _constructed(found, _init(data, where), data["name"], where)
    if not isinstance(result, Constraint):
        raise ConfigError(f"expected a constraint from {data['name']!r} in {where}, got {type(result).__name__}")
    return result


def _constructed(factory: Any, init: Mapping[str, Any], text: str, where: str) -> Any:
    if not callable(factory):
        raise PluginError(f"expected a class or function behind {text!r} in {where}, got {type(factory).__name__}")
    try:
        inspect.signature(factory).bind(**init)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(factory).parameters) or "(none)"
        raise ConfigError(f"{text!r} in {where} does not fit its parameters {allowed}: {error}") from error
    try:
        return factory(**init)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{text!r} in {where} cannot be built: {error}") from error


def _init(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    init = data.get("init") or {}
    if not isinstance(init, Mapping):
        raise ConfigError(f"expected a mapping under 'init' of {data.get('name')!r} in {where}, got {init!r}")
    return {str(key): value for key, value in init.items()}


def _number(value: Any, key: str, name: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"expected a number for {key!r} of {name!r} in {where}, got {value!r}") from error


def _check_keys(data: Any, allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(data, Mapping):
        raise ConfigError(f"expected a name or a mapping with keys {', '.join(allowed)} for {where}, got {data!r}")
    for key in data:
        if key not in allowed:
            raise ConfigError(f"unknown key {key!r} in {where}: {plugins.closest(str(key), allowed)}")
