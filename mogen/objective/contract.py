"""What every objective and objective set promises, for authors to run theirs through."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import MogenError, ObjectiveError
from mogen.objective.constraint import Constraint
from mogen.objective.objective import Objective
from mogen.objective.objective_set import ObjectiveSet
from mogen.types import C


def check_objective(objective: Objective[C], candidates: Sequence[C]) -> None:
    """Raises `ObjectiveError` with one sentence where an objective breaks its promise on these candidates.

    It has a name, finite worst and best that differ, and parameters that are JSON. Values are one per candidate,
    deterministic, finite or NaN, the same in any batch and order, and after pickling; the candidates are left as they
    were.
    """
    name, given, keys = objective.name, list(candidates), [candidate.key for candidate in candidates]
    _require(isinstance(name, str) and bool(name), f"an objective needs a text as its name, got {name!r}")
    _check_facts(objective)
    values = _values(objective, given)
    _require([item.key for item in given] == keys and len(given) == len(candidates), f"{name!r} changed its candidates")
    _require(not bool(values.isinf().any()), f"{name!r} must return NaN where undefined, got an infinite value")
    _values(objective, [])
    _require(_same(values, _values(objective, given)), f"{name!r} gave other values when asked again")
    alone = [_values(objective, [item]) for item in given]
    _require(_same(values, torch.cat([values[:0], *alone])), f"{name!r} gave other values one by one than in a batch")
    backwards = _values(objective, given[::-1]).flip(0)
    _require(_same(values, backwards), f"{name!r} gave other values in another order")
    try:
        twin = pickle.loads(pickle.dumps(objective))
    except Exception as error:  # pickling runs the author's code
        raise ObjectiveError(f"{name!r} must be picklable for worker processes: {error}") from error
    _require(twin.identity == objective.identity, f"{name!r} has another identity after pickling")
    _require(_same(values, _values(twin, given)), f"{name!r} gave other values after pickling")


def check_objective_set(objectives: ObjectiveSet[C], candidates: Sequence[C]) -> None:
    """Raises `ObjectiveError` where one objective, one constraint or the common scale breaks its promise."""
    for item in objectives.objectives:
        check_objective(item, candidates)
    for constraint in objectives.constraints:
        passed = _passed(constraint, candidates)
        _require(
            torch.equal(passed, _passed(constraint, candidates)), f"constraint {constraint.name!r} changed its mind"
        )
    found = objectives(candidates)
    inside = bool(((found.utility >= 0) & (found.utility <= 1)).all())
    _require(inside, f"{objectives.name!r} has a utility outside [0, 1]")
    _require(
        not bool(found.utility[~found.is_valid].any()), f"{objectives.name!r} gives utility to an invalid candidate"
    )
    sign = torch.sign(objectives.best - objectives.worst)
    for i, name in enumerate(objectives.names):
        order = (found.raw[found.is_valid, i] * sign[i]).argsort()
        rising = found.utility[found.is_valid, i][order].diff() >= 0
        _require(bool(rising.all()), f"the utility of {name!r} falls toward its best")


def _check_facts(objective: Objective[C]) -> None:
    """Worst, best and parameters."""
    name = objective.name
    for fact in ("worst", "best"):
        value = getattr(objective, fact, None)
        is_number = isinstance(value, int | float) and math.isfinite(value)
        _require(is_number, f"{name!r} needs a finite number as its {fact}, got {value!r}")
    _require(objective.best != objective.worst, f"{name!r} needs a worst that differs from its best")
    try:
        json.dumps(dict(objective.parameters))
    except (TypeError, ValueError) as error:
        raise ObjectiveError(f"{name!r} needs parameters that are JSON: {error}") from error


def _values(objective: Objective[C], candidates: Sequence[C]) -> Float[Tensor, " n"]:
    """Raw values, one per candidate; whatever the objective raises comes out as one sentence."""
    given = [id(candidate) for candidate in candidates]
    try:
        return ObjectiveSet.checked(objective, candidates)
    except MogenError as error:
        _require([id(item) for item in candidates] == given, f"{objective.name!r} changed its candidates")
        raise ObjectiveError(str(error)) from error
    except Exception as error:  # evaluating runs the author's code
        raise ObjectiveError(
            f"{objective.name!r} must return NaN where undefined, got {type(error).__name__}: {error} "
            f"for {len(candidates)} candidates"
        ) from error


def _passed(constraint: Constraint[C], candidates: Sequence[C]) -> Bool[Tensor, " n"]:
    """One boolean per candidate; whatever the constraint raises comes out as one sentence."""
    try:
        passed = constraint.passes(candidates)
    except Exception as error:  # a constraint runs the author's code
        raise ObjectiveError(f"constraint {constraint.name!r} raised {type(error).__name__}: {error}") from error
    is_right = isinstance(passed, Tensor) and passed.dtype == torch.bool and passed.shape == (len(candidates),)
    _require(is_right, f"constraint {constraint.name!r} must return one boolean per candidate, got {passed!r}")
    return passed


def _same(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=1e-9, atol=1e-12, equal_nan=True)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ObjectiveError(sentence)
