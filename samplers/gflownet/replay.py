"""Trajectories worth learning from again."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mogen.errors import ConfigError
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
    """

    def __init__(self, capacity: int = 10_000, warmup: int = 500, share: float = 0.5, sharpness: float = 16.0) -> None:
        if capacity < 1 or warmup < 1 or share < 0 or sharpness < 0:
            raise ConfigError(
                "expected capacity and warmup of at least 1 and share and sharpness of at least 0 in replay, got "
                f"{capacity}, {warmup}, {share}, {sharpness}"
            )
        self.capacity, self.warmup, self.share, self.sharpness = capacity, warmup, share, sharpness
        self.actions: Int[Tensor, "k l c"] | None = None
        self.utility: Float[Tensor, "k m"] | None = None

    def __len__(self) -> int:
        return 0 if self.actions is None else len(self.actions)

    @property
    def is_ready(self) -> bool:
        """True once enough trajectories are there."""
        return len(self) >= self.warmup and self.share > 0

    def add(self, actions: Int[Tensor, "n l c"], utility: Float[Tensor, "n m"]) -> None:
        """Keeps trajectories, the oldest leaving first."""
        if self.actions is None or self.utility is None:
            self.actions, self.utility = actions[:0], utility[:0]
        self.actions = torch.cat([self.actions, actions])[-self.capacity :]
        self.utility = torch.cat([self.utility, utility])[-self.capacity :]

    def draw(
        self, condition: Condition, reward: Reward, *, generator: torch.Generator | None = None
    ) -> tuple[Int[Tensor, "n l c"], Float[Tensor, "n m"]]:
        """One trajectory per condition."""
        if self.actions is None or self.utility is None:
            raise ValueError("nothing to draw from an empty replay buffer")
        n, k, m = len(condition), len(self), self.utility.shape[1]
        scalar = reward.scalarization(
            self.utility.float()[None].expand(n, k, m), condition.preference[:, None].expand(n, k, m)
        ).clamp(min=1e-6)
        noise = torch.empty(n, k).exponential_(generator=generator).clamp(min=1e-20)
        chosen = (self.sharpness * scalar.log() - noise.log()).argmax(1)
        return self.actions[chosen], self.utility[chosen]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        if self.actions is None or self.utility is None:
            return {}
        return {"actions": self.actions.clone(), "utility": self.utility.clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """The buffer of a checkpoint."""
        self.actions, self.utility = state.get("actions"), state.get("utility")
