"""A run's config: a YAML file and options on top of it, checked key by key, then typed by jsonargparse."""

from __future__ import annotations

import argparse
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from mogen import plugins
from mogen.cli.arguments import explained, sentence
from mogen.cli.loop import LoopSettings
from mogen.errors import ConfigError, MogenError, PluginError

BASELINES = ("random", "nsga2", "graph_ga")
SWITCHES = ("progress", "overwrite")
"""options that need no value on the command line"""
FILES = (
    *(".json", ".yaml", ".yml", ".csv", ".smi", ".sdf", ".txt", ".gz", ".npz", ".parquet"),
    *(".pt", ".ckpt", ".safetensors"),
    *(".pdb", ".ent", ".cif", ".mmcif", ".bcif"),
)
"""what the name of a file ends in, so that it is looked for beside the YAML file that names it"""
NESTED = ("class_path", "init_args")


@dataclass
class ExecutorSettings:
    """How measurements are run.

    Args:
        workers: worker processes (0: in this process)
        timeout: seconds one objective may take for one chunk in a worker process
        chunk: candidates measured at a time
    """

    workers: NonNegativeInt = 0
    timeout: PositiveFloat | None = 60.0
    chunk: PositiveInt = 32


@dataclass
class FinalSettings:
    """What is drawn after training.

    Args:
        partitions: steps from 0 to 1 of the simplex lattice of preferences
        per_preference: candidates for every preference of the lattice
    """

    partitions: PositiveInt = 10
    per_preference: NonNegativeInt = 4


def parser(*, is_light: bool = False) -> ArgumentParser:
    """The parser of `mogen run`; a light one, for `--help`, describes the sampler without importing torch."""
    if is_light:
        kind: Any = {"type": str, "default": "gflownet"}
    else:
        from mogen.sampler import Sampler

        kind = {"type": Sampler, "required": True}
    made = ArgumentParser(
        prog="mogen run",
        usage="mogen run CONFIG [--key value ...] [--seeds 5] [--out DIR] [--print_config]",
        description="Run the experiment of the YAML file CONFIG. Every option below may stand in the file; given on "
        "the command line, it replaces what the file says.",
        epilog="Options of the sampler, as `mogen show gflownet` lists them, follow --sampler.init_args: "
        "--sampler.init_args.steps 500. --print_config prints the complete config and ends. Files named in CONFIG are "
        "looked for beside it, files named on the command line in the current folder.",
        exit_on_error=False,
    )
    add = made.add_argument
    add("--name", type=str, default="run", help="what the run is called")
    add("--seed", type=int, default=0, help="the first seed")
    add("--seeds", type=PositiveInt, default=1, help="how many seeds; several go into OUT/seed-<k>, then are compared")
    add("--budget", type=PositiveInt, required=True, help="unique candidates the run may ask for")
    add("--out", type=str | None, default=None, help="run folder (default: runs/<name>)")
    add("--overwrite", type=bool, default=False, help="start again in a folder that already holds a run")
    add("--objectives", type=str | dict, required=True, help="a set's name, a YAML file, or a set inline")
    add("--sampler", **kind, help="a sampler's name, or class_path and init_args")
    add("--baselines", type=list[str], default=list(BASELINES), help="what it is compared with; [] for nothing")
    add("--progress", type=bool, default=True, help="show progress")
    add("--executor", type=ExecutorSettings, default=ExecutorSettings(), help="how measurements are run")
    add("--final", type=FinalSettings, default=FinalSettings(), help="what is drawn after training")
    add("--loop", type=LoopSettings | None, default=None, help="active learning: a belief chooses what is measured")
    for action in made._actions:
        if action.dest in ("executor", "final"):
            action.help = argparse.SUPPRESS
    return made


