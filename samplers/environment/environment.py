"""Pointed DAGs over batched tensor states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from mogen.types import C

S = TypeVar("S")


class Environment(ABC, Generic[S, C]):
    """A pointed DAG over batched tensor states; knows neither rewards nor networks.

    An action is a row of k choices, made one after another (k = 1 where there is nothing to factorise). Padding is
    data: in a terminal state exactly one action is allowed, it changes nothing and has probability one.
    """

    sizes: tuple[int, ...]
    """number of options of each choice of an action"""
    max_steps: int
    """after so many steps every state is terminal"""

    @abstractmethod
    def initial(self, n: int, *, device: torch.device | str = "cpu") -> S:
        """The source state, n times."""

    @abstractmethod
    def allowed(self, state: S, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        """Options of choice i, given the choices before it."""

    @abstractmethod
    def step(self, state: S, action: Int[Tensor, "n k"]) -> S:
        """The states after one action each."""

    @abstractmethod
    def is_terminal(self, state: S) -> Bool[Tensor, " n"]:
        """True where nothing more can happen."""

    @abstractmethod
    def backward_allowed(self, state: S) -> Bool[Tensor, "n a"]:
        """Backward actions; none in the initial state."""

    @abstractmethod
    def backward_step(self, state: S, action: Int[Tensor, " n"]) -> S:
        """The states before one backward action each."""

    @abstractmethod
    def reverse(self, state: S, action: Int[Tensor, "n k"], next_state: S) -> Int[Tensor, " n"]:
        """The backward action that undoes a forward one (-1 where nothing happened)."""

    @abstractmethod
    def log_symmetry(self, state: S) -> Float[Tensor, " n"]:
        """What makes path probabilities of labelled states those of states up to isomorphism (0 where none exists).

        The uniform backward policy gives a path the probability prod(1 / number of backward actions) * exp(this of its
        last state); these sum to one over all labelled paths into one unlabelled state.
        """

    @abstractmethod
    def unfold(self, state: S, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l k"]:
        """Forward actions of one path into each terminal state, drawn from the uniform backward policy.

        After the path ends, the one action of a terminal state repeats. `step`ping through them gives states that equal
        the given ones up to isomorphism.
        """

    def features(self, state: S) -> Float[Tensor, "n d"]:
        """What a policy of the state alone sees (a multilayer perceptron, say)."""
        raise ConfigError(f"expected an environment with state features, got {type(self).__name__}, which has none")

    @abstractmethod
    def decode(self, state: S) -> list[C]:
        """The candidates of terminal states."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """class_path and init_args of `read`, for a saved model."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Files a saved model needs to rebuild the environment."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> Environment[S, C]:
        """The environment of a saved model, from what `describe` and `write` left."""
