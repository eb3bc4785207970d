"""Policy gradient of a scalarised utility, told the preference."""

from __future__ import annotations

import math
from typing import Any, Generic, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mogen.errors import ConfigError
from mogen.preference import PreferenceDistribution, Scalarization
from mogen.types import C
from samplers.baseline.learner import Episodes, Learner, scored, settings_of
from samplers.environment.environment import Environment
from samplers.gflownet.policy import Network, PolicyActor


def reinforce_loss(log_prob: Float[Tensor, " n"], reward: Float[Tensor, " n"], group: int) -> Float[Tensor, ""]:
    """-mean of log p(path) * (R - mean R of the others of its group) (Williams 1992; Kool et al. 2019).

    The baseline of a path does not depend on the path, so the gradient is that of the mean of R, without bias.
    """
    groups = reward.detach().view(-1, group)
    others = (groups.sum(1, keepdim=True) - groups) / (group - 1)
    return -(log_prob * (groups - others).flatten()).mean()


@final
class MOReinforce(Learner[C], Generic[C]):
    """REINFORCE told a preference, against the mean of a group (MOReinforce, Lin et al. 2022; as in Jain et al. 2023).

    It climbs the mean of R = S(utility, preference)^beta. Every preference is asked for a group of trajectories at
    once, and each is compared with the mean of the others. It maximises and does not explore: candidates for one
    preference become alike.

    Args:
        environment: what is built, and how.
        network: the policy's network; one that suits the environment by default.
        scalarization: how a preference makes one number of many utilities; the weighted sum by default.
        preference: the distribution of preferences in training.
        steps: batches at most; training also ends with the budget.
        batch: trajectories of a batch, a multiple of the group.
        group: trajectories that share a preference, at least 2.
        beta: exponent of the scalarised utility.
        epsilon: probability that a step of a trajectory is uniformly random; above 0 the gradient is a biased one.
        learning_rate: of Adam.
        clip: largest global norm of the gradient.
        bins: thermometer bins per preference.
    """

    def __init__(
        self,
        environment: Environment[Any, C],
        network: Network | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
        steps: int = 5_000,
        batch: int = 64,
        group: int = 8,
        beta: float = 1.0,
        epsilon: float = 0.0,
        learning_rate: float = 5e-4,
        clip: float = 10.0,
        bins: int = 16,
    ) -> None:
        super().__init__(
            environment,
            network,
            scalarization,
            preference,
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            clip=clip,
            bins=bins,
        )
        if group < 2 or batch % group or not beta > 0:
            raise ConfigError(
                f"expected a group of at least 2 that divides the batch, and beta above 0, in MOReinforce, got group "
                f"{group}, batch {batch} and beta {beta}"
            )
        self.group, self.beta, self.epsilon = group, beta, epsilon

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        """The baseline over the environment of another sampler, with its settings, in a batch of whole groups."""
        settings = settings_of(sampler)
        if "batch" in settings:
            settings["batch"] = 8 * math.ceil(settings["batch"] / 8)
        return cls(sampler.environment, **settings)

    def parts(self, m: int, size: int) -> nn.Module:
        return self.network.build(self.environment, size)

    def actor(self, preference: Float[Tensor, "n m"], told: Float[Tensor, "n d"]) -> PolicyActor:
        return PolicyActor(self.model, told)

    def exploration(self, step: int) -> float:
        return self.epsilon

    def begin(self, generator: torch.Generator) -> None:
        """There is nothing but the policy."""

    def loss(self, episodes: Episodes, step: int) -> Tensor:
        log_prob = scored(self.model, episodes.trajectories, episodes.told).log_prob.sum(1)
        reward = self.scalarization(episodes.utility, episodes.preference) ** self.beta
        return reinforce_loss(log_prob, reward, self.group)

    def settle(self) -> None:
        """Nothing follows."""
