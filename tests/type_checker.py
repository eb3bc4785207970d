"""What checks types at run time under `pytest --typecheck`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception

strict = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""a whole number is a float, as for mypy"""


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with its types checked, or as it is where beartype cannot (`Self`, and protocols of type checkers)."""
    try:
        return strict(function)
    except (BeartypeDecorHintPep673Exception, BeartypeDecorHintPep3119Exception):
        return function
