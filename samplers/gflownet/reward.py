"""From an evaluation to log R: the only place where log-rewards are floored."""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from mogen.objective import Evaluation
from mogen.preference import Scalarization
from mogen.preference.goal import FocusCone
from samplers.gflownet.condition import Condition


@final
class Reward:
    """log R = beta * log S(utility, preference), at least `floor`; an invalid candidate gets the floor itself.

    (Jain et al. 2023; R = S^beta.)
    """

    def __init__(self, scalarization: Scalarization | FocusCone, floor: float = -75.0) -> None:
        if not floor < 0:
            raise ConfigError(f"expected a floor of log R below 0, got {floor}")
        self.scalarization, self.floor = scalarization, floor

    def of_utility(self, utility: Float[Tensor, "n m"], is_valid: Tensor, condition: Condition) -> Float[Tensor, " n"]:
        """log R of utilities on [0, 1]."""
        scalar = self.scalarization(utility.float(), condition.preference.to(utility.device))
        log_reward = (condition.beta * scalar.clamp(min=1e-30).log()).clamp(min=self.floor)
        return log_reward.where(is_valid & (scalar > 0), self.floor)

    def __call__(self, evaluation: Evaluation, condition: Condition) -> Float[Tensor, " n"]:
        """log R of n candidates, each under its own condition."""
        device = condition.beta.device
        return self.of_utility(evaluation.utility.to(device), evaluation.is_valid.to(device), condition)
