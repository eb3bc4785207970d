"""The logits of every choice of a path, and of the next choice while rolling out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplers.environment.environment import Environment, S
from samplers.environment.rollout import Trajectories, masked


class Policy(nn.Module, ABC):
    """A forward policy, given an encoded condition.

    Two kinds exist: of the state, and of the history. Both are exact: with a fixed Markov backward policy, trajectory
    balance fixes the forward probability of every path, whatever the policy may look at.
    """

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
    ) -> tuple[Float[Tensor, "n l a"], ...]:
        """Logits of every choice of every step, in one pass with gradients."""


class Network(ABC):
    """A recipe for a policy: sizes only; built once the environment and the condition are known."""

    @abstractmethod
    def build(self, environment: Any, condition_size: int) -> Policy:
        """A fresh policy for an environment."""


class PolicyActor:
    """A policy under a condition, as an actor for `rollout`."""

    def __init__(self, policy: Policy, condition: Float[Tensor, "n d"]) -> None:
        self.policy, self.condition = policy, condition

    def begin(self, state: S) -> Any:
        return self.policy.begin(state, self.condition)

    def logits(self, memory: Any, state: S, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        return self.policy.next_logits(memory, state, chosen)

    def observe(self, memory: Any, action: Int[Tensor, "n k"], next_state: S) -> Any:
        return self.policy.observe(memory, action, next_state)


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

    @property
    def log_forward(self) -> Float[Tensor, " n"]:
        return self.forward.sum(1)

    @property
    def log_backward(self) -> Float[Tensor, " n"]:
        return self.backward.sum(1) + self.symmetry


def path_log_probs(
    environment: Environment, policy: Policy, trajectories: Trajectories, condition: Float[Tensor, "n d"]
) -> PathLogProbs:
    """Forward and backward log-probabilities of trajectories, in one batched pass with gradients."""
    del environment
    forward = torch.zeros_like(trajectories.log_backward)
    logits = policy.path_logits(trajectories, condition)
    for choice, (scores, allowed) in enumerate(zip(logits, trajectories.allowed, strict=True)):
        taken = trajectories.actions[..., choice]
        log_probs = masked(scores, allowed).log_softmax(-1)
        forward = forward + log_probs.gather(-1, taken[..., None])[..., 0]
    return PathLogProbs(forward, trajectories.log_backward, trajectories.log_symmetry)
