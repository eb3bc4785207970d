"""A run's config: a YAML file and options on top of it, checked key by key, then typed by jsonargparse."""

from __future__ import annotations

import argparse
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from mogen import plugins
from mogen.cli.arguments import sentence
from mogen.errors import ConfigError

BASELINES = ("random", "nsga2", "graph_ga")


@dataclass
class ExecutorSettings:
    """How measurements are run: worker processes (0: in this process), seconds a chunk may take, candidates a chunk."""

    workers: NonNegativeInt = 0
    timeout: PositiveFloat | None = 60.0
    chunk: PositiveInt = 32


@dataclass
class FinalSettings:
    """What is drawn after training: candidates for every point of a simplex lattice."""

    partitions: PositiveInt = 10
    per_preference: NonNegativeInt = 4


def parser(*, is_light: bool = False) -> ArgumentParser:
    """The parser of `mogen run`; a light one describes the sampler without importing torch."""
    kind: Any = str
    if not is_light:
        from mogen.sampler import Sampler

        kind = Sampler
    made = ArgumentParser(
        prog="mogen run",
        usage="mogen run CONFIG [--key value ...] [--seeds 5] [--out DIR] [--print_config]",
        description="Run an experiment; every option may stand in the YAML file CONFIG as well.",
        exit_on_error=False,
    )
    made.add_argument("--name", type=str, default="run", help="what the run is called")
    made.add_argument("--seed", type=int, default=0, help="the first seed")
    made.add_argument("--seeds", type=PositiveInt, default=1, help="how many seeds, each in OUT/seed-<k>")
    made.add_argument("--budget", type=PositiveInt, required=True, help="unique candidates the run may ask for")
    made.add_argument("--out", type=str | None, default=None, help="run folder (default: runs/<name>)")
    made.add_argument("--objectives", type=str | dict, required=True, help="a set's name, a YAML file, or a set inline")
    made.add_argument("--sampler", type=kind, required=True, help="class_path (a short name or dotted) and init_args")
    made.add_argument("--baselines", type=list[str], default=list(BASELINES), help="what it is compared with")
    made.add_argument("--executor", type=ExecutorSettings, default=ExecutorSettings(), help="how measurements are run")
    made.add_argument("--final", type=FinalSettings, default=FinalSettings(), help="what is drawn after training")
    made.add_argument("--progress", type=bool, default=True, help="show progress")
    return made


def read(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"expected a config file, got {error.strerror or error} for {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected YAML in {path}, got {sentence(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"expected a mapping of keys to values in {path}, got {type(content).__name__}")
    return content


def override(config: dict[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """A config with `--a.b value` and `--a.b=value` put in; values are YAML."""
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"expected an option such as --budget 1000, got {word!r}")
        key, given, text = word[2:].partition("=")
        if not given:
            if not words:
                raise ConfigError(f"expected a value after {word}")
            text = words.pop(0)
        try:
            _put(config, key.split("."), yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigError(f"expected a value after --{key}, got {text!r}") from error
    return config


def parse(config: dict[str, Any], directory: Path) -> tuple[ArgumentParser, Namespace]:
    """The typed config, with short names and relative files made complete."""
    made = parser()
    known = [action.dest for action in made._actions if action.dest not in ("help", "print_config")]
    _check(config, [key for key in known if "." not in key], "the config")
    config = {"sampler": {"class_path": "gflownet"}} | config
    for key, kind in (("executor", ExecutorSettings), ("final", FinalSettings)):
        _check(config.get(key) or {}, list(inspect.signature(kind).parameters), key)
    config["sampler"] = _sampler(config["sampler"], directory)
    config["objectives"] = _absolute(config.get("objectives"), directory)
    try:
        return made, made.parse_object({key: value for key, value in config.items() if value is not None})
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(sentence(error)) from error


def _sampler(given: Any, directory: Path) -> dict[str, Any]:
    given = {"class_path": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("class_path"), str):
        raise ConfigError(f"expected a sampler with class_path and init_args, got {given!r}")
    arguments = dict(given.get("init_args") or {})
    arguments |= {key: value for key, value in given.items() if key not in ("class_path", "init_args")}
    kind = plugins.resolve("mogen.samplers", given["class_path"], directory=directory)
    _check_class(kind, arguments, f"sampler {given['class_path']}")
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def _check_class(kind: Any, arguments: Mapping[str, Any], where: str) -> None:
    """Checks the keys for a constructor, and of the objects below it."""
    _check(arguments, list(inspect.signature(kind).parameters), where)
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (NameError, TypeError, AttributeError):
        hints = {}
    for key, value in arguments.items():
        if not isinstance(value, dict):
            continue
        below = plugins.load_dotted(value["class_path"]) if "." in str(value.get("class_path")) else None
        if below is not None:
            _check_class(below, value.get("init_args") or {}, f"{where}, {key}")
        elif "class_path" not in value and (single := _only_class(hints.get(key))):
            _check_class(single, value, f"{where}, {key}")


def _only_class(hint: Any) -> Any:
    """The one concrete class a hint allows beside None."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    classes = [item for item in options if inspect.isclass(item) and item is not type(None)]
    is_own = len(classes) == 1 and not inspect.isabstract(classes[0]) and classes[0].__module__ != "builtins"
    return classes[0] if is_own else None


def _check(given: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise ConfigError(f"expected keys and values for {where}, got {given!r}")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} has no key {key!r}: {plugins.closest(str(key), known)}")


def _absolute(given: Any, directory: Path, key: str = "") -> Any:
    """The same description of objectives with files named from the root, so that a run can be resumed from anywhere."""
    if isinstance(given, dict):
        return {name: _absolute(value, directory, str(name)) for name, value in given.items()}
    if isinstance(given, list):
        return [_absolute(value, directory) for value in given]
    if isinstance(given, str) and (given.endswith((".yaml", ".yml")) or ".py:" in given):
        return str((directory / Path(given).expanduser()).resolve())
    return given


def _put(config: dict[str, Any], path: list[str], value: Any) -> None:
    *above, last = path
    for part in above:
        below = config.get(part)
        if isinstance(below, str):
            below = {"class_path": below}
        config[part] = below if isinstance(below, dict) else {}
        config = config[part]
    if last == "class_path" and config.get("class_path") != value:
        config.clear()
    config[last] = value
