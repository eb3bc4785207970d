"""Advantage actor-critic with a critic of all objectives, told the preference."""

from __future__ import annotations

from typing import Any, Generic, Self, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mogen.preference import PreferenceDistribution, Scalarization
from mogen.types import C
from samplers.baseline.learner import Episodes, Learner, scored, settings_of
from samplers.environment.environment import Environment
from samplers.environment.rollout import UniformActor, rollout
from samplers.gflownet.policy import Network, Policy, PolicyActor


class ActorCritic(nn.Module):
    """A policy, and the utilities it expects from every state, read off its summary."""

    def __init__(self, policy: Policy, width: int, m: int) -> None:
        super().__init__()
        self.policy, self.critic = policy, nn.Linear(width, m)


@final
class MOA2C(Learner[C], Generic[C]):
    """Advantage actor-critic told a preference, with one value per objective (MOA2C of Jain et al. 2023).

    The critic V(s, w) predicts the utilities at the end of the path (no discount); the advantage of a step is
    S(utility, w) - S(V(s, w), w). The policy also climbs its own entropy.

    Args:
        environment: what is built, and how.
        network: the policy's network; one that suits the environment by default.
        scalarization: how a preference makes one number of many utilities; the weighted sum by default.
        preference: the distribution of preferences in training.
        steps: batches at most; training also ends with the budget.
        batch: trajectories of a batch.
        entropy: weight of the entropy of a step.
        critic: weight of the squared error of the critic.
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
        entropy: float = 0.01,
        critic: float = 1.0,
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
        self.entropy, self.critic, self.epsilon = entropy, critic, epsilon

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        return cls(sampler.environment, **settings_of(sampler))

    def parts(self, m: int, size: int) -> nn.Module:
        policy = self.network.build(self.environment, size)
        # one random path tells how wide a summary is
        seed = torch.Generator().manual_seed(0)
        path = rollout(self.environment, UniformActor(self.environment), 1, generator=seed)
        with torch.no_grad():
            width = scored(policy, path, torch.zeros(1, size)).summary.shape[-1]
        return ActorCritic(policy, width, m)

    def actor(self, preference: Float[Tensor, "n m"], told: Float[Tensor, "n d"]) -> PolicyActor:
        return PolicyActor(self.model.policy, told)

    def exploration(self, step: int) -> float:
        return self.epsilon

    def begin(self, generator: torch.Generator) -> None:
        """There is nothing but the networks."""

    def loss(self, episodes: Episodes, step: int) -> Tensor:
        model = cast("ActorCritic", self.model)
        path = scored(model.policy, episodes.trajectories, episodes.told)
        value = model.critic(path.summary)
        utility, preference = episodes.utility[:, None], episodes.preference[:, None]
        expected = self.scalarization(value.detach(), preference.expand_as(value))
        advantage = self.scalarization(utility, preference) - expected
        gain = path.log_prob * advantage + self.entropy * path.entropy
        error = (value - utility).square().sum(-1)
        return ((self.critic * error - gain) * path.is_step).sum() / path.is_step.sum()

    def settle(self) -> None:
        """Nothing follows."""
