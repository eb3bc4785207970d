"""Exact answers for small environments: every path, target distributions, how far a policy is from them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from samplers.environment.environment import Environment
from samplers.environment.rollout import last_state, retrace


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
