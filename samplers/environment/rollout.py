"""Trajectories under any policy, learned or random, without gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Protocol, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samplers.environment.environment import Environment, S


@dataclass(frozen=True)
class Trajectories(Generic[S]):
    """n paths of l steps from the source to terminal states."""

    actions: Int[Tensor, "n l k"]
    allowed: tuple[Bool[Tensor, "n l _"], ...]
    """per choice of an action: the options there were"""
    states: Sequence[S]
    """l + 1 batches of states"""
    log_backward: Float[Tensor, "n l"]
    """log-probability of each step under the uniform backward policy; padding has 0"""
    log_symmetry: Float[Tensor, " n"]
    moves: Bool[Tensor, "n l"] | None = None
    """False for padding; None where nobody looked"""
    remembered: Any = None
    """what the acting policy kept of its computation, for the gradient"""

    @cached_property
    def before(self) -> S:
        """The states before all steps as one batch, step by step."""
        return stacked(self.states[:-1])

    @cached_property
    def after(self) -> S:
        """The states after all steps as one batch, step by step."""
        return stacked(self.states[1:])

    @property
    def final(self) -> S:
        return self.states[-1]

    @property
    def is_step(self) -> Bool[Tensor, "n l"]:
        """True where a step is no padding."""
        return torch.ones_like(self.log_backward, dtype=torch.bool) if self.moves is None else self.moves


class Slices(Sequence[S]):
    """The batches of states in one that holds them all (fields of l + 1 x n x ...), cut out when they are looked at."""

    def __init__(self, whole: S) -> None:
        self.kind, self.fields = type(whole), vars(whole)

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    @overload
    def __getitem__(self, place: int) -> S: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[S]: ...

    def __getitem__(self, place: int | slice) -> S | Sequence[S]:
        part = self.kind(**{name: value[place] for name, value in self.fields.items()})
        return Slices(part) if isinstance(place, slice) else part


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


BLOCK = 4_000_000
"""random numbers drawn at a time, at most"""


def local(generator: torch.Generator | None, device: torch.device | str) -> torch.Generator | None:
    """A generator on a device: the given one, or one seeded from it where it lives elsewhere."""
    device = torch.device(device)
    if generator is None or generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


def drawn(
    n: int,
    sizes: tuple[int, ...],
    steps: int,
    *,
    epsilon: float = 0.0,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Float[Tensor, "b n a"], Bool[Tensor, "b n 1"] | None]]:
    """The random numbers of a rollout, some steps at a time: log of exponential noise, and which steps explore."""
    block = max(1, min(steps, BLOCK // max(1, n * sum(sizes))))
    for start in range(0, steps, block):
        shape = (min(block, steps - start), n, sum(sizes))
        noise = torch.empty(shape, device=device).exponential_(generator=generator).clamp_(min=1e-20).log_()
        explores = None
        if epsilon > 0:
            explores = torch.rand(*shape[:2], 1, generator=generator, device=device) < epsilon
        yield noise, explores


@torch.no_grad()
def rollout(
    environment: Environment[S, Any],
    actor: Actor,
    n: int,
    *,
    epsilon: float = 0.0,
    begun: tuple[Int[Tensor, "n l k"], Int[Tensor, " n"]] | None = None,
    ends_early: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Trajectories[S]:
    """n trajectories; with probability `epsilon` a step is uniform over the allowed options instead.

    Options are drawn by the Gumbel maximum: argmax of logits + noise. With `begun` (actions, and how many of them are
    kept), trajectories go on from the beginnings of known ones. With `ends_early`, padding that all have in common is
    left out (looked for on the CPU only, where looking is free).
    """
    generator, looks = local(generator, device), ends_early and torch.device(device).type == "cpu"
    state = environment.initial(n, device=device)
    states, actions, masks = [state], [], []
    memory = actor.begin(state)
    sizes, steps = environment.sizes, environment.max_steps
    none = torch.zeros(n, 0, dtype=torch.long, device=device)
    numbers = drawn(n, sizes, steps, epsilon=epsilon, generator=generator, device=device)
    (noise, explores), place = next(numbers), 0
    for step in range(steps):
        if looks and step and bool(environment.is_terminal(state).all()):
            break
        if place == len(noise):
            (noise, explores), place = next(numbers), 0
        action, at = none, 0
        step_masks = []
        for choice, size in enumerate(sizes):
            allowed = environment.allowed(state, action)
            logits = actor.logits(memory, state, action)
            if explores is not None:
                logits = logits.masked_fill(explores[place], 0.0)
            option = (masked(logits, allowed) - noise[place, :, at : at + size]).argmax(-1, keepdim=True)
            if begun is not None:
                option = torch.where((step < begun[1])[:, None], begun[0][:, step, choice, None], option)
            action = option if choice == 0 else torch.cat([action, option], 1)
            at += size
            step_masks.append(allowed)
        place += 1
        state = environment.step(state, action)
        memory = actor.observe(memory, action, state)
        actions.append(action)
        masks.append(step_masks)
        states.append(state)
    options = tuple(torch.stack(part, 1) for part in zip(*masks, strict=True))
    symmetry = environment.log_symmetry(state)
    return _told(environment, torch.stack(actions, 1), options, states, symmetry, stacked(states[:-1]))


def stacked(states: Sequence[S]) -> S:
    """Batches of states one after another, as one."""
    fields = vars(states[0])
    return type(states[0])(**{name: torch.cat([vars(state)[name] for state in states]) for name in fields})


def _told(
    environment: Environment[S, Any],
    actions: Int[Tensor, "n l k"],
    allowed: tuple[Bool[Tensor, "n l _"], ...],
    states: list[S],
    log_symmetry: Float[Tensor, " n"],
    before: S,
) -> Trajectories[S]:
    """Trajectories with the log-probabilities -log(number of backward actions) of all their steps."""
    n, steps = actions.shape[:2]
    after = stacked(states[1:])
    moves = ~environment.is_terminal(before).view(steps, n).T
    options = environment.backward_allowed(after).sum(-1).clamp(min=1).view(steps, n).T
    made = Trajectories(
        actions=actions,
        allowed=allowed,
        states=states,
        log_backward=torch.where(moves, -options.float().log(), 0.0),
        log_symmetry=log_symmetry.to(device=actions.device, dtype=torch.float32),
        moves=moves,
    )
    vars(made).update(before=before, after=after)  # fills the cached properties
    return made


@torch.no_grad()
def retrace(
    environment: Environment[S, Any],
    actions: Int[Tensor, "n l k"],
    log_symmetry: Float[Tensor, " n"] | None = None,
) -> Trajectories[S]:
    """The trajectories that known actions describe; `log_symmetry` spares its computation where it is known."""
    n, steps, choices = actions.shape
    state = environment.initial(n, device=actions.device)
    states = [state]
    for action in actions.unbind(1):
        state = environment.step(state, action)
        states.append(state)
    before, flat = stacked(states[:-1]), actions.transpose(0, 1).flatten(0, 1)
    masks = [environment.allowed(before, flat[:, :choice]) for choice in range(choices)]
    allowed = tuple(mask.view(steps, n, -1).transpose(0, 1) for mask in masks)
    if log_symmetry is None:
        log_symmetry = environment.log_symmetry(state)
    return _told(environment, actions, allowed, states, log_symmetry, before)


def padding(environment: Environment[S, Any], final: S) -> Int[Tensor, "n k"]:
    """The one action of terminal states."""
    action = torch.zeros(len(environment.is_terminal(final)), 0, dtype=torch.long)
    action = action.to(environment.is_terminal(final).device)
    for _choice in environment.sizes:
        option = environment.allowed(final, action).int().argmax(-1, keepdim=True)
        action = torch.cat([action, option], 1)
    return action


def padded(environment: Environment[S, Any], actions: Int[Tensor, "n l k"], final: S) -> Int[Tensor, "n m k"]:
    """The actions of whole paths, with padding up to the most steps there can be."""
    missing = environment.max_steps - actions.shape[1]
    if missing == 0:
        return actions
    return torch.cat([actions, padding(environment, final)[:, None].expand(-1, missing, -1)], 1)


def last_state(environment: Environment[S, Any], actions: Int[Tensor, "n l k"]) -> S:
    """Where known actions lead."""
    state = environment.initial(len(actions), device=actions.device)
    for action in actions.unbind(1):
        state = environment.step(state, action)
    return state
