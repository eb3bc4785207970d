"""The options of a command are the parameters of a function: types, defaults and docstring make the parser."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import docstring_parser
from jsonargparse import ActionConfigFile, ArgumentParser

from mogen.errors import ConfigError
from mogen.plugins import closest

NOUNS = {
    "PositiveInt": "a whole number above 0",
    "NonNegativeInt": "a whole number of at least 0",
    "PositiveFloat": "a number above 0",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "list": "a list",
    "dict": "keys and values",
    "NoneType": "null",
}
"""how types are called in sentences"""


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
    for action in parser._actions:
        if action.dest == "print_config":
            action.help, action.metavar = "print these options as YAML and end", ""
    return parser


def parse(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """The options as a dictionary; raises `ConfigError` with one sentence where they do not fit."""
    for word in argv:
        name = word.split("=")[0]
        if name.startswith("--") and len(name) > 2 and name not in options(parser):
            raise ConfigError(f"there is no option {name!r}: {closest(name, options(parser))}")
    try:
        values = parser.parse_args(joined(argv)).as_dict()
    except argparse.ArgumentError as error:
        raise ConfigError(explained(error)) from error
    return {key: value for key, value in values.items() if key != "config"}


def joined(argv: Sequence[str]) -> list[str]:
    """The words, with a value that begins with a minus sign tied to its option: `--preference=-1,2`."""
    words: list[str] = []
    for word in argv:
        if re.match(r"-[\d.]", word) and words and words[-1].startswith("--") and "=" not in words[-1]:
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def options(parser: ArgumentParser) -> list[str]:
    """The long options a parser knows."""
    return [text for action in parser._actions for text in action.option_strings if text.startswith("--")]


def explained(error: BaseException) -> str:
    """A parser's complaint as a sentence: what was expected, where, what came."""
    text = sentence(error, limit=10_000)
    if missing := re.search(r"arguments are required: (.*)", text):
        return f"expected a value for {missing[1]}, got none"
    if extra := re.search(r"[Uu]nrecognized arguments: (.*)", text):
        return f"expected nothing more, got {extra[1]}"
    if alone := re.search(r"argument (?:-\w/)?(--?\w+): expected one argument", text):
        return f"expected a value after {alone[1]}, got nothing"
    where = ".".join(re.findall(r'Parser key "([^"]+)"', text))
    given = re.search(
        r"Got value: (.*)|Given value: (.*)|Not of type \w+: (.*?) (?:does not conform|not an integer)|: '(.*)'$", text
    )
    kinds = re.search(r"Subtypes: \[(.*?)\] Errors", text) or re.search(r"Not of type (\w+)|Expected an? (<.*?>)", text)
    if not (where and given and kinds):
        return sentence(error)
    found = next(group for group in given.groups() if group is not None)
    return f"expected {_nouns(' '.join(filter(None, kinds.groups())))} for {where}, got {sentence(found, 100)!r}"


def sentence(error: BaseException | str, limit: int = 500) -> str:
    """A complaint on one line, without indentation, and not longer than the limit."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return text if len(text) <= limit else f"{text[:limit]} ..."


def _nouns(kinds: str) -> str:
    names = [name.split(".")[-1] for name in re.findall(r"[\w.]+", kinds) if name not in ("class", "restricted")]
    return " or ".join(dict.fromkeys(NOUNS.get(name, name) for name in names))


def _add(parser: ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    required = parameter.default is inspect.Parameter.empty
    name = parameter.name
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY and required and name != "out":
        parser.add_argument(name, type=hint, help=text)
        return
    flags = ([f"-{name}"] if len(name) == 1 else []) + [f"--{name}"]
    if required:
        parser.add_argument(*flags, type=hint, required=True, help=text)
    else:
        parser.add_argument(*flags, type=hint, default=parameter.default, help=text)
