"""One number about a candidate, and how to make one from a plain function."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.types import C


class Objective(ABC, Generic[C]):
    """One number about a candidate (its expectation, where a measurement is noisy)."""

    name: str
    unit: str = ""
    worst: float
    """raw value worth nothing (utility 0)"""
    best: float
    """raw value worth everything (utility 1); best < worst means lower is better"""
    version: str = "1"
    """changes whenever the same candidate would get another value; part of the ledger's key"""
    source: str = ""
    """where the definition comes from"""
    parameters: Mapping[str, Any] = {}
    """what distinguishes this instance from others of its class; part of the ledger's key, JSON only"""

    @abstractmethod
    def evaluate(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        """Raw values, one per candidate; NaN where undefined."""

    @property
    def identity(self) -> str:
        """What the ledger knows this measurement by: name, parameters, version (not worst and best)."""
        written = ",".join(f"{key}={self.parameters[key]!r}" for key in sorted(self.parameters))
        return f"{self.name}({written})@{self.version}"


@final
class FunctionObjective(Objective[C]):
    """An objective that calls a plain function, candidate by candidate.

    It pickles by the function's module and name, also where `@objective` has put itself in the function's place.
    """

    def __init__(
        self,
        function: Callable[..., float],
        *,
        name: str,
        worst: float,
        best: float,
        unit: str = "",
        version: str = "1",
        source: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.name, self.unit, self.worst, self.best = name, unit, float(worst), float(best)
        self.version, self.source, self.parameters = version, source, dict(parameters or {})
        self.__doc__ = inspect.getdoc(function)

    def evaluate(self, candidates: Sequence[C]) -> Float[Tensor, " n"]:
        values = [float(self.function(candidate, **self.parameters)) for candidate in candidates]
        return torch.tensor(values, dtype=torch.float64)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        module, name = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "")
        if module is not None and isinstance(_named(module, name), FunctionObjective):
            state["function"] = (module, name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["function"], tuple):
            state = {**state, "function": _named(*state["function"]).function}
        vars(self).update(state)


def _named(module: str, name: str) -> Any:
    """What stands under a name in a module; None where nothing does (a function inside another, say)."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def objective(
    *, worst: float, best: float, unit: str = "", name: str | None = None, version: str = "1", source: str = ""
) -> Callable[[Callable[..., float]], FunctionObjective]:
    """Makes an objective of a function of one candidate.

    @objective(worst=10, best=1)
    def steps(molecule): ...
    """

    def wrap(function: Callable[..., float]) -> FunctionObjective:
        return FunctionObjective(
            function,
            name=name or function.__name__,
            worst=worst,
            best=best,
            unit=unit,
            version=version,
            source=source,
        )

    return wrap
