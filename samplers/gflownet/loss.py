"""What trajectories' probabilities must satisfy; no environment, no network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from mogen.pareto import is_non_dominated
from samplers.gflownet.policy import EDGES, FLOW, PathLogProbs


class TrajectoryLoss(ABC):
    """A loss of log-probabilities and log-rewards, zero at the exact flow."""

    needs: frozenset[str] = frozenset()
    """what it reads beside the probabilities of steps: `FLOW`, `EDGES`"""
    group: int = 1
    """how many trajectories in a row must share one condition"""
    is_ordering: bool = False
    """True where it reads utilities instead of rewards"""

    @abstractmethod
    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean loss of n trajectories."""


def imbalance(
    path: PathLogProbs, log_partition: Float[Tensor, " n"], log_reward: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """log Z + log P_F - log R - log P_B of each trajectory: zero at the exact flow."""
    return log_partition + path.log_forward - log_reward - path.log_backward


@final
class TrajectoryBalance(TrajectoryLoss):
    """(log Z + log P_F - log R - log P_B)^2 (Malkin et al. 2022; conditional: Jain et al. 2023).

    Args:
        huber: residuals beyond this count linearly, so that one bad trajectory cannot rule a step; 0 for the plain
            square. The zero of the loss is the same.
    """

    def __init__(self, huber: float = 0.0) -> None:
        self.huber = huber

    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        residual = imbalance(path, log_partition, log_reward)
        if self.huber <= 0:
            return residual.square().mean()
        size = residual.abs()
        return size.square().where(size < self.huber, self.huber * (2 * size - self.huber)).mean()


def potentials(
    path: PathLogProbs, log_partition: Float[Tensor, " n"], log_reward: Float[Tensor, " n"]
) -> Float[Tensor, "n k"]:
    """V_t = log F(s_t) - sum over steps before t of (log P_F - log P_B), of all k = l + 1 states of a path.

    log F(s_0) = log Z, log F of the last state = log R (+ symmetry), and every part i..j of a path is balanced exactly
    where V_i = V_j. States after the last one repeat it.
    """
    if path.flow is None:
        raise ConfigError("expected state flows for this loss, got paths without them")
    place = torch.arange(path.forward.shape[1] + 1, device=log_reward.device)
    length = path.is_step.sum(1, keepdim=True)
    inner = torch.nn.functional.pad(log_partition[:, None] + path.flow, (0, 1))
    flow = torch.where(place == 0, log_partition[:, None], inner)
    flow = torch.where(place >= length, (log_reward + path.symmetry)[:, None], flow)
    gone = torch.nn.functional.pad((path.forward - path.backward).cumsum(1), (1, 0))
    return flow - gone


@final
class SubTrajectoryBalance(TrajectoryLoss):
    """Sum over parts i < j of a path of lambda^(j - i) (V_i - V_j)^2 / sum of lambda^(j - i), V as in `potentials`.

    (Madan et al. 2023.) Near 0 only single steps count, as in detailed balance; the larger, the more the whole path.

    Args:
        decay: lambda, the weight of one more step.
    """

    needs = frozenset({FLOW})

    def __init__(self, decay: float = 0.9) -> None:
        if not decay > 0:
            raise ConfigError(f"expected a decay above 0 of sub-trajectory balance, got {decay}")
        self.decay = float(decay)

    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        value = potentials(path, log_partition, log_reward)
        place = torch.arange(value.shape[1], device=value.device)
        span = place[None, :] - place[:, None]
        weight = torch.where(span > 0, self.decay ** span.clamp(min=0).to(value.dtype), 0.0)
        weight = weight * (place <= path.is_step.sum(1, keepdim=True))[:, None, :]
        difference = value[:, :, None] - value[:, None, :]
        return ((weight * difference.square()).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1e-12)).mean()


@final
class DetailedBalance(TrajectoryLoss):
    """(log F(s) + log P_F - log F(s') - log P_B)^2, mean over the steps of all trajectories (Bengio et al. 2023)."""

    needs = frozenset({FLOW})

    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        value = potentials(path, log_partition, log_reward)
        residual = (value[:, :-1] - value[:, 1:]) * path.is_step
        return residual.square().sum() / path.is_step.sum().clamp(min=1)


@final
class LogPartitionVariance(TrajectoryLoss):
    """The variance of log R + log P_B - log P_F among trajectories that share one condition (VarGrad; Zhang 2023).

    All of them estimate log Z; no log Z is learned.

    Args:
        group: trajectories that share one condition; it must divide the batch.
    """

    def __init__(self, group: int = 16) -> None:
        if group < 2:
            raise ConfigError(f"expected groups of at least 2 trajectories for a variance, got {group}")
        self.group = group

    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        estimate = (log_reward + path.log_backward - path.log_forward).view(-1, self.group)
        return estimate.var(1, correction=0).mean()


@final
class FlowMatching(TrajectoryLoss):
    """(log flow into s' - log flow out of s')^2, mean over all states reached (Bengio et al. 2021).

    The logits of a policy of the state are the log-flows of the edges; what flows out of a terminal state is its
    reward. No log Z and no backward policy is learned.
    """

    needs = frozenset({EDGES})

    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        if path.inflow is None or path.outflow is None:
            raise ConfigError("expected edge flows for flow matching, got paths without them")
        steps = path.is_step
        onward = torch.nn.functional.pad(path.outflow[:, 1:], (0, 1))
        goes_on = torch.nn.functional.pad(steps[:, 1:], (0, 1))
        out = torch.where(goes_on, onward, (log_reward + path.symmetry)[:, None])
        return ((path.inflow - out) * steps).square().sum() / steps.sum().clamp(min=1)


@final
class OrderPreserving(TrajectoryLoss):
    """-mean over the non-dominated of log softmax(log R^) over the batch, log R^ = log Z + log P_F - log P_B.

    No scalarisation: the reward is learned so that the non-dominated candidates of every batch share all of it (Chen
    and Mauch 2024). It is the cross-entropy with the uniform distribution on them, less its least value, so that it
    is zero where they share everything equally. Wants replay, and asks for nothing (`Unasked`).
    """

    is_ordering = True

    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
        *,
        utility: Float[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, ""]:
        if utility is None:
            raise ConfigError("expected utilities for order-preserving training, got rewards alone")
        best = is_non_dominated(utility).to(log_partition.device)
        learned = log_partition + path.log_forward - path.log_backward
        count = best.sum().clamp(min=1)
        return -(learned.log_softmax(0) * best).sum() / count - count.log()