def read(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"expected a YAML file, got {error.strerror or error} for {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected YAML in {path}, got {sentence(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"expected a mapping of keys to values in {path}, got {_kind(content)}")
    return content


def override(config: dict[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """A config with `--a.b value` and `--a.b=value` put in; values are YAML, files are those of the current folder."""
    if isinstance(config.get("sampler"), str | dict):
        config["sampler"] = _spelled_out(config["sampler"])
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"expected an option such as --budget 1000, got {word!r}")
        key, given, text = word[2:].partition("=")
        if not given:
            if key in SWITCHES and (not words or words[0].startswith("--")):
                text = "true"
            elif not words:
                raise ConfigError(f"expected a value after {word}, got nothing")
            else:
                text = words.pop(0)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text  # a SMILES such as [*]CC is no YAML
        path = key.split(".")
        _put(config, path, absolute({path[0]: value}, Path.cwd())[path[0]], key)
    return config


def absolute(config: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """A config whose objectives, sampler and baselines name files from the root, so that it means the same anywhere."""
    return {
        key: _from_root(value, directory) if key in ("objectives", "sampler", "baselines", "loop") else value
        for key, value in config.items()
    }


def parse(config: Mapping[str, Any]) -> tuple[ArgumentParser, Namespace]:
    """The typed config, with short names made complete; raises `ConfigError` with one sentence where it is wrong."""
    made = parser()
    known = [action.dest for action in made._actions if action.dest not in ("help", "print_config")]
    check_keys(config, [key for key in known if "." not in key], "the config")
    full = {"sampler": "gflownet"} | {key: value for key, value in config.items() if value is not None}
    for key, kind in (("executor", ExecutorSettings), ("final", FinalSettings), ("loop", LoopSettings)):
        check_keys(full.get(key) or {}, list(inspect.signature(kind).parameters), key)
    if isinstance(full.get("baselines"), str):
        full["baselines"] = [name.strip() for name in full["baselines"].split(",") if name.strip()]
    if isinstance(full.get("objectives"), list):
        full["objectives"] = {"objectives": full["objectives"]}
    full["sampler"] = _sampler(full["sampler"])
    try:
        return made, made.parse_object(full)
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(explained(error)) from error


def instantiate(made: ArgumentParser, values: Namespace) -> Any:
    """The sampler a typed config describes; what its parts complain about comes out as they said it."""
    try:
        return made.instantiate(values).sampler
    except MogenError:
        raise
    except (argparse.ArgumentError, TypeError, ValueError) as error:
        reason: BaseException | None = error
        while reason is not None and not isinstance(reason, MogenError):
            reason = reason.__cause__ or reason.__context__
        raise ConfigError(f"the sampler cannot be built: {sentence(reason or error)}") from error


def choices(hint: Any) -> list[type]:
    """The concrete classes a type hint allows, apart from None and built-in types: subclasses that are imported."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) else (hint,)
    kinds = [item for item in options if inspect.isclass(item) and item.__module__ != "builtins"]
    return list(dict.fromkeys(found for kind in kinds for found in _concrete(kind)))


def hints_of(kind: Any) -> dict[str, Any]:
    """The type hints of a constructor; nothing where they cannot be told."""
    try:
        return typing.get_type_hints(kind.__init__ if inspect.isclass(kind) else kind)
    except (NameError, TypeError, AttributeError):
        return {}


def dotted(kind: type) -> str:
    """Where a class is imported from."""
    return f"{kind.__module__}.{kind.__qualname__}"


def check_keys(given: Any, known: Sequence[str], where: str) -> None:
    """Raises `ConfigError` for anything but a mapping with known keys; names them."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"expected keys and values for {where}, got {given!r}")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} has no key {key!r}: {plugins.closest(str(key), known)}")


def _sampler(given: Any) -> dict[str, Any]:
    from mogen.sampler import Sampler

    given = {"class_path": given} if isinstance(given, str) else given
    if isinstance(given, dict):
        given = {"class_path": "gflownet"} | given
    if not isinstance(given, dict) or not isinstance(given["class_path"], str):
        raise ConfigError(f"expected a sampler's name, or class_path and init_args, for sampler, got {given!r}")
    kind = plugins.resolve("mogen.samplers", given["class_path"])
    if not (inspect.isclass(kind) and issubclass(kind, Sampler)):
        raise ConfigError(f"expected a class of samplers for sampler, got {given['class_path']!r}, which is none")
    return _part(kind, given, "sampler")


def _part(kind: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """class_path and init_args of one object, its keys checked, and of the objects below it."""
    below: Any = given.get("init_args") or {}
    if not isinstance(below, Mapping):
        raise ConfigError(f"expected keys and values for {where}.init_args, got {below!r}")
    arguments = {**below, **{key: value for key, value in given.items() if key not in NESTED}}
    parameters = inspect.signature(kind).parameters
    if not any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
        check_keys(arguments, list(parameters), where)
    hints = hints_of(kind)
    complete = {key: _argument(hints.get(key), value, f"{where}.{key}") for key, value in arguments.items()}
    return {"class_path": dotted(kind), "init_args": complete}


def _argument(hint: Any, value: Any, where: str) -> Any:
    """One argument; where its type is a class, which one is found out and its own arguments are checked."""
    known = choices(hint)
    is_named = isinstance(value, str) and str not in typing.get_args(hint)
    if not known or not (is_named or isinstance(value, Mapping)):
        return value
    given: Mapping[str, Any] = {"class_path": value} if isinstance(value, str) else value
    named = given.get("class_path")
    if named is None and len(known) > 1:
        raise ConfigError(f"expected class_path for {where}, one of {_names(known)}, got only {', '.join(given)}")
    kind = known[0] if named is None else _class(str(named), hint, known, where)
    part = _part(kind, given, where)
    return part if inspect.isabstract(_base(hint)) or len(known) > 1 or named else part["init_args"]


def _class(text: str, hint: Any, known: list[type], where: str) -> type:
    """The class a short name, a dotted path or FILE.py:name stands for, if it is one the hint allows."""
    short = {kind.__qualname__: kind for kind in known}
    if text in short:
        return short[text]
    try:
        found = plugins.load_path(text) if ".py:" in text else plugins.load_dotted(text) if "." in text else None
    except PluginError as error:
        raise ConfigError(f"{where}: {error}; known are {_names(known)}") from error
    if not (inspect.isclass(found) and issubclass(found, _base(hint))):
        raise ConfigError(f"expected one of {_names(known)} for {where}, got {text!r}")
    return found


def _base(hint: Any) -> type:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) else (hint,)
    return next(item for item in options if inspect.isclass(item) and item.__module__ != "builtins")


def _concrete(kind: type) -> Iterator[type]:
    if not inspect.isabstract(kind):
        yield kind
    children: list[type] = kind.__subclasses__()
    for child in children:
        yield from _concrete(child)


def _names(kinds: Sequence[type]) -> str:
    return ", ".join(sorted(dotted(kind) for kind in kinds))


def _from_root(given: Any, directory: Path, key: str = "") -> Any:
    if isinstance(given, dict):
        return {name: _from_root(value, directory, str(name)) for name, value in given.items()}
    if isinstance(given, list):
        return [_from_root(value, directory) for value in given]
    is_file = isinstance(given, str) and (given.endswith(FILES) or ".py:" in given)
    return str((directory / Path(given).expanduser()).resolve()) if is_file else given


def _spelled_out(given: Any) -> Any:
    """The description of an object with its arguments under init_args, also where they stand beside class_path."""
    if isinstance(given, str):
        return {"class_path": given}
    below = {key: value for key, value in given.items() if key not in NESTED}
    arguments = given.get("init_args") or {}
    if not isinstance(arguments, dict):
        return given
    arguments = {
        key: _spelled_out(value) if isinstance(value, dict) and "class_path" in value else value
        for key, value in (arguments | below).items()
    }
    return {"class_path": given.get("class_path", "gflownet"), "init_args": arguments}


def _put(config: dict[str, Any], path: list[str], value: Any, option: str) -> None:
    *above, last = path
    for depth, part in enumerate(above):
        config = _inner(config, part)
        below = config.get(part)
        if isinstance(below, str) and path[0] == "sampler":
            below = {"class_path": below}
        if below is None:
            below = {"class_path": "gflownet"} if part == "sampler" else {}
        if not isinstance(below, dict):
            raise ConfigError(f"--{option} has no place: {'.'.join(above[: depth + 1])} is {below!r}")
        config[part] = below
        config = below
    config = _inner(config, last)
    if last == "class_path" and config.get("class_path") != value:
        config.clear()
    config[last] = value


def _inner(config: dict[str, Any], key: str) -> dict[str, Any]:
    """Where a key belongs: below init_args in the description of an object."""
    if "class_path" not in config or key in NESTED:
        return config
    config["init_args"] = config.get("init_args") or {}
    return config["init_args"]


def _kind(content: Any) -> str:
    return "an empty file" if content is None else type(content).__name__
