"""What a trajectory's probabilities must satisfy; no environment, no network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from jaxtyping import Float
from torch import Tensor

from samplers.gflownet.policy import PathLogProbs


class TrajectoryLoss(ABC):
    """A loss of log-probabilities and log-rewards."""

    @abstractmethod
    def __call__(
        self,
        path: PathLogProbs,
        log_partition: Float[Tensor, " n"],
        log_reward: Float[Tensor, " n"],
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
        self, path: PathLogProbs, log_partition: Float[Tensor, " n"], log_reward: Float[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        residual = imbalance(path, log_partition, log_reward)
        if self.huber <= 0:
            return residual.square().mean()
        size = residual.abs()
        return size.square().where(size < self.huber, self.huber * (2 * size - self.huber)).mean()
