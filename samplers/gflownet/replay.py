"""Trajectories worth learning from again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from samplers.environment.environment import Environment
from samplers.environment.rollout import Trajectories, last_state, local, padded, retrace
from samplers.gflownet.condition import Condition
from samplers.gflownet.reward import Reward


@final
class Replay:
    """The newest `capacity` valid trajectories, drawn again in proportion to S^sharpness.

    A trajectory's reward is known for every preference (or goal), so it need not stay with the one it was made for;
    balance holds for any trajectory, wherever it comes from.

    Args:
        capacity: how many trajectories are kept.
        warmup: none is drawn before so many are there.
        share: replayed trajectories per new one.
        sharpness: the inverse temperature of the draw; 0 draws uniformly.
        condition: fresh draws a trajectory for every new request; own keeps the request it was made for.
        hindsight: share of drawn trajectories that missed their request and are told that they were asked for what
            they are.
        rebuilt: share of new trajectories that keep the beginning of a replayed one and build the rest anew (local
            search, Kim et al. 2024); how much is kept is uniform.
        rebuilt_sharpness: the inverse temperature of the draw of what is rebuilt.
    """

    def __init__(
        self,
        capacity: int = 10_000,
        warmup: int = 500,
        share: float = 0.5,
        sharpness: float = 16.0,
        rebuilt: float = 0.0,
        rebuilt_sharpness: float = 64.0,
        condition: Literal["fresh", "own"] = "fresh",
        hindsight: float = 0.0,
    ) -> None:
        if capacity < 1 or warmup < 1 or share < 0 or sharpness < 0:
            raise ConfigError(
                "expected capacity and warmup of at least 1 and share and sharpness of at least 0 in replay, got "
                f"{capacity}, {warmup}, {share}, {sharpness}"
            )
        if not 0 <= rebuilt <= 1:
            raise ConfigError(f"expected a share between 0 and 1 of rebuilt trajectories in replay, got {rebuilt}")
        self.capacity, self.warmup, self.share, self.sharpness = capacity, warmup, share, sharpness
        if rebuilt_sharpness < 0:
            raise ConfigError(f"expected rebuilt_sharpness of at least 0 in replay, got {rebuilt_sharpness}")
        if condition not in ("fresh", "own") or not 0 <= hindsight <= 1:
            raise ConfigError(
                "expected fresh or own conditions and a share of hindsight between 0 and 1 in replay, got "
                f"{condition!r} and {hindsight}"
            )
        self.rebuilt, self.rebuilt_sharpness = rebuilt, rebuilt_sharpness
        self.condition, self.hindsight = condition, hindsight
        self.kept: Kept | None = None

    def __len__(self) -> int:
        return 0 if self.kept is None else len(self.kept.actions)

    @property
    def is_ready(self) -> bool:
        """True once enough trajectories are there."""
        return len(self) >= self.warmup and self.share > 0

    def add(
        self,
        trajectories: Trajectories,
        utility: Float[Tensor, "n m"],
        is_valid: Bool[Tensor, " n"],
        condition: Condition | None = None,
        environment: Environment | None = None,
    ) -> None:
        """Keeps the valid trajectories, the oldest leaving first."""
        actions = trajectories.actions
        if environment is not None:
            actions = padded(environment, actions, trajectories.final)
        new = Kept(
            actions.cpu(),
            trajectories.log_symmetry.cpu(),
            utility.to(torch.float32).cpu(),
            None if condition is None else condition.preference,
            None if condition is None else condition.beta,
        ).pick(is_valid.cpu())
        joined = new if self.kept is None else self.kept.joined(new)
        self.kept = joined.pick(slice(-self.capacity, None))

    def draw(
        self,
        condition: Condition,
        reward: Reward,
        *,
        sharpness: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Kept:
        """One trajectory per condition."""
        kept = self._all()
        sharpness = self.sharpness if sharpness is None else sharpness
        n, (k, m) = len(condition), kept.utility.shape
        if sharpness == 0:
            return kept.pick(torch.randint(k, (n,), generator=generator))
        scalar = reward.scalarization(
            kept.utility[None].expand(n, k, m), condition.preference[:, None].expand(n, k, m)
        ).clamp(min=1e-6)
        noise = torch.empty(n, k).exponential_(generator=generator).clamp(min=1e-20)
        return kept.pick((sharpness * scalar.log() - noise.log()).argmax(1))

    def draw_own(self, n: int, reward: Reward, *, generator: torch.Generator | None = None) -> Kept:
        """n trajectories, each with the request it was made for."""
        kept = self._all()
        if kept.preference is None:
            raise ValueError("expected trajectories with their own conditions in the replay buffer")
        scalar = reward.scalarization(kept.utility, kept.preference).clamp(min=1e-6)
        weight = (self.sharpness * scalar.log()).softmax(0)
        return kept.pick(torch.multinomial(weight, n, replacement=True, generator=generator))

    def _all(self) -> Kept:
        if self.kept is None:
            raise ValueError("nothing to draw from an empty replay buffer")
        return self.kept

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        kept = {} if self.kept is None else vars(self.kept)
        return {name: value.clone() for name, value in kept.items() if value is not None}

    def restore(self, state: dict[str, Tensor]) -> None:
        """The buffer of a checkpoint."""
        self.kept = Kept(**state) if state else None


@dataclass(frozen=True)
class Kept:
    """Trajectories and what they are worth."""

    actions: Int[Tensor, "k l c"]
    log_symmetry: Float[Tensor, " k"]
    utility: Float[Tensor, "k m"]
    preference: Float[Tensor, "k m"] | None = None
    """what each was made for"""
    beta: Float[Tensor, " k"] | None = None

    def pick(self, index: Tensor | slice) -> Kept:
        """The trajectories at an index or mask."""
        made_for = (None if value is None else value[index] for value in (self.preference, self.beta))
        return Kept(self.actions[index], self.log_symmetry[index], self.utility[index], *made_for)

    def joined(self, other: Kept) -> Kept:
        """These, then the others."""
        made_for = ((self.preference, other.preference), (self.beta, other.beta))
        return Kept(
            torch.cat([self.actions, other.actions]),
            torch.cat([self.log_symmetry, other.log_symmetry]),
            torch.cat([self.utility, other.utility]),
            *(None if a is None or b is None else torch.cat([a, b]) for a, b in made_for),
        )

    @property
    def condition(self) -> Condition:
        """What each was made for."""
        if self.preference is None or self.beta is None:
            raise ValueError("expected trajectories with their own conditions")
        return Condition(self.preference, self.beta)

    def retold(
        self,
        environment: Environment,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Trajectories:
        """The same objects, each by a path drawn anew from the uniform backward policy."""
        final = last_state(environment, self.actions.to(device))
        actions = environment.unfold(final, generator=local(generator, device))
        return retrace(environment, actions, self.log_symmetry)
