"""Focus cones, and where goals come from."""

from __future__ import annotations

import math

import pytest
import torch

from mogen.errors import ConfigError
from mogen.preference import FocusCone, TabularGoals, UniformGoals, cube_faces, goal_of


def at_angle(degrees: float, length: float = 0.5) -> torch.Tensor:
    """A vector so many degrees away from the first axis."""
    turn = math.radians(degrees)
    return length * torch.tensor([[math.cos(turn), math.sin(turn)]], dtype=torch.float64)


def test_the_reward_falls_from_the_axis_to_the_border_and_is_nothing_beyond() -> None:
    cone, axis = FocusCone(0.9, 0.2), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert cone(at_angle(0), axis).item() == pytest.approx(0.25)  # the mean of 0.5 and 0
    border = math.degrees(math.acos(0.9)) - 1e-6
    edge = at_angle(border)
    assert cone(edge, axis).item() == pytest.approx(0.2 * edge.mean().item(), rel=1e-4)
    middle = at_angle(15)
    expected = math.cos(math.radians(15)) ** (math.log(0.2) / math.log(0.9)) * middle.mean().item()
    assert cone(middle, axis).item() == pytest.approx(expected)
    assert cone(at_angle(border + 1e-3), axis).item() == 0.0
    assert cone.contains(edge, axis).item() and not cone.contains(at_angle(60), axis).item()
    assert cone(torch.zeros(1, 2), axis.float()).item() == 0.0


def test_a_goal_is_the_direction_of_a_row() -> None:
    goal = goal_of(torch.tensor([[0.3, 0.4], [0.0, 0.0]]))
    assert torch.allclose(goal, torch.tensor([[0.6, 0.8], [0.5**0.5, 0.5**0.5]]))


def test_uniform_goals_are_uniform_on_the_positive_arc() -> None:
    goals = UniformGoals().sample(20_000, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(goals.norm(dim=1), torch.ones(20_000), atol=1e-5) and (goals >= 0).all()
    angle = torch.atan2(goals[:, 1], goals[:, 0]) / (math.pi / 2)
    assert angle.histc(10, 0, 1).div(20_000).tolist() == pytest.approx([0.1] * 10, abs=0.01)


@pytest.mark.parametrize(("m", "resolution"), [(2, 10), (3, 10), (4, 4)])
def test_cube_faces_are_counted_in_closed_form(m: int, resolution: int) -> None:
    faces = cube_faces(m, resolution)
    assert len(faces) == len(faces.unique(dim=0)) == resolution**m - (resolution - 1) ** m
    assert (faces.amax(1) == 1).all()


def test_the_table_turns_away_from_goals_that_are_never_reached() -> None:
    goals = TabularGoals(resolution=5, start=0.25, stop=0.75, dead=0.1)
    seed = torch.Generator().manual_seed(0)
    assert goals.sample(3, 2, generator=seed).shape == (3, 2)
    corner, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    goals.learn(corner, torch.tensor([[0.1, 0.9]]), 0.5)
    weight = goals.weights()
    near = (goals.table @ corner.T)[:, 0].argmax(), (goals.table @ other.T)[:, 0].argmax()
    assert weight[near[0]].item() == pytest.approx(0.1) and weight.sum().item() == pytest.approx(len(weight) - 0.9)
    drawn = goals.sample(8_000, 2, generator=seed)
    share = (drawn == goals.table[near[0]]).all(1).float().mean().item()
    assert share == pytest.approx(0.1 / (len(weight) - 0.9), abs=0.006)
    before = goals.state()
    goals.learn(other, torch.tensor([[0.9, 0.0]]), 0.9)  # too late
    assert all(torch.equal(before[name], value) for name, value in goals.state().items() if name != "progress")
    again = TabularGoals(resolution=5)
    again.restore(goals.state())
    assert torch.equal(again.weights(), goals.weights()) and torch.equal(again.table, goals.table)
    fresh = TabularGoals()
    fresh.restore(TabularGoals().state())
    assert fresh.sample(2, 3, generator=seed).shape == (2, 3)


def test_odd_cones_and_tables_are_one_sentence() -> None:
    for wrong in (
        lambda: FocusCone(1.0),
        lambda: FocusCone(0.9, 0.0),
        lambda: TabularGoals(1),
        lambda: TabularGoals(5, 0.8, 0.2),
    ):
        with pytest.raises(ConfigError, match="expected"):
            wrong()
