"""What every environment must keep: for ours and for plug-in authors."""

from __future__ import annotations

import torch
from torch import Tensor

from mogen.errors import MogenError
from samplers.environment.environment import Environment
from samplers.environment.rollout import UniformActor, rollout


def check_environment(environment: Environment, *, n: int = 64, seed: int = 0) -> None:
    """Runs an environment through its promises; raises `MogenError` with the first one it breaks.

    Every step is undone by its backward action, up to padding; masks are never empty; after `max_steps` every state is
    terminal; terminal states decode; n = 0 and n = 1 work; the same generator gives the same paths.
    """
    actor = UniformActor(environment)
    first = rollout(environment, actor, n, generator=torch.Generator().manual_seed(seed))
    second = rollout(environment, actor, n, generator=torch.Generator().manual_seed(seed))
    _require(torch.equal(first.actions, second.actions), "the same generator must give the same paths")
    _require(bool(environment.is_terminal(first.final).all()), "every state must be terminal after max_steps")
    for mask in first.allowed:
        _require(bool(mask.any(-1).all()), "a mask must never be empty")
    for step in range(first.actions.shape[1]):
        _check_step(environment, first.states[step], first.actions[:, step], first.states[step + 1])
    _require(len(environment.decode(first.final)) == n, "every terminal state must decode to a candidate")
    for size in (0, 1):
        final = rollout(environment, actor, size, generator=torch.Generator().manual_seed(seed)).final
        _require(len(environment.decode(final)) == size, f"a batch of {size} must work")


def _check_step(environment: Environment, state: object, action: Tensor, next_state: object) -> None:
    undo = environment.reverse(state, action, next_state)
    moved = undo >= 0
    _require(bool((moved == ~environment.is_terminal(state)).all()), "only padding has no backward action")
    options = environment.backward_allowed(next_state)
    picked = options.gather(1, undo.clamp(min=0)[:, None])[:, 0]
    _require(bool(picked[moved].all()), "the backward action of a step must be allowed")
    before = environment.backward_step(next_state, undo)
    for name in vars(state):
        same = getattr(before, name) == getattr(state, name)
        _require(bool(same[moved].all()), f"a backward step must restore {name!r}")


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise MogenError(f"environment contract broken: {promise}")
