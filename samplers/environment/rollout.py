"""Trajectories under any policy, learned or random, without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplers.environment.environment import Environment, S


@dataclass(frozen=True)
class Trajectories(Generic[S]):
    """n paths of l steps from the source to terminal states."""

    actions: Int[Tensor, "n l k"]
    allowed: tuple[Bool[Tensor, "n l a"], ...]
    """per choice of an action: the options there were"""
    states: list[S]
    """l + 1 batches of states"""
    log_backward: Float[Tensor, "n l"]
    """log-probability of each step under the uniform backward policy; padding has 0"""
    log_symmetry: Float[Tensor, " n"]

    @property
    def final(self) -> S:
        return self.states[-1]


class Actor(Protocol):
    """Chooses: `begin` makes a memory for a batch, `logits` scores the options of one choice, `observe` goes on."""

    def begin(self, state: Any) -> Any: ...

    def logits(self, memory: Any, state: Any, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]: ...

    def observe(self, memory: Any, action: Int[Tensor, "n k"], next_state: Any) -> Any: ...


class UniformActor:
    """Every allowed option of a choice is equally likely."""

    def __init__(self, environment: Environment) -> None:
        self.sizes = environment.sizes

    def begin(self, state: Any) -> None:
        return None

    def logits(self, memory: None, state: Any, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        return torch.zeros(len(chosen), self.sizes[chosen.shape[1]], device=chosen.device)

    def observe(self, memory: None, action: Int[Tensor, "n k"], next_state: Any) -> None:
        return None


def masked(logits: Float[Tensor, "*n a"], allowed: Bool[Tensor, "*n a"]) -> Float[Tensor, "*n a"]:
    """Logits with minus a large finite number where an option is not allowed, so that gradients stay finite."""
    return logits.masked_fill(~allowed, -1e9)


def draw(logits: Float[Tensor, "n a"], *, generator: torch.Generator | None = None) -> Int[Tensor, " n"]:
    """One option a row, with probability softmax(logits) (Gumbel maximum)."""
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits - noise.clamp(min=1e-20).log()).argmax(-1)


@torch.no_grad()
def rollout(
    environment: Environment[S, Any],
    actor: Actor,
    n: int,
    *,
    epsilon: float = 0.0,
    begun: tuple[Int[Tensor, "n l k"], Int[Tensor, " n"]] | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Trajectories[S]:
    """n trajectories; with probability `epsilon` a step is uniform over the allowed options instead.

    With `begun` (actions, and how many of them are kept), trajectories go on from the beginnings of known ones.
    """
    state = environment.initial(n, device=device)
    states, actions, masks, log_backward = [state], [], [], []
    memory = actor.begin(state)
    for step in range(environment.max_steps):
        explores = torch.rand(n, generator=generator, device=device) < epsilon
        action = torch.zeros(n, 0, dtype=torch.long, device=device)
        step_masks = []
        for _choice in environment.sizes:
            allowed = environment.allowed(state, action)
            logits = actor.logits(memory, state, action).masked_fill(explores[:, None], 0.0)
            option = draw(masked(logits, allowed), generator=generator)
            if begun is not None:
                option = torch.where(step < begun[1], begun[0][:, step, action.shape[1]], option)
            action = torch.cat([action, option[:, None]], 1)
            step_masks.append(allowed)
        next_state = environment.step(state, action)
        memory = actor.observe(memory, action, next_state)
        log_backward.append(log_uniform_backward(environment, state, action, next_state))
        actions.append(action)
        masks.append(step_masks)
        states.append(next_state)
        state = next_state
    return Trajectories(
        actions=torch.stack(actions, 1),
        allowed=tuple(torch.stack(choice, 1) for choice in zip(*masks, strict=True)),
        states=states,
        log_backward=torch.stack(log_backward, 1),
        log_symmetry=environment.log_symmetry(state).to(device=device, dtype=torch.float32),
    )


def log_uniform_backward(
    environment: Environment[S, Any], state: S, action: Int[Tensor, "n k"], next_state: S
) -> Float[Tensor, " n"]:
    """-log(number of backward actions of the next state); 0 for padding."""
    options = environment.backward_allowed(next_state).sum(-1).clamp(min=1)
    return torch.where(environment.is_terminal(state), 0.0, -options.float().log())


@torch.no_grad()
def retrace(
    environment: Environment[S, Any],
    actions: Int[Tensor, "n l k"],
    log_symmetry: Float[Tensor, " n"] | None = None,
) -> Trajectories[S]:
    """The trajectories that known actions describe; `log_symmetry` spares its computation where it is known."""
    state = environment.initial(len(actions), device=actions.device)
    states, masks, log_backward = [state], [], []
    for step in range(actions.shape[1]):
        action = actions[:, step]
        masks.append([environment.allowed(state, action[:, :i]) for i in range(action.shape[1])])
        next_state = environment.step(state, action)
        log_backward.append(log_uniform_backward(environment, state, action, next_state))
        states.append(next_state)
        state = next_state
    if log_symmetry is None:
        log_symmetry = environment.log_symmetry(state)
    return Trajectories(
        actions=actions,
        allowed=tuple(torch.stack(choice, 1) for choice in zip(*masks, strict=True)),
        states=states,
        log_backward=torch.stack(log_backward, 1),
        log_symmetry=log_symmetry.to(device=actions.device, dtype=torch.float32),
    )


def last_state(environment: Environment[S, Any], actions: Int[Tensor, "n l k"]) -> S:
    """Where known actions lead."""
    state = environment.initial(len(actions), device=actions.device)
    for action in actions.unbind(1):
        state = environment.step(state, action)
    return state
