"""The contract of environments: it passes on a good one and names the promise a broken one does not keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mogen.errors import ConfigError, MogenError
from samplers.environment.contract import check_environment
from samplers.environment.exact import all_paths
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.strings import StringEnvironment


def grid(**changed: Any) -> HyperGrid:
    """A small grid, some methods replaced."""
    environment = HyperGrid(2, 4)
    for name, method in changed.items():
        setattr(environment, name, method)
    return environment


GOOD = HyperGrid(2, 4)


def forgets_to_stop(state, action):
    return replace(GOOD.step(state, action), is_stopped=state.is_stopped)


def falls_from_anywhere(state):
    falls = (state.position > 0) & ~state.is_stopped[:, None]
    return torch.cat([falls, state.is_stopped[:, None]], -1)


def moves_twice(state, action):
    after = GOOD.step(state, action)
    return replace(after, position=after.position + (after.position > 0))


def always_stops_first(state, *, generator=None):
    return torch.full((len(state.position), GOOD.max_steps, 1), 2)


@pytest.mark.parametrize(
    "changed, promise",
    [
        ({"step": forgets_to_stop}, "terminal after max_steps"),
        ({"max_steps": 3}, "terminal after max_steps"),
        ({"backward_allowed": falls_from_anywhere}, "must not be terminal"),
        ({"backward_step": lambda state, action: state}, "must restore 'position'"),
        ({"reverse": lambda state, action, after: action[:, 0]}, "only padding"),
        ({"decode": lambda state: []}, "must decode"),
        ({"unfold": always_stops_first}, "back to the same candidates"),
        ({"log_symmetry": lambda state: torch.ones(len(state.position))}, "must sum to one"),
        ({"allowed": lambda state, chosen: torch.ones(len(state.position), 3, dtype=torch.bool)}, "contract broken"),
        ({"features": lambda state: state.position[:3]}, "one row a state"),
    ],
)
def test_broken_promises_are_named(changed: dict, promise: str) -> None:
    if "features" in changed:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HyperGrid, "features", lambda self, state: changed["features"](state))
            with pytest.raises(MogenError, match=promise):
                check_environment(grid())
        return
    with pytest.raises(MogenError, match=promise):
        check_environment(grid(**changed))


def test_good_environments_pass() -> None:
    check_environment(grid())
    check_environment(FragmentEnvironment(max_fragments=3), n=8)


def test_a_full_string_must_not_change(monkeypatch) -> None:
    environment = StringEnvironment("ab", 2)
    monkeypatch.setattr(
        environment, "step", lambda state, action: type(state)(state.tokens.roll(1, 0), state.length + 1)
    )
    with pytest.raises(MogenError, match="contract broken"):
        check_environment(environment)


def test_too_many_paths_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 50 paths"):
        all_paths(HyperGrid(2, 8), limit=50)
