"""Goals: directions in objective space, and the cones around them that count (Roy et al. 2023)."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mogen.errors import ConfigError, ShapeError


@final
class FocusCone:
    """S = alpha * mean_k u_k inside the cone cos(u, d) >= c, and 0 outside; alpha = cos(u, d)^(log m / log c).

    alpha is 1 on the axis d and m on the border (Roy et al. 2023, who take the sum of the u_k: the same up to a
    constant factor).

    Args:
        cosine: c, the cosine of half the opening of the cone.
        limit: m, what is left of the reward on the border.
    """

    def __init__(self, cosine: float = 0.98, limit: float = 0.2) -> None:
        if not (0 < cosine < 1 and 0 < limit <= 1):
            raise ConfigError(f"expected 0 < cosine < 1 and 0 < limit <= 1 of a focus cone, got {cosine} and {limit}")
        self.cosine, self.limit = float(cosine), float(limit)
        self.exponent = math.log(self.limit) / math.log(self.cosine)

    def angle(self, utility: Float[Tensor, "*b m"], direction: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """cos(u, d); 0 where either has no length."""
        length = utility.norm(dim=-1) * direction.norm(dim=-1)
        return torch.where(length > 0, (utility * direction).sum(-1) / length.clamp(min=1e-12), 0.0).clamp(0, 1)

    def contains(self, utility: Float[Tensor, "*b m"], direction: Float[Tensor, "*b m"]) -> Bool[Tensor, "*b"]:
        """True inside the cone around a direction."""
        return self.angle(utility, direction) >= self.cosine

    def __call__(self, utility: Float[Tensor, "*b m"], direction: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """What utilities are worth to someone who looks in a direction."""
        utility = utility.clamp(0, 1)
        angle = self.angle(utility, direction)
        return torch.where(angle >= self.cosine, angle**self.exponent * utility.mean(-1), 0.0)


def goal_of(preference: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """The direction of a preference or of utilities: the row divided by its length (all objectives alike where 0)."""
    row = torch.where(preference.norm(dim=-1, keepdim=True) > 0, preference, 1.0)
    return row / row.norm(dim=-1, keepdim=True)


class GoalDistribution(ABC):
    """A way of drawing directions that training aims at; it may learn from what was reached."""

    @abstractmethod
    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        """n unit vectors without negative entries, in float32."""

    def learn(self, goal: Float[Tensor, "n m"], utility: Float[Tensor, "n m"], progress: float) -> None:
        """Is told which goals were used, what was reached, and the share of training that is done."""
        del goal, utility, progress

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """What a checkpoint kept."""
        del state


@final
class UniformGoals(GoalDistribution):
    """Uniform on the part of the unit sphere without negative entries: |N(0, I)|, normalised."""

    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        return goal_of(torch.randn(n, m, generator=generator).abs())


@final
class TabularGoals(GoalDistribution):
    """Directions from a table, those that proved out of reach more rarely (Tab-GS, Roy et al. 2023).

    The table holds the points of a grid on the outer faces of the unit cube, normalised. A direction weighs 1 until it
    was used, 1 if rewards fell nearest to it, and `dead` if it was used and none did. Goals are uniform up to the share
    `start` of training, the table is used from then on and no longer changed after the share `stop`.

    Args:
        resolution: grid points along every objective.
        start: share of training from which on the table decides.
        stop: share of training after which it stays as it is.
        dead: weight of a direction that was used and never reached.
    """

    def __init__(self, resolution: int = 30, start: float = 0.25, stop: float = 0.75, dead: float = 0.1) -> None:
        if resolution < 2 or not 0 <= start <= stop <= 1 or not 0 < dead <= 1:
            raise ConfigError(
                "expected resolution >= 2, 0 <= start <= stop <= 1 and 0 < dead <= 1 of tabular goals, got "
                f"{resolution}, {start}, {stop} and {dead}"
            )
        self.resolution, self.start, self.stop, self.dead = resolution, start, stop, dead
        self.table = torch.zeros(0, 0)
        self.used = self.reached = torch.zeros(0)
        self.progress = 0.0

    def _prepare(self, m: int) -> None:
        if self.table.shape[1] != m:
            self.table = goal_of(cube_faces(m, self.resolution).float())
            self.used, self.reached = torch.zeros(2, len(self.table)).unbind(0)

    def weights(self) -> Float[Tensor, " k"]:
        """How likely each direction of the table is drawn, up to a factor."""
        return torch.where((self.used > 0) & (self.reached == 0), self.dead, 1.0)

    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        self._prepare(m)
        if self.progress < self.start:
            return UniformGoals().sample(n, m, generator=generator)
        index = (
            torch.multinomial(self.weights(), n, replacement=True, generator=generator) if n else torch.zeros(0).long()
        )
        return self.table[index]

    def learn(self, goal: Float[Tensor, "n m"], utility: Float[Tensor, "n m"], progress: float) -> None:
        self._prepare(goal.shape[1])
        self.progress = float(progress)
        if progress > self.stop:
            return
        reached = utility[utility.norm(dim=-1) > 0].float()
        self.used = self.used + self._nearest(goal.float()).bincount(minlength=len(self.table))
        self.reached = self.reached + self._nearest(goal_of(reached)).bincount(minlength=len(self.table))

    def _nearest(self, direction: Float[Tensor, "n m"]) -> Tensor:
        return (direction @ self.table.T).argmax(-1)

    def state(self) -> dict[str, Tensor]:
        return {"used": self.used.clone(), "reached": self.reached.clone(), "progress": torch.tensor(self.progress)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.progress = float(state["progress"])
        for m in itertools.count(1):  # the table follows from the number of its rows
            if len(state["used"]) == 0 or self.resolution**m - (self.resolution - 1) ** m >= len(state["used"]):
                break
        if len(state["used"]):
            self._prepare(m)
        self.used, self.reached = state["used"].clone(), state["reached"].clone()


def cube_faces(m: int, resolution: int = 10) -> Float[Tensor, "k m"]:
    """The grid points of the unit cube with a coordinate of 1, k = r^m - (r - 1)^m: the front nobody can pass.

    Raises `ShapeError` above a million grid points.
    """
    if m < 1 or resolution < 2 or resolution**m > 1_000_000:
        raise ShapeError(f"a grid needs m >= 1, resolution >= 2 and at most a million points, got {resolution}^{m}")
    axis = torch.linspace(0, 1, resolution, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * m).reshape(-1, m)
    return grid[(grid == 1).any(-1)]
