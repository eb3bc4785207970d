"""The logits of every choice of a path, and of the next choice while rolling out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from mogen.errors import ConfigError
from samplers.environment.environment import Environment, S
from samplers.environment.exact import chosen_rows
from samplers.environment.rollout import Trajectories, masked

FLOW, EDGES = "flow", "edges"
"""what a loss may need beside the probabilities of steps: log-flows of states, or of the edges around states"""


@dataclass(frozen=True)
class PathScores:
    """What a policy says of n paths of l steps; padding has 0."""

    forward: Float[Tensor, "n l"]
    """log-probability of every step"""
    flow: Float[Tensor, "n l"] | None = None
    """log-flow of the state before every step, relative to log Z"""
    outflow: Float[Tensor, "n l"] | None = None
    """log of the sum of the edge flows out of the state before every step"""


class Policy(nn.Module, ABC):
    """A forward policy, given an encoded condition.

    Two kinds exist: of the state, and of the history. Both are exact: with a fixed Markov backward policy, trajectory
    balance fixes the forward probability of every path, whatever the policy may look at.
    """

    flow: nn.Module | None
    """log-flow of a state (or history) relative to log Z, from its summary"""
    scale: nn.Module | None
    """what all logits are multiplied by, from the encoded condition (n x 1)"""

    def __init__(self) -> None:
        super().__init__()
        self.flow = self.scale = None

    @abstractmethod
    def begin(self, state: Any, condition: Float[Tensor, "n d"]) -> Any:
        """Memory for a rollout."""

    @abstractmethod
    def next_logits(self, memory: Any, state: Any, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        """Logits of choice i of the next action."""

    @abstractmethod
    def observe(self, memory: Any, action: Int[Tensor, "n k"], next_state: Any) -> Any:
        """The memory after an action."""

    @abstractmethod
    def path_logits(
        self, trajectories: Trajectories, condition: Float[Tensor, "n d"]
    ) -> tuple[tuple[Float[Tensor, "n l _"], ...], Float[Tensor, "n l e"]]:
        """Logits of every choice of every step, and a summary of the state before it, in one pass with gradients."""

    def path(
        self, trajectories: Trajectories, condition: Float[Tensor, "n d"], wants: Collection[str] = ()
    ) -> PathScores:
        """Log-probabilities of the steps of paths, and what else is wanted of `FLOW` and `EDGES`."""
        if EDGES in wants:
            raise ConfigError(f"expected a policy of the state for flow matching, got {type(self).__name__}")
        choices, summary = self.path_logits(trajectories, condition)
        forward = torch.zeros((), device=condition.device)
        scale = None if self.scale is None else self.scale(condition)[:, None]
        for choice, (scores, allowed) in enumerate(zip(choices, trajectories.allowed, strict=True)):
            taken = trajectories.actions[..., choice]
            scores = scores if scale is None else scores * scale
            log_probs = masked(scores, allowed).log_softmax(-1)
            forward = forward + log_probs.gather(-1, taken[..., None])[..., 0]
        flow = self._flow(summary) if FLOW in wants else None
        return PathScores(forward, flow)

    def _flow(self, summary: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        if self.flow is None:
            raise ConfigError(f"expected a policy with state flows for this loss, got {type(self).__name__}")
        return self.flow(summary)[..., 0]


class StatePolicy(Policy):
    """A policy that sees the present state only; padding is never computed.

    A kind says what it makes of a condition once per trajectory (`tell`), of a batch of states (`trunk`: a tuple with
    the summary, one row a state, first), and of the options of one choice (`choose`).
    """

    backward: nn.Module | None
    """logits of the backward actions of a state from its summary, where the backward policy is learned"""

    def __init__(self, environment: Environment) -> None:
        super().__init__()
        self.environment, self.backward = environment, None

    @abstractmethod
    def tell(self, condition: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
        """What is made of a condition, once per trajectory."""

    @abstractmethod
    def trunk(self, state: Any, told: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A summary of every state, and what else `choose` reads."""

    @abstractmethod
    def choose(
        self, trunk: tuple[Tensor, ...], state: Any, chosen: Int[Tensor, "r i"], told: tuple[Tensor, ...]
    ) -> Float[Tensor, "r a"]:
        """Logits of choice i."""

    def begin(self, state: Any, condition: Float[Tensor, "n d"]) -> dict[str, Any]:
        return {"told": self.tell(condition)}

    def next_logits(self, memory: dict[str, Any], state: Any, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        if chosen.shape[1] == 0:
            memory["trunk"] = self.trunk(state, memory["told"])
        return self.choose(memory["trunk"], state, chosen, memory["told"])

    def observe(self, memory: dict[str, Any], action: Int[Tensor, "n k"], next_state: Any) -> dict[str, Any]:
        return memory

    def told_rows(self, told: tuple[Tensor, ...], steps: int, rows: Int[Tensor, " r"] | None) -> tuple[Tensor, ...]:
        """What is made of a condition, for the states of all steps, step by step, or for some rows of them."""
        if rows is None:
            return tuple(part.repeat(steps, *[1] * (part.ndim - 1)) for part in told)
        return tuple(part.index_select(0, rows % len(part)) for part in told)

    def path_logits(
        self, trajectories: Trajectories, condition: Float[Tensor, "n d"]
    ) -> tuple[tuple[Float[Tensor, "n l _"], ...], Float[Tensor, "n l e"]]:
        n, steps, choices = trajectories.actions.shape
        states, told = trajectories.before, self.told_rows(self.tell(condition), steps, None)
        trunk, actions = self.trunk(states, told), trajectories.actions.transpose(0, 1).flatten(0, 1)
        logits = [self.choose(trunk, states, actions[:, :choice], told) for choice in range(choices)]
        return tuple(x.view(steps, n, -1).transpose(0, 1) for x in logits), trunk[0].view(steps, n, -1).transpose(0, 1)

    def path(
        self, trajectories: Trajectories, condition: Float[Tensor, "n d"], wants: Collection[str] = ()
    ) -> PathScores:
        n, steps, choices = trajectories.actions.shape
        rows = steps_taken(trajectories)
        states = of_steps(trajectories.before, rows)
        told = self.told_rows(self.tell(condition), steps, rows)
        actions = by_step(trajectories.actions, rows)
        trunk, forward, out = self.trunk(states, told), actions.new_zeros((), dtype=torch.float), None
        scale = None if self.scale is None else StatePolicy.told_rows(self, (self.scale(condition),), steps, rows)[0]
        for choice in range(choices):
            allowed = by_step(trajectories.allowed[choice], rows)
            logits = self.choose(trunk, states, actions[:, :choice], told)
            logits = masked(logits if scale is None else logits * scale, allowed)
            total = logits.logsumexp(-1)
            forward = forward + logits.gather(1, actions[:, choice, None])[:, 0] - total
            out = total if EDGES in wants and choice == 0 else out

        def spread(values: Float[Tensor, " r"]) -> Float[Tensor, "n l"]:
            whole = values if rows is None else values.new_zeros(steps * n).index_put((rows,), values)
            return whole.view(steps, n).T

        return PathScores(
            spread(forward),
            spread(self._flow(trunk[0])) if FLOW in wants else None,
            None if out is None else spread(out),
        )

    def edge_flows(self, trajectories: Trajectories, condition: Float[Tensor, "n d"]) -> Float[Tensor, "n l"]:
        """log of the sum of the edge flows into the state after every step; padding has 0.

        Parents are all backward steps; the edge from one is the allowed action that leads back here and whose
        `reverse` is that backward action.
        """
        environment = self.environment
        if len(environment.sizes) > 1:
            raise ConfigError(
                f"expected an environment whose actions are one choice for flow matching, "
                f"got {type(environment).__name__}"
            )
        n, steps, _ = trajectories.actions.shape
        rows = trajectories.is_step.T.flatten().nonzero()[:, 0]
        after = chosen_rows(trajectories.after, rows)
        row, back = environment.backward_allowed(after).nonzero(as_tuple=True)
        child = chosen_rows(after, row)
        parent = environment.backward_step(child, back)
        told = tuple(x.index_select(0, rows[row] % n) for x in self.tell(condition))
        none = torch.zeros(len(row), 0, dtype=torch.long, device=rows.device)
        logits = self.choose(self.trunk(parent, told), parent, none, told)
        leads = forward_actions(environment, parent, back, child)
        edges = torch.full((len(rows), int(back.max()) + 1), -torch.inf, device=rows.device, dtype=logits.dtype)
        edges = edges.index_put((row, back), logits.gather(1, leads[:, None])[:, 0])
        return logits.new_zeros(steps * n).index_put((rows,), edges.logsumexp(-1)).view(steps, n).T

    def path_backward(self, trajectories: Trajectories, condition: Float[Tensor, "n d"]) -> Float[Tensor, "n l"]:
        """Log-probability of every step under the learned backward policy; padding has 0."""
        assert self.backward is not None
        n, steps, _ = trajectories.actions.shape
        rows = trajectories.is_step.T.flatten().nonzero()[:, 0]
        before = chosen_rows(trajectories.before, rows)
        after = chosen_rows(trajectories.after, rows)
        actions = trajectories.actions.transpose(0, 1).flatten(0, 1)[rows]
        told = tuple(x.index_select(0, rows % n) for x in self.tell(condition))
        logits = masked(self.backward(self.trunk(after, told)[0]), self.environment.backward_allowed(after))
        taken = self.environment.reverse(before, actions, after)
        values = logits.log_softmax(-1).gather(1, taken[:, None])[:, 0]
        return values.new_zeros(steps * n).index_put((rows,), values).view(steps, n).T


def steps_taken(trajectories: Trajectories) -> Int[Tensor, " r"] | None:
    """The rows of all steps, counted step by step, that are no padding; None for all of them.

    All are looked at where none is padding, or where all are remembered (the one option of padding has probability 1).
    """
    if (
        trajectories.moves is None
        or trajectories.remembered is not None
        or (trajectories.moves.device.type == "cpu" and bool(trajectories.moves.all()))
    ):
        return None
    return trajectories.moves.T.flatten().nonzero()[:, 0]


def of_steps(states: Any, rows: Int[Tensor, " r"] | None) -> Any:
    """The states of all steps at some rows."""
    return states if rows is None else chosen_rows(states, rows)


def by_step(values: Shaped[Tensor, "n l *k"], rows: Int[Tensor, " r"] | None) -> Shaped[Tensor, "r *k"]:
    """Values of steps as rows, counted step by step."""
    flat = values.transpose(0, 1).flatten(0, 1)
    return flat if rows is None else flat[rows]


def forward_actions(environment: Any, parent: Any, back: Int[Tensor, " r"], child: Any) -> Int[Tensor, " r"]:
    """The actions that lead from parents to children and are undone by the given backward actions."""
    n, options = len(back), environment.sizes[0]
    index = torch.arange(n, device=back.device).repeat_interleave(options)
    action = torch.arange(options, device=back.device).repeat(n)[:, None]
    before, expected = chosen_rows(parent, index), chosen_rows(child, index)
    found = environment.step(before, action)
    fits = environment.reverse(before, action, found) == back[index]
    for name, value in vars(found).items():
        fits &= (value == getattr(expected, name)).reshape(len(index), -1).all(-1)
    none = torch.zeros(n, 0, dtype=torch.long, device=back.device)
    return (fits.view(n, options) & environment.allowed(parent, none)).int().argmax(-1)


class Network(ABC):
    """A recipe for a policy: sizes only; built once the environment and the condition are known."""

    @abstractmethod
    def build(self, environment: Any, condition_size: int) -> Policy:
        """A fresh policy for an environment."""


class PolicyActor:
    """A policy under a condition, as an actor for `rollout`."""

    def __init__(self, policy: Policy, condition: Float[Tensor, "n d"]) -> None:
        self.policy, self.condition = policy, condition
        self.scale: Float[Tensor, "n 1"] | None = None

    def begin(self, state: S) -> Any:
        self.scale = None if self.policy.scale is None else self.policy.scale(self.condition)
        return self.policy.begin(state, self.condition)

    def logits(self, memory: Any, state: S, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        logits = self.policy.next_logits(memory, state, chosen)
        return logits if self.scale is None else logits * self.scale

    def observe(self, memory: Any, action: Int[Tensor, "n k"], next_state: S) -> Any:
        return self.policy.observe(memory, action, next_state)


class LogitScale(nn.Module):
    """A positive factor of all logits, learned as a function of beta, 1 at first (Logit-GFN, Kim et al. 2024).

    Beta over the highest beta is the last column of an encoded condition.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(1, width), nn.GELU(), nn.Linear(width, 1))
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, math.log(math.e - 1))

    def forward(self, condition: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        return nn.functional.softplus(self.network(condition[:, -1:]))


class LogPartition(nn.Module):
    """log Z of a condition: an MLP plus an offset that can be set from data."""

    def __init__(self, condition_size: int, width: int = 64) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(condition_size, width), nn.GELU(), nn.Linear(width, 1))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, condition: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return self.network(condition)[:, 0] + self.offset


@dataclass(frozen=True)
class PathLogProbs:
    """log-probabilities of n paths of l steps; padding has 0."""

    forward: Float[Tensor, "n l"]
    backward: Float[Tensor, "n l"]
    symmetry: Float[Tensor, " n"]
    moves: Bool[Tensor, "n l"] | None = None
    """False for padding; None where there is none"""
    flow: Float[Tensor, "n l"] | None = None
    """log-flow of the state before every step, relative to log Z (the first column is not looked at: it is 0)"""
    outflow: Float[Tensor, "n l"] | None = None
    """log of the flow out of the state before every step"""
    inflow: Float[Tensor, "n l"] | None = None
    """log of the flow into the state after every step"""

    @property
    def log_forward(self) -> Float[Tensor, " n"]:
        return self.forward.sum(1)

    @property
    def log_backward(self) -> Float[Tensor, " n"]:
        return self.backward.sum(1) + self.symmetry

    @property
    def is_step(self) -> Bool[Tensor, "n l"]:
        """True where a step is no padding."""
        return torch.ones_like(self.forward, dtype=torch.bool) if self.moves is None else self.moves


def path_log_probs(
    environment: Environment,
    policy: Policy,
    trajectories: Trajectories,
    condition: Float[Tensor, "n d"],
    wants: Collection[str] = (),
) -> PathLogProbs:
    """Forward and backward log-probabilities of trajectories, in one batched pass with gradients.

    The backward policy is uniform unless the policy has learned one.
    """
    del environment
    scores = policy.path(trajectories, condition, wants)
    backward, inflow = trajectories.log_backward, None
    if isinstance(policy, StatePolicy) and policy.backward is not None:
        backward = policy.path_backward(trajectories, condition)
    if isinstance(policy, StatePolicy) and EDGES in wants:
        inflow = policy.edge_flows(trajectories, condition)
    return PathLogProbs(
        forward=scores.forward,
        backward=backward,
        symmetry=trajectories.log_symmetry,
        moves=trajectories.is_step,
        flow=scores.flow,
        outflow=scores.outflow,
        inflow=inflow,
    )
