"""What every environment must keep: for ours and for plug-in authors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mogen.errors import ConfigError, MogenError
from samplers.environment.environment import Environment
from samplers.environment.exact import backward_totals, chosen_rows
from samplers.environment.rollout import Trajectories, UniformActor, last_state, retrace, rollout


def check_environment(environment: Environment, *, n: int = 64, seed: int = 0, paths: int = 3000) -> None:
    """Runs an environment through its promises; raises `MogenError` with the first one it breaks.

    Masks have the sizes they should and are never empty; every step is undone by its backward action, up to padding,
    and every backward action can be done; after `max_steps` every state is terminal, and a terminal state has one
    action, which changes nothing; terminal states decode and unfold into paths that lead back to them; n = 0 and
    n = 1 work; a state does not depend on the others of its batch; the same generator gives the same paths. Where there
    are at most `paths` paths in all, their backward probabilities into each terminal state sum to one.
    """
    _check_sizes(environment)
    actor = UniformActor(environment)
    first = rollout(environment, actor, n, generator=torch.Generator().manual_seed(seed))
    second = rollout(environment, actor, n, generator=torch.Generator().manual_seed(seed))
    _require(torch.equal(first.actions, second.actions), "the same generator must give the same paths")
    _require(bool(environment.is_terminal(first.final).all()), "every state must be terminal after max_steps")
    for choice, mask in enumerate(first.allowed):
        _require(mask.dtype == torch.bool, f"a mask must be boolean, choice {choice} is {mask.dtype}")
        right = mask.shape == (n, environment.max_steps, environment.sizes[choice])
        _require(
            right, f"a mask of choice {choice} must have {environment.sizes[choice]} options, got {mask.shape[-1]}"
        )
        _require(bool(mask.any(-1).all()), "a mask must never be empty")
    for step in range(first.actions.shape[1]):
        _check_step(environment, first.states[step], first.actions[:, step], first.states[step + 1])
        _check_backward(environment, first.states[step + 1], seed + step)
    _check_padding(environment, first.final)
    _check_final(environment, first, seed)
    _check_batches(environment, first)
    _check_totals(environment, paths)
    for size in (0, 1):
        final = rollout(environment, actor, size, generator=torch.Generator().manual_seed(seed)).final
        _require(len(environment.decode(final)) == size, f"a batch of {size} must work")
        unfolded = environment.unfold(final, generator=torch.Generator().manual_seed(seed))
        _require(len(unfolded) == size, f"unfolding a batch of {size} must work")


def _check_sizes(environment: Environment) -> None:
    _require(bool(environment.sizes) and min(environment.sizes) >= 1, "every choice must have at least one option")
    _require(environment.max_steps >= 1, "there must be at least one step")
    start = environment.initial(2)
    _require(not bool(environment.is_terminal(start).any()), "the initial state must not be terminal")
    _require(not bool(environment.backward_allowed(start).any()), "the initial state must have no backward action")


def _check_step(environment: Environment, state: Any, action: Tensor, next_state: Any) -> None:
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
        kept = getattr(next_state, name) == getattr(state, name)
        _require(bool(kept[~moved].all()), f"a step from a terminal state must keep {name!r}")


def _check_backward(environment: Environment, state: Any, seed: int) -> None:
    """A backward action drawn at random leads to an unfinished state with fewer of them to go."""
    options = environment.backward_allowed(state)
    _require(bool(options.any(-1).all()), "every state but the initial one must have a backward action")
    noise = torch.rand(options.shape, generator=torch.Generator().manual_seed(seed))
    option = torch.where(options, noise, -1.0).argmax(-1)
    before = environment.backward_step(state, option)
    _require(not bool(environment.is_terminal(before).any()), "a state before another must not be terminal")
    chosen = torch.zeros(len(option), 0, dtype=torch.long)
    _require(bool(environment.allowed(before, chosen).any(-1).all()), "a state before another must have actions")


def _check_padding(environment: Environment, final: Any) -> None:
    chosen = torch.zeros(len(environment.is_terminal(final)), 0, dtype=torch.long)
    for _choice in environment.sizes:
        allowed = environment.allowed(final, chosen)
        _require(bool((allowed.sum(-1) == 1).all()), "a terminal state must have exactly one action")
        chosen = torch.cat([chosen, allowed.int().argmax(-1, keepdim=True)], 1)
    after = environment.step(final, chosen)
    for name, value in vars(final).items():
        _require(torch.equal(getattr(after, name), value), f"the action of a terminal state must keep {name!r}")


def _check_final(environment: Environment, trajectories: Trajectories, seed: int) -> None:
    final, n = trajectories.final, len(trajectories.actions)
    decoded = environment.decode(final)
    _require(len(decoded) == n, "every terminal state must decode to a candidate")
    symmetry = environment.log_symmetry(final)
    _require(
        symmetry.shape == (n,) and bool(symmetry.isfinite().all()), "log_symmetry must be one finite number a state"
    )
    actions = environment.unfold(final, generator=torch.Generator().manual_seed(seed))
    right = actions.shape == (n, environment.max_steps, len(environment.sizes))
    _require(right, f"unfold must give {environment.max_steps} actions, got shape {tuple(actions.shape)}")
    again = retrace(environment, actions)
    for choice, allowed in enumerate(again.allowed):
        taken = allowed.gather(-1, actions[..., choice, None])
        _require(bool(taken.all()), "unfold must give actions that are allowed")
    _require(bool(environment.is_terminal(again.final).all()), "unfold must lead to terminal states")
    _require(environment.decode(again.final) == decoded, "unfold must lead back to the same candidates")
    _require(
        torch.allclose(environment.log_symmetry(again.final), symmetry), "log_symmetry must not depend on the path"
    )
    steps = (trajectories.log_backward < 0).sum(-1)
    _require(bool((steps <= environment.max_steps).all()), "a path must not be longer than max_steps")
    if type(environment).features is not Environment.features:
        shapes = {environment.features(state).shape for state in trajectories.states}
        _require(len(shapes) == 1, "features must have one shape for every state")
        _require(next(iter(shapes))[:1] == (n,), "features must be one row a state")


def _check_batches(environment: Environment, trajectories: Trajectories) -> None:
    """Half of a batch gives the same as the half of the whole."""
    half = len(trajectories.actions) // 2
    part = last_state(environment, trajectories.actions[:half])
    whole = chosen_rows(trajectories.final, torch.arange(half))
    for name, value in vars(whole).items():
        _require(torch.equal(getattr(part, name), value), f"{name!r} of a state must not depend on its batch")


def _check_totals(environment: Environment, paths: int) -> None:
    try:
        totals = backward_totals(environment, limit=paths)
    except ConfigError:
        return  # too many paths to list
    for key, total in totals.items():
        # several terminal states may decode to one candidate; each adds one
        is_whole = abs(total - round(total)) < 1e-4 and round(total) >= 1
        _require(is_whole, f"backward probabilities of the paths into {key!r} must sum to one a state, got {total:.6g}")


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise MogenError(f"environment contract broken: {promise}")
