"""HyperGrid objectives against the exact fronts and hypervolumes computed for mogfn.md 2.1."""

from __future__ import annotations

import math

import pytest
import torch

from mogen.domain.point import Point
from mogen.errors import CandidateError, ConfigError, ObjectiveError
from mogen.objective import ObjectiveSet, check_objective_set
from mogen.pareto import hypervolume, is_non_dominated
from objectives.synthetic import Beale, Branin, Corners, Currin, Shubert, Sphere


def grid(side: int) -> list[Point]:
    """Places with at most one coordinate at the far edge, as points of [-1, 1]^2."""
    places = [(i, j) for i in range(side) for j in range(side) if (i, j) != (side - 1, side - 1)]
    return [Point.of([2 * i / (side - 1) - 1, 2 * j / (side - 1) - 1]) for i, j in places]


@pytest.mark.parametrize(
    "side, objectives, size, volume",
    [
        (32, [Branin(), Currin()], 36, 0.98214),
        (64, [Branin(), Currin()], 73, 0.98339),
        (32, [Branin(), Currin(), Shubert()], 88, 0.85448),
        (64, [Branin(), Currin(), Shubert()], 249, 0.86495),
        (32, [Branin(), Currin(), Shubert(), Sphere()], 147, 0.76666),
        (32, [Branin(), Currin(), Shubert("op_gfn")], 104, 0.68208),
        (32, [Branin(), Currin(), Shubert("op_gfn"), Beale("op_gfn")], 372, 0.44926),
        (32, [Branin(), Beale()], 44, 0.78451),
        (32, [Currin(), Beale("op_gfn")], 8, 0.89794),
        (32, [Shubert("op_gfn"), Beale("op_gfn")], 22, 0.68592),
        (32, [Sphere(), Beale()], 1, 1.0),
    ],
)
def test_exact_fronts(side: int, objectives: list, size: int, volume: float) -> None:
    """Of the formulas themselves: Currin passes 1 a little, so utilities, which are clamped, give a little less."""
    raw = ObjectiveSet(objectives)(grid(side)).raw
    assert len(raw[is_non_dominated(raw)].unique(dim=0)) == size
    assert hypervolume(raw) == pytest.approx(volume, abs=6e-6)


def test_known_minima_of_branin_and_beale() -> None:
    """Branin is 0.397887 at (pi, 2.275); Beale is 14.203125 at the origin."""
    best = Point.of([2 * ((math.pi + 5) / 15 - 0.5), 2 * (2.275 / 15 - 0.5)])
    assert Branin().evaluate([best]).item() == pytest.approx(1 - 0.397887 / 308.13, abs=1e-8)
    raw = 1.5**2 + 2.25**2 + 2.625**2
    assert Beale("op_gfn").evaluate([Point.of([0, 0])]).item() == pytest.approx(raw / 38.8)
    assert Sphere().evaluate([Point.of([1, -1]), Point.of([0.5, 0])]).tolist() == [1.0, 0.125]


def test_corners_in_four_dimensions() -> None:
    points = [Point.of([0.7] * 4), Point.of([0.55, 0.7, 0.7, -0.7]), Point.of([0, 1, 1, 1])]
    assert Corners().evaluate(points).tolist() == pytest.approx([2.501, 0.501, 0.001])


def test_the_contract_holds() -> None:
    check_objective_set(ObjectiveSet([Branin(), Currin(), Shubert(), Sphere(), Beale("op_gfn")]), grid(8))


def test_points_have_one_canonical_text() -> None:
    assert Point.of([-0.0, 1, 1 / 3]).key == "0.0 1.0 0.3333333333333333"
    assert Point(Point.of([0.1, -2]).key) == Point.of([0.1, -2])
    assert Point("0.5 -1.0").coordinates == (0.5, -1.0)
    with pytest.raises(CandidateError, match="finite"):
        Point.of([math.nan])
    with pytest.raises(CandidateError, match="numbers"):
        _ = Point("a b").coordinates


def test_bad_variants_and_dimensions_are_refused() -> None:
    with pytest.raises(ConfigError, match="2022"):
        Shubert("2023")  # type: ignore[arg-type]
    with pytest.raises(ObjectiveError, match="2 coordinates"):
        Branin().evaluate([Point.of([0, 0, 0])])
    assert Branin().evaluate([]).shape == torch.Size([0])
