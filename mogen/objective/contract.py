"""What every objective and objective set promises, for authors to run theirs through."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence

import torch
from torch import Tensor

from mogen.errors import ObjectiveError
from mogen.objective.objective import Objective
from mogen.objective.objective_set import ObjectiveSet
from mogen.types import C


def check_objective(objective: Objective[C], candidates: Sequence[C]) -> None:
    """Raises `ObjectiveError` with one sentence where an objective breaks its promise on these candidates.

    Values are deterministic, finite or NaN, the same in any batch and order, and after pickling; the candidates
    are left as they were; worst differs from best; the parameters are JSON.
    """
    name, given, keys = objective.name, list(candidates), [candidate.key for candidate in candidates]
    _require(abs(objective.best - objective.worst) > 0, f"{name!r} needs a worst that differs from its best")
    try:
        json.dumps(dict(objective.parameters))
    except (TypeError, ValueError) as error:
        raise ObjectiveError(f"{name!r} needs parameters that are JSON: {error}") from error
    values = ObjectiveSet.checked(objective, given)
    _require([item.key for item in given] == keys and len(given) == len(candidates), f"{name!r} changed its candidates")
    _require(not bool(values.isinf().any()), f"{name!r} must return NaN where undefined, got an infinite value")
    _require(len(ObjectiveSet.checked(objective, [])) == 0, f"{name!r} must return no value for no candidate")
    _require(_same(values, ObjectiveSet.checked(objective, given)), f"{name!r} gave other values when asked again")
    alone = [ObjectiveSet.checked(objective, [item]) for item in given]
    _require(_same(values, torch.cat([values[:0], *alone])), f"{name!r} gave other values one by one than in a batch")
    backwards = ObjectiveSet.checked(objective, given[::-1]).flip(0)
    _require(_same(values, backwards), f"{name!r} gave other values in another order")
    try:
        twin = pickle.loads(pickle.dumps(objective))
    except Exception as error:
        raise ObjectiveError(f"{name!r} must be picklable for worker processes: {error}") from error
    _require(twin.identity == objective.identity, f"{name!r} has another identity after pickling")
    _require(_same(values, ObjectiveSet.checked(twin, given)), f"{name!r} gave other values after pickling")


def check_objective_set(objectives: ObjectiveSet[C], candidates: Sequence[C]) -> None:
    """Raises `ObjectiveError` where one objective, one constraint or the common scale breaks its promise."""
    for item in objectives.objectives:
        check_objective(item, candidates)
    for constraint in objectives.constraints:
        passed = constraint.passes(candidates)
        is_right = passed.dtype == torch.bool and passed.shape == (len(candidates),)
        _require(is_right, f"constraint {constraint.name!r} must return one boolean per candidate")
        _require(torch.equal(passed, constraint.passes(candidates)), f"constraint {constraint.name!r} changed its mind")
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


def _same(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=1e-9, atol=1e-12, equal_nan=True)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ObjectiveError(sentence)
