"""The options of a command are the parameters of a function: types, defaults and docstring make the parser."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import docstring_parser
from jsonargparse import ActionConfigFile, ActionYesNo, ArgumentParser

from mogen.errors import ConfigError
from mogen.plugins import closest


def call(function: Callable[..., Any], program: str, argv: Sequence[str]) -> int:
    """Calls a function with what a command line says; the exit code is what it returns where that is an integer.

    A function marked with `takes_raw_arguments = True` gets the words as they are and answers `--help` itself.
    """
    if getattr(function, "takes_raw_arguments", False):
        result = function(list(argv))
    else:
        try:
            arguments = parse(parser_of(function, program), argv)
        except SystemExit as stop:
            return int(stop.code or 0)
        result = function(**arguments)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def parser_of(function: Callable[..., Any], program: str) -> ArgumentParser:
    """A parser in which keyword-only parameters are options and the others are positions."""
    described = docstring_parser.parse(inspect.getdoc(function) or "")
    helps = {item.arg_name: item.description or "" for item in described.params}
    summary = " ".join(filter(None, [described.short_description, described.long_description]))
    parser = ArgumentParser(prog=program, description=summary, exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file with any of these options")
    hints = get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        _add(parser, parameter, hints.get(parameter.name, str), helps.get(parameter.name, ""))
    return parser


def parse(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """The options as a dictionary; raises `ConfigError` with one sentence where they do not fit."""
    for word in argv:
        name = word.split("=")[0]
        if name.startswith("--") and len(name) > 2 and name not in options(parser):
            raise ConfigError(f"there is no option {name!r}: {closest(name, options(parser))}")
    try:
        values = parser.parse_args(list(argv)).as_dict()
    except argparse.ArgumentError as error:
        raise ConfigError(sentence(error)) from error
    return {key: value for key, value in values.items() if key != "config"}


def options(parser: ArgumentParser) -> list[str]:
    """The long options a parser knows."""
    return [text for action in parser._actions for text in action.option_strings if text.startswith("--")]


def sentence(error: BaseException, limit: int = 500) -> str:
    """A parser's complaint, on one line and without its own indentation and bullets."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return text if len(text) <= limit else f"{text[:limit]} ..."


def _add(parser: ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    required = parameter.default is inspect.Parameter.empty
    name = parameter.name
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY and required and name != "out":
        parser.add_argument(name, type=hint, help=text)
        return
    flags = ([f"-{name}"] if len(name) == 1 else []) + [f"--{name}"]
    if hint is bool:
        parser.add_argument(f"--{name}", action=ActionYesNo, default=parameter.default, help=text)
    elif required:
        parser.add_argument(*flags, type=hint, required=True, help=text)
    else:
        parser.add_argument(*flags, type=hint, default=parameter.default, help=text)
