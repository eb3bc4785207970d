"""Trajectories worth learning from again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from samplers.environment.environment import Environment
from samplers.environment.rollout import Trajectories, last_state, retrace
from samplers.gflownet.condition import Condition
from samplers.gflownet.reward import Reward


@final
class Replay:
    """The newest `capacity` valid trajectories, drawn again for new preferences in proportion to R^(sharpness / beta).

    A trajectory's reward is known for every preference, so it is not tied to the one it was made for; trajectory
    balance holds for any trajectory, wherever it comes from.

    Args:
        capacity: how many trajectories are kept.
        warmup: none is drawn before so many are there.
        share: replayed trajectories per new one.
        sharpness: the inverse temperature of the draw; 0 draws uniformly.
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
        self.rebuilt, self.rebuilt_sharpness = rebuilt, rebuilt_sharpness
        self.kept: Kept | None = None

    def __len__(self) -> int:
        return 0 if self.kept is None else len(self.kept.actions)

    @property
    def is_ready(self) -> bool:
        """True once enough trajectories are there."""
        return len(self) >= self.warmup and self.share > 0

    def add(self, trajectories: Trajectories, utility: Float[Tensor, "n m"], is_valid: Bool[Tensor, " n"]) -> None:
        """Keeps the valid trajectories, the oldest leaving first."""
        new = Kept(trajectories.actions, trajectories.log_symmetry, utility.to(torch.float32)).pick(is_valid)
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
        if self.kept is None:
            raise ValueError("nothing to draw from an empty replay buffer")
        sharpness = self.sharpness if sharpness is None else sharpness
        utility = self.kept.utility
        n, (k, m) = len(condition), utility.shape
        scalar = reward.scalarization(
            utility[None].expand(n, k, m), condition.preference[:, None].expand(n, k, m)
        ).clamp(min=1e-6)
        noise = torch.empty(n, k).exponential_(generator=generator).clamp(min=1e-20)
        return self.kept.pick((sharpness * scalar.log() - noise.log()).argmax(1))

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {} if self.kept is None else {name: value.clone() for name, value in vars(self.kept).items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """The buffer of a checkpoint."""
        self.kept = Kept(**state) if state else None


@dataclass(frozen=True)
class Kept:
    """Trajectories and what they are worth."""

    actions: Int[Tensor, "k l c"]
    log_symmetry: Float[Tensor, " k"]
    utility: Float[Tensor, "k m"]

    def pick(self, index: Tensor | slice) -> Kept:
        """The trajectories at an index or mask."""
        return Kept(self.actions[index], self.log_symmetry[index], self.utility[index])

    def joined(self, other: Kept) -> Kept:
        """These, then the others."""
        return Kept(
            torch.cat([self.actions, other.actions]),
            torch.cat([self.log_symmetry, other.log_symmetry]),
            torch.cat([self.utility, other.utility]),
        )

    def retold(self, environment: Environment, *, generator: torch.Generator | None = None) -> Trajectories:
        """The same objects, each by a path drawn anew from the uniform backward policy."""
        final = last_state(environment, self.actions)
        return retrace(environment, environment.unfold(final, generator=generator), self.log_symmetry)
