"""Exact answers for small environments: every path, target distributions, how far a policy is from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError, ShapeError
from mogen.pareto import is_non_dominated
from samplers.environment.environment import Environment
from samplers.environment.rollout import last_state, retrace


class Enumerable(Protocol):
    """An environment of one choice whose states can all be listed: the hypergrid, strings of one length."""

    sizes: tuple[int, ...]
    max_steps: int

    def states(self) -> Any:
        """Every state that is not terminal, the initial one first."""

    def terminals(self) -> Any:
        """Every terminal state."""

    def terminal_distribution(self, log_forward: Float[Tensor, "*b s a"]) -> Float[Tensor, "*b t"]:
        """The exact distribution over `terminals()` of a policy given by its log-probabilities in `states()`."""

    def decode(self, state: Any) -> list[Any]:
        """The candidates of terminal states."""


def exact_front(
    environment: Enumerable, utility: Callable[[Sequence[Any]], Float[Tensor, "t m"]]
) -> Float[Tensor, "k m"]:
    """The different non-dominated rows among the utilities of all terminal states."""
    rows = utility(environment.decode(environment.terminals())).unique(dim=0)
    return rows[is_non_dominated(rows)]


def exact_policy(
    environment: Any, log_reward: Float[Tensor, "*b t"]
) -> tuple[Float[Tensor, "*b s a"], Float[Tensor, "*b s"]]:
    """Forward log-probabilities and log-flows that sample `terminals()` in proportion to a reward, in float64.

    Under the uniform backward policy: log F(s) = logsumexp over actions of log F(s') - log(backward actions of s'),
    F(x) = R(x); P_F(a | s) is the share of an action in that sum; F(initial) is the partition function.
    """
    states, terminals = environment.states(), environment.terminals()
    child, log_share, allowed = _edges(environment, states, terminals)
    n, t = len(child), log_reward.shape[-1]
    if t != len(environment.is_terminal(terminals)):
        raise ShapeError(f"expected a reward of each of {len(environment.is_terminal(terminals))} terminals, got {t}")
    ends = log_reward.double()
    flow = torch.full((*log_reward.shape[:-1], n), -torch.inf, dtype=torch.float64)
    for _ in range(environment.max_steps):
        onward = torch.cat([flow, ends], -1)[..., child] + log_share
        flow = onward.masked_fill(~allowed, -torch.inf).logsumexp(-1)
    onward = (torch.cat([flow, ends], -1)[..., child] + log_share).masked_fill(~allowed, -torch.inf)
    return onward - flow[..., None], flow


def _edges(
    environment: Any, states: Any, terminals: Any
) -> tuple[Int[Tensor, "s a"], Float[Tensor, "s a"], Bool[Tensor, "s a"]]:
    """Which state (or, counted after all states, terminal) each action leads to, and -log of its backward actions."""
    options = torch.arange(environment.sizes[0])
    n = len(environment.is_terminal(states))
    allowed = environment.allowed(states, torch.zeros(n, 0, dtype=torch.long))
    row, action = allowed.nonzero(as_tuple=True)
    after = environment.step(chosen_rows(states, row), options[action][:, None])
    listed = torch.cat([_written(states), _written(terminals)])
    _, number = torch.cat([listed, _written(after)]).unique(dim=0, return_inverse=True)
    place = torch.full((int(number.max()) + 1,), -1)
    place[number[: len(listed)]] = torch.arange(len(listed))
    child = torch.zeros(allowed.shape, dtype=torch.long)
    child[row, action] = place[number[len(listed) :]]
    log_share = torch.zeros(allowed.shape, dtype=torch.float64)
    log_share[row, action] = -environment.backward_allowed(after).sum(-1).double().log()
    return child, log_share, allowed


def _written(state: Any) -> Int[Tensor, "n f"]:
    """Every state as one row of numbers."""
    return torch.cat([value.long().reshape(len(value), -1) for value in vars(state).values()], -1)


def target_distribution(log_reward: Float[Tensor, "*b t"]) -> Float[Tensor, "*b t"]:
    """p(x) = R(x) / sum of R over all terminal states, in float64."""
    return log_reward.double().softmax(-1)


def l1_distance(p: Float[Tensor, "*b t"], q: Float[Tensor, "*b t"]) -> Float[Tensor, " *b"]:
    """Sum over terminals of |p - q|: 0 for equal distributions, 2 for disjoint ones."""
    return (p.double() - q.double()).abs().sum(-1)


def all_paths(environment: Environment[Any, Any], *, limit: int = 200_000) -> Int[Tensor, "p l k"]:
    """The actions of every path from the source to a terminal state; raises `ConfigError` above `limit` paths."""
    paths = torch.zeros(1, 0, len(environment.sizes), dtype=torch.long)
    for _ in range(environment.max_steps):
        state, parts = last_state(environment, paths), torch.arange(len(paths))
        chosen = torch.zeros(len(paths), 0, dtype=torch.long)
        for _choice in environment.sizes:
            row, option = environment.allowed(state, chosen).nonzero(as_tuple=True)
            if len(row) > limit:
                raise ConfigError(
                    f"expected at most {limit} paths to enumerate, got more in {type(environment).__name__}"
                )
            chosen = torch.cat([chosen[row], option[:, None]], 1)
            parts = parts[row]
            state = chosen_rows(state, row)
        paths = torch.cat([paths[parts], chosen[:, None]], 1)
    return paths


def backward_totals(environment: Environment[Any, Any], *, limit: int = 200_000) -> dict[str, float]:
    """Per candidate key: the sum over all paths of their uniform backward probability times exp(log_symmetry).

    Each terminal state, up to isomorphism, adds one; so a total is the number of such states that decode to one
    candidate.
    """
    trajectories = retrace(environment, all_paths(environment, limit=limit))
    log_weight = trajectories.log_backward.double().sum(1) + trajectories.log_symmetry.double()
    totals: dict[str, float] = defaultdict(float)
    for candidate, share in zip(environment.decode(trajectories.final), log_weight.exp().tolist(), strict=True):
        totals[candidate.key] += share
    return dict(totals)


def chosen_rows(state: Any, index: Int[Tensor, " r"]) -> Any:
    """Some states of a batch."""
    return type(state)(**{name: value[index] for name, value in vars(state).items()})
