"""The command `mogen`: finds the subcommand, turns errors into one sentence."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mogen import __version__, plugins
from mogen.cli.arguments import call
from mogen.errors import ConfigError, MogenError

COMMANDS = {
    "run": "run an experiment from a YAML file",
    "resume": "continue a run that was stopped or killed",
    "train": "train a generator on data, from a YAML file",
    "ask": "what to measure next, of a run whose values come from people",
    "tell": "what came of measurements",
    "sample": "candidates from a trained model, for one preference or many",
    "report": "write the report of a finished run again",
    "list": "what is installed: objectives, sets, samplers, baselines, constraints, datasets, models",
    "show": "what a name stands for: parameters, units, worst and best, source",
    "data": "get, import and list data sets",
    "doctor": "versions, processors, optional extras and data folders of this installation",
}
"""our own subcommands; those of a family come in through the group mogen.commands"""
SPINS = {"GOMP_SPINCOUNT": "2000"}
"""how short threads of a product wait awake; libgomp's own choice is 30 times as slow where other work holds a core"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and gives its exit code: 0 done, 2 a mistake that was explained, 130 stopped by hand."""
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ |= SPINS  # heard when torch is imported, which no module above does
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except MogenError as error:
        print(f"mogen: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mogen: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"mogen: error: the system says {error.strerror or error}{where}", file=sys.stderr)
        return 2


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"mogen {__version__}")
        return 0
    name, rest = argv[0], argv[1:]
    if name in COMMANDS:
        return _invoke(importlib.import_module(f"mogen.cli.{name}_command").COMMAND, name, rest)
    if name in plugins.names("mogen.commands"):
        return _invoke(plugins.load("mogen.commands", name), name, rest)
    known = [*COMMANDS, *plugins.names("mogen.commands")]
    raise ConfigError(f"there is no command {name!r}: {plugins.closest(name, known)}")


def _invoke(command: Callable[..., Any] | Mapping[str, Callable[..., Any]], name: str, argv: list[str]) -> int:
    """Calls a function with the options on the line, or the one of several functions that the next word names."""
    if callable(command):
        return call(command, f"mogen {name}", argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_group_help(name, command))
        return 0 if argv else 2
    if argv[0] not in command:
        raise ConfigError(f"there is no command 'mogen {name} {argv[0]}': {plugins.closest(argv[0], command)}")
    return call(command[argv[0]], f"mogen {name} {argv[0]}", argv[1:])


def _help() -> str:
    lines = ["usage: mogen COMMAND ...", "", "A config in, a Pareto front of real candidates out.", "", "commands:"]
    lines += [f"  {name:<12}{text}" for name, text in COMMANDS.items()]
    lines += [f"  {name:<12}more: mogen {name} --help" for name in plugins.names("mogen.commands")]
    lines += ["", "options:", "  -h, --help  this text; also after a command", "  --version   the version installed"]
    return "\n".join(lines)


def _group_help(name: str, command: Mapping[str, Callable[..., Any]]) -> str:
    lines = [f"usage: mogen {name} COMMAND ...", "", "commands:"]
    lines += [f"  {key:<12}{_first_line(function)}" for key, function in command.items()]
    lines += ["", f"mogen {name} COMMAND --help says more."]
    return "\n".join(lines)


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
