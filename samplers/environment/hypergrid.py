"""The HyperGrid: walks along the axes of a grid, with exact answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.domain.point import Point, number_text
from mogen.errors import ConfigError, ShapeError
from samplers.environment.environment import Environment


@dataclass(frozen=True)
class HyperGridState:
    """n places on a grid of d axes."""

    position: Int[Tensor, "*n d"]
    """0 to side - 1 on every axis"""
    is_stopped: Bool[Tensor, " *n"]


@final
class HyperGrid(Environment[HyperGridState, Point]):
    """From the origin, one step up one axis at a time, or stop (Bengio et al. 2021; Jain et al. 2023).

    Actions 0 to d - 1 go up that axis; action d stops. With `edge_ends` (the rule of the MOGFN experiments) a walk
    ends as soon as it reaches the far edge of any axis, so that terminal places have at most one coordinate of
    side - 1. Without it (the rule of the first GFlowNet paper) every place can be stopped at. Place s is decoded to
    the point with coordinates 2 s / (side - 1) - 1.

    Args:
        dimension: number of axes.
        side: number of places on each axis.
        edge_ends: whether reaching the far edge of an axis ends a walk.
        length: where given, every walk has exactly so many steps, stopping included: a walk may stop there and nowhere
            else (without `edge_ends`; for timings, where walks of different lengths cannot be compared).
    """

    def __init__(self, dimension: int = 2, side: int = 32, edge_ends: bool = True, length: int | None = None) -> None:
        if dimension < 1 or side < 2:
            raise ConfigError(f"expected a hypergrid of dimension >= 1 and side >= 2, got {dimension} and {side}")
        longest = dimension * (side - 2) + 1 if edge_ends else dimension * (side - 1) + 1
        if length is not None and (edge_ends or not 1 <= length <= longest):
            raise ConfigError(
                f"expected a length between 1 and {longest} of all walks, without edge_ends, in a hypergrid, got "
                f"{length} and edge_ends {edge_ends}"
            )
        self.dimension, self.side, self.edge_ends, self.length = dimension, side, edge_ends, length
        self.sizes = (dimension + 1,)
        self.max_steps = longest if length is None else length
        self._numbers = torch.arange(max(dimension, side))
        self._texts = [number_text(2 * place / (side - 1) - 1) for place in range(side)]

    def _first(self, count: int, device: torch.device) -> Int[Tensor, " c"]:
        """0 to count - 1, kept on the device in use."""
        if self._numbers.device != device:
            self._numbers = self._numbers.to(device)
        return self._numbers[:count]

    def initial(self, n: int, *, device: torch.device | str = "cpu") -> HyperGridState:
        return HyperGridState(
            position=torch.zeros(n, self.dimension, dtype=torch.long, device=device),
            is_stopped=torch.zeros(n, dtype=torch.bool, device=device),
        )

    def is_terminal(self, state: HyperGridState) -> Bool[Tensor, " *n"]:
        if not self.edge_ends:
            return state.is_stopped
        return state.is_stopped | (state.position == self.side - 1).any(-1)

    def allowed(self, state: HyperGridState, chosen: Int[Tensor, "n i"]) -> Bool[Tensor, "n a"]:
        # a column beyond the last axis: the place of stopping, which is allowed everywhere
        options = torch.nn.functional.pad(state.position, (0, 1)) < self.side - 1
        if self.length is None:
            options &= ~self.is_terminal(state)[..., None]
            options[..., -1] = True
            return options
        is_high = (state.position.sum(-1) == self.length - 1)[..., None]
        options &= ~is_high
        options[..., -1:] = is_high
        return options

    def step(self, state: HyperGridState, action: Int[Tensor, "n 1"]) -> HyperGridState:
        stops = action[:, 0] == self.dimension
        if self.edge_ends:
            stops &= ~self.is_terminal(state)
        rise = action == self._first(self.dimension, action.device)
        return HyperGridState(state.position + rise, state.is_stopped | stops)

    def backward_allowed(self, state: HyperGridState) -> Bool[Tensor, "n a"]:
        """Down an axis, or take back the stop; from the edge only down its axis, as no other neighbour goes on."""
        falls = state.position > 0
        if self.edge_ends:
            edge = state.position == self.side - 1
            falls = falls & (edge | ~edge.any(-1, keepdim=True))
        stopped = state.is_stopped[..., None]
        return torch.cat([falls & ~stopped, stopped], -1)

    def backward_step(self, state: HyperGridState, action: Int[Tensor, " n"]) -> HyperGridState:
        fall = (self._first(self.dimension, action.device) == action[:, None]).long()
        return HyperGridState(state.position - fall, state.is_stopped & (action != self.dimension))

    def reverse(
        self, state: HyperGridState, action: Int[Tensor, "n 1"], next_state: HyperGridState
    ) -> Int[Tensor, " n"]:
        return torch.where(self.is_terminal(state), -1, action[:, 0])

    def log_symmetry(self, state: HyperGridState) -> Float[Tensor, " n"]:
        return torch.zeros(len(state.position), dtype=torch.float64)

    def unfold(self, state: HyperGridState, *, generator: torch.Generator | None = None) -> Int[Tensor, "n l 1"]:
        n, device = len(state.position), state.position.device
        actions = torch.full((n, self.max_steps), self.dimension, device=device)
        length = state.position.sum(-1) + state.is_stopped
        rows = torch.arange(n, device=device)
        for back in range(self.max_steps):
            options = self.backward_allowed(state)
            moves = length > back
            noise = torch.rand(options.shape, generator=generator, device=device)
            option = torch.where(options, noise, -1.0).argmax(-1)
            place = (length - 1 - back).clamp(min=0)
            actions[rows, place] = torch.where(moves, option, actions[rows, place])
            state = self.backward_step(state, torch.where(moves, option, -1))
        return actions[..., None]

    def features(self, state: HyperGridState) -> Float[Tensor, "n d"]:
        """One-hot place on every axis, as published."""
        return (state.position[..., None] == self._first(self.side, state.position.device)).flatten(-2).float()

    def decode(self, state: HyperGridState) -> list[Point]:
        texts = self._texts
        return [Point(" ".join([texts[place] for place in row])) for row in state.position.tolist()]

    def describe(self) -> dict[str, Any]:
        """What a saved model needs: the arguments."""
        sizes: dict[str, Any] = {"dimension": self.dimension, "side": self.side, "edge_ends": self.edge_ends}
        sizes |= {} if self.length is None else {"length": self.length}
        return {"class_path": "samplers.environment.hypergrid.HyperGrid", "init_args": sizes}

    def write(self, folder: Path) -> None:
        """Nothing beside the arguments."""

    @classmethod
    def read(cls, folder: Path, sizes: dict[str, Any]) -> HyperGrid:
        """The environment of a saved model."""
        return cls(**sizes)

    def _places(self) -> Int[Tensor, "p d"]:
        axis = torch.arange(self.side)
        return torch.cartesian_prod(*[axis] * self.dimension).reshape(-1, self.dimension)

    def states(self) -> HyperGridState:
        """Every state that is not terminal, in lexicographic order of its position."""
        places = self._places()
        going = HyperGridState(places, torch.zeros(len(places), dtype=torch.bool))
        inner = places[~self.is_terminal(going)]
        if self.length is not None:
            inner = inner[inner.sum(-1) < self.length]
        return HyperGridState(inner, torch.zeros(len(inner), dtype=torch.bool))

    def terminals(self) -> HyperGridState:
        """Every terminal state, in lexicographic order of its position."""
        places = self._places()
        if self.length is not None:
            places = places[places.sum(-1) == self.length - 1]
        edges = (places == self.side - 1).sum(-1) if self.edge_ends else torch.zeros(len(places), dtype=torch.long)
        return HyperGridState(places[edges <= 1], edges[edges <= 1] == 0)

    def terminal_distribution(self, log_forward: Float[Tensor, "*b s a"]) -> Float[Tensor, "*b t"]:
        """The exact distribution over `terminals()` of a policy given by its log-probabilities in each of `states()`.

        Dynamic programming over the grid in order of the number of steps, in float64: the mass of a place is the sum
        over its parents of their mass times the probability of the step.
        """
        going = self.states().position
        if log_forward.shape[-2:] != (len(going), self.dimension + 1):
            raise ShapeError(
                f"expected log-probabilities of {self.dimension + 1} actions in each of {len(going)} states of the "
                f"hypergrid, got shape {tuple(log_forward.shape)}"
            )
        forward = log_forward.detach().double().cpu().exp().reshape(-1, len(going), self.dimension + 1)
        strides = self.side ** torch.arange(self.dimension - 1, -1, -1)
        place, depth = going @ strides, going.sum(-1)
        mass = torch.zeros(len(forward), self.side**self.dimension, dtype=torch.float64)
        mass[:, 0] = 1.0
        stopped = torch.zeros_like(mass)
        for level in range(int(depth.max()) + 1):
            rows = (depth == level).nonzero()[:, 0]
            here = mass[:, place[rows]]
            stopped[:, place[rows]] = here * forward[:, rows, self.dimension]
            for axis in range(self.dimension):
                rises = going[rows, axis] < self.side - 1
                moved = (here * forward[:, rows, axis])[:, rises]
                mass.index_add_(1, place[rows][rises] + strides[axis], moved)
        ends = self.terminals()
        at = ends.position @ strides
        found = torch.where(ends.is_stopped, stopped[:, at], mass[:, at])
        return found.reshape(*log_forward.shape[:-2], len(at))
