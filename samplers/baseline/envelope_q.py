"""Envelope Q-learning: values of all objectives, told a preference, each learning from the best of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, Self, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mogen.errors import ConfigError
from mogen.preference import PreferenceDistribution
from mogen.training import frozen_copy, update_average
from mogen.types import C
from samplers.baseline.learner import Episodes, Learner, chosen_trajectories, settings_of
from samplers.environment.environment import Environment
from samplers.environment.rollout import Trajectories, masked, padded, retrace
from samplers.gflownet.policy import Network, Policy

SHARPNESS = 1e5
"""what values are multiplied by for a rollout, whose random draws then only break ties"""


@dataclass(frozen=True)
class Decisions:
    """The choices of n paths one after another, d in all, with up to a options; what each path ends at is known."""

    taken: Int[Tensor, "n d"]
    allowed: Bool[Tensor, "n d a"]
    is_real: Bool[Tensor, "n d"]
    """False for padding"""
    is_last: Bool[Tensor, "n d"]
    """True for the one that ends a path"""

    @staticmethod
    def of(trajectories: Trajectories) -> Decisions:
        """The choices of trajectories: those of one action come one after another."""
        widest = max(mask.shape[-1] for mask in trajectories.allowed)
        masks = [nn.functional.pad(mask, (0, widest - mask.shape[-1])) for mask in trajectories.allowed]
        choices = len(masks)
        is_real = trajectories.is_step.repeat_interleave(choices, 1)
        after = nn.functional.pad(is_real[:, 1:], (0, 1))
        return Decisions(
            taken=trajectories.actions.flatten(1),
            allowed=torch.stack(masks, 2).flatten(1, 2),
            is_real=is_real,
            is_last=is_real & ~after,
        )


@torch.no_grad()
def envelope_targets(
    value: Float[Tensor, "v n d a m"],
    allowed: Bool[Tensor, "n d a"],
    is_last: Bool[Tensor, "n d"],
    utility: Float[Tensor, "n m"],
    preference: Float[Tensor, "v m"],
    discount: float = 1.0,
) -> Float[Tensor, "v n d m"]:
    """What Q(s, a, w) should be, for every w: the utilities where a path ends, else those of the best way on.

    y(w) = discount * Q(s', a', w') at the allowed a' and the w' of the given preferences with the largest
    w . Q(s', a', w'): the optimality filter of the envelope (Yang et al. 2019, eq. 6-7), where only ends are rewarded.
    """
    later = torch.cat([value[:, :, 1:], torch.zeros_like(value[:, :, :1])], 2)
    options = torch.cat([allowed[:, 1:], torch.zeros_like(allowed[:, :1])], 1)
    v, n, d, a, m = later.shape
    envelope = later.permute(1, 2, 0, 3, 4).reshape(n, d, v * a, m)
    open_ = options[:, :, None].expand(n, d, v, a).reshape(n, d, v * a)
    worth = masked(torch.einsum("ndxm,vm->vndx", envelope, preference), open_)
    best = worth.argmax(-1)[..., None, None].expand(v, n, d, 1, m)
    found = envelope.expand(v, n, d, v * a, m).gather(3, best)[..., 0, :]
    return torch.where(is_last[..., None], utility[:, None], discount * found)


def envelope_loss(
    value: Float[Tensor, "v n d m"],
    target: Float[Tensor, "v n d m"],
    preference: Float[Tensor, "v m"],
    is_real: Bool[Tensor, "n d"],
    homotopy: float,
) -> Float[Tensor, ""]:
    """(1 - h) |y - Q|^2 + h |w . (y - Q)|, averaged over preferences and decisions (Yang et al. 2019, eq. 8-9)."""
    error = target - value
    along = torch.einsum("vndm,vm->vnd", error, preference).abs()
    both = (1 - homotopy) * error.square().sum(-1) + homotopy * along
    return (both * is_real).sum() / (is_real.sum() * len(value))


class VectorQ(nn.Module):
    """Q(s, a, w) of every objective, each by a network of its own whose logits are the values."""

    def __init__(self, parts: list[Policy]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, trajectories: Trajectories, told: Float[Tensor, "n c"]) -> Float[Tensor, "n d a m"]:
        """The values of every option of every choice of paths."""
        return torch.stack([self._of(part, trajectories, told) for part in self.parts], -1)

    def _of(self, part: Any, trajectories: Trajectories, told: Float[Tensor, "n c"]) -> Float[Tensor, "n d a"]:
        choices, _ = part.path_logits(trajectories, told)
        widest = max(values.shape[-1] for values in choices)
        return torch.stack([nn.functional.pad(x, (0, widest - x.shape[-1])) for x in choices], 2).flatten(1, 2)


class GreedyActor:
    """Takes the option with the largest w . Q; ties are broken at random."""

    def __init__(self, model: VectorQ, preference: Float[Tensor, "n m"], told: Float[Tensor, "n c"]) -> None:
        self.parts: list[Any] = list(model.parts)
        self.preference, self.told = preference, told

    def begin(self, state: Any) -> list[Any]:
        return [part.begin(state, self.told) for part in self.parts]

    def logits(self, memory: list[Any], state: Any, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        values = [part.next_logits(own, state, chosen) for part, own in zip(self.parts, memory, strict=True)]
        return SHARPNESS * torch.einsum("nam,nm->na", torch.stack(values, -1), self.preference)

    def observe(self, memory: list[Any], action: Int[Tensor, "n k"], next_state: Any) -> list[Any]:
        return [part.observe(own, action, next_state) for part, own in zip(self.parts, memory, strict=True)]


class Memory:
    """The newest trajectories: their actions (padded), lengths and utilities."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.seen = capacity, 0
        self.actions, self.length, self.utility = (torch.empty(0) for _ in range(3))

    def add(self, actions: Int[Tensor, "n l k"], length: Int[Tensor, " n"], utility: Float[Tensor, "n m"]) -> None:
        """Remembers trajectories in the place of the oldest ones."""
        if self.seen == 0:
            self.actions = actions.new_zeros(self.capacity, *actions.shape[1:])
            self.length = length.new_zeros(self.capacity)
            self.utility = utility.new_zeros(self.capacity, utility.shape[1])
        place = (self.seen + torch.arange(len(actions))) % self.capacity
        self.actions[place], self.length[place], self.utility[place] = actions, length, utility
        self.seen += len(actions)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Int[Tensor, "n l k"], Float[Tensor, "n m"]]:
        """n of them at random, with no more steps than the longest needs."""
        row = torch.randint(min(self.seen, self.capacity), (n,), generator=generator)
        return self.actions[row][:, : int(self.length[row].max())], self.utility[row]


@final
class EnvelopeQ(Learner[C], Generic[C]):
    """Envelope Q-learning (Yang et al. 2019): vector values told a preference, each learning from the best of all.

    Builds greedily in w . Q, with random steps that become rarer. Learns from remembered paths under `weights` fresh
    preferences at once, which also make the envelope; the loss goes over from all objectives to the one along w with
    1 - exp(-step / homotopy). Values come from one network per objective, targets from their running average. The
    choices of an action are decisions of their own. Greedy: one candidate per preference, up to ties.

    Args:
        environment: what is built, and how.
        network: the network of the values of one objective; one that suits the environment by default.
        preference: the distribution of preferences in training.
        steps: batches at most; training also ends with the budget.
        batch: new trajectories per step.
        recalled: remembered trajectories a step learns from.
        weights: preferences it learns them under (32 as published).
        memory: trajectories remembered.
        homotopy: steps after which 63 % of the loss is along the preference (10,000 as published).
        discount: of what comes one choice later.
        epsilon: probability of a random step at first.
        last_epsilon: probability of a random step from the middle of training on.
        average: decay of the averaged networks that make targets.
        learning_rate: of Adam.
        clip: largest global norm of the gradient.
        bins: thermometer bins per preference.
    """

    def __init__(
        self,
        environment: Environment[Any, C],
        network: Network | None = None,
        preference: PreferenceDistribution | None = None,
        steps: int = 5_000,
        batch: int = 64,
        recalled: int = 16,
        weights: int = 8,
        memory: int = 4_000,
        homotopy: float = 1_000.0,
        discount: float = 1.0,
        epsilon: float = 0.5,
        last_epsilon: float = 0.05,
        average: float = 0.95,
        learning_rate: float = 5e-4,
        clip: float = 10.0,
        bins: int = 16,
    ) -> None:
        super().__init__(
            environment,
            network,
            None,
            preference,
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            clip=clip,
            bins=bins,
        )
        if min(recalled, weights, memory) < 1 or memory < batch or not homotopy > 0 or not 0 < discount <= 1:
            raise ConfigError(
                "expected recalled and weights of at least 1, a memory of at least a batch, homotopy above 0 and a "
                f"discount above 0 and at most 1 in EnvelopeQ, got {recalled}, {weights}, {memory}, {homotopy} and "
                f"{discount}"
            )
        self.recalled, self.weights, self.homotopy, self.discount = recalled, weights, homotopy, discount
        self.epsilon, self.last_epsilon, self.average = epsilon, last_epsilon, average
        self.capacity = memory
        self.memory = Memory(memory)
        self.target: Any = None
        self.generator = torch.Generator()

    @classmethod
    def beside(cls, sampler: Any) -> Self:
        settings = settings_of(sampler)
        settings.pop("scalarization", None)  # values are vectors, weighed by a sum
        return cls(sampler.environment, **settings, memory=max(4_000, settings.get("batch", 0)))

    def parts(self, m: int, size: int) -> nn.Module:
        return VectorQ([self.network.build(self.environment, size) for _ in range(m)])

    def actor(self, preference: Float[Tensor, "n m"], told: Float[Tensor, "n d"]) -> GreedyActor:
        return GreedyActor(self.model, preference, told)

    def exploration(self, step: int) -> float:
        share = min(1.0, 2 * step / self.steps)
        return (1 - share) * self.epsilon + share * self.last_epsilon

    def begin(self, generator: torch.Generator) -> None:
        self.memory, self.generator = Memory(self.capacity), generator
        self.target = frozen_copy(self.model)

    def loss(self, episodes: Episodes, step: int) -> Tensor:
        new = episodes.trajectories
        actions = padded(self.environment, new.actions, new.final)
        self.memory.add(actions, new.is_step.sum(1), episodes.utility)
        actions, utility = self.memory.draw(self.recalled, self.generator)
        trajectories = retrace(self.environment, actions, torch.zeros(len(actions)))
        preference = self.preference.sample(self.weights, self.m, generator=self.generator).float()
        return self.error(trajectories, utility, preference, 1 - math.exp(-step / self.homotopy))

    def error(
        self,
        trajectories: Trajectories,
        utility: Float[Tensor, "n m"],
        preference: Float[Tensor, "v m"],
        homotopy: float,
    ) -> Tensor:
        """The loss of paths, all under all preferences."""
        n, v = len(utility), len(preference)
        repeated = chosen_trajectories(trajectories, torch.arange(n).repeat(v))
        told = self.told(preference).repeat_interleave(n, 0)
        decisions = Decisions.of(trajectories)
        value = self.model(repeated, told).unflatten(0, (v, n))
        with torch.no_grad():
            # utilities are between 0 and 1, which keeps the maximum over noisy values from growing
            later = self.target(repeated, told).unflatten(0, (v, n)).clamp(0, 1)
        target = envelope_targets(later, decisions.allowed, decisions.is_last, utility, preference, self.discount)
        taken = decisions.taken[None, :, :, None, None].expand(v, n, -1, 1, value.shape[-1])
        return envelope_loss(value.gather(3, taken)[..., 0, :], target, preference, decisions.is_real, homotopy)

    def settle(self) -> None:
        update_average(self.target, self.model, self.average)
