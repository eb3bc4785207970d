"""Solvers on processes whose solution is known: orders of convergence, and exact Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion import (
    S4,
    SDE,
    VE,
    VP,
    DPMSolverPlusPlus,
    EulerMaruyama,
    Fields,
    Heun,
    Langevin,
    PredictorCorrector,
    ProductSDE,
    ReverseDiffusion,
    Score,
    Solver,
    SubVP,
    Symmetric,
    integrate,
    times,
)
from samplers.diffusion.solver import transition

MEAN, SPREAD = 0.5, 0.4
PROCESSES = [VP(0.1, 5.0), SubVP(0.1, 5.0), VE(0.05, 3.0)]
names = [type(sde).__name__ for sde in PROCESSES]


def exact_score(sde: SDE) -> Score:
    """The score of data from N(MEAN, SPREAD^2)."""

    def score(fields: Fields, t: Tensor) -> Fields:
        scale, std = (part.unsqueeze(1) for part in sde.marginal(t))
        return {"x": -(fields["x"] - scale * MEAN) / ((scale * SPREAD) ** 2 + std**2)}

    return score


def moments(sde: SDE, t: float) -> tuple[float, float]:
    """Mean and standard deviation at t of data from N(MEAN, SPREAD^2)."""
    scale, std = (float(part) for part in sde.marginal(torch.tensor([t], dtype=torch.float64)))
    return scale * MEAN, ((scale * SPREAD) ** 2 + std**2) ** 0.5


def order(errors: dict[int, float]) -> float:
    """The slope of log error over log step."""
    steps = np.array(sorted(errors))
    return -float(np.polyfit(np.log(steps), np.log([errors[k] for k in steps]), 1)[0])


def grid(steps: int, end: float = 0.1) -> Tensor:
    return torch.linspace(1, end, steps + 1, dtype=torch.float64)


@pytest.mark.parametrize("sde", PROCESSES, ids=names)
@pytest.mark.parametrize(
    ("solver", "expected"),
    [(EulerMaruyama(True), 1), (ReverseDiffusion(True), 1), (Heun(), 2), (DPMSolverPlusPlus(), 2)],
    ids=["euler", "reverse", "heun", "dpm"],
)
def test_the_probability_flow_is_solved_with_the_order_of_the_method(sde: SDE, solver: Solver, expected: int) -> None:
    start = torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)
    (mean, std), (mean_end, std_end) = moments(sde, 1.0), moments(sde, 0.1)
    exact = mean_end + (start - mean) * std_end / std
    process, errors = ProductSDE({"x": sde}), {}
    for steps in (40, 80, 160):
        found = integrate(process, exact_score(sde), solver, {"x": start}, grid(steps))["x"]
        errors[steps] = float((found - exact).abs().max())
    assert errors[160] < 0.02
    assert abs(order(errors) - expected) < 0.35


class Scripted(SDE):
    """A process whose noise is read from a list."""

    def __init__(self, sde: SDE) -> None:
        self.sde, self.script, self.drawn = sde, {}, 0

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.sde.marginal(t)

    def rate(self, t: Tensor) -> Tensor:
        return self.sde.rate(t)

    def diffusion(self, t: Tensor) -> Tensor:
        return self.sde.diffusion(t)

    def noise(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        del generator
        self.drawn += 1
        return torch.full_like(x, self.script.get(self.drawn, 0.0))


def final_moments(sde: SDE, solver: Solver, steps: int, end: float) -> tuple[float, float]:
    """Mean and variance of a linear solver's output, exactly: every step is x -> a x + b + sum_k c_k z_k."""
    process, score = ProductSDE({"x": Scripted(sde)}), exact_score(sde)
    scripted = process.sdes["x"]
    assert isinstance(scripted, Scripted)

    def step(x: float, script: dict[int, float], t: Tensor, t_next: Tensor) -> float:
        scripted.script, scripted.drawn = script, 0
        fields = {"x": torch.tensor([[x]], dtype=torch.float64)}
        return float(solver.step(process, score, fields, t, t_next).fields["x"])

    mean, std = moments(sde, 1.0)
    variance = std**2
    ladder = grid(steps, end)
    for k in range(steps):
        t, t_next = ladder[k].expand(1), ladder[k + 1].expand(1)
        shift = step(0.0, {}, t, t_next)
        draws = scripted.drawn
        factor = step(1.0, {}, t, t_next) - shift
        extra = sum((step(0.0, {draw: 1.0}, t, t_next) - shift) ** 2 for draw in range(1, draws + 1))
        mean, variance = factor * mean + shift, factor**2 * variance + extra
    return mean, variance


@pytest.mark.parametrize("sde", PROCESSES, ids=names)
@pytest.mark.parametrize(
    "solver",
    [EulerMaruyama(), ReverseDiffusion(), S4(Langevin(steps=0)), DPMSolverPlusPlus(1.0), DPMSolverPlusPlus(0.5)],
    ids=["euler", "reverse", "s4", "dpm", "dpm half"],
)
def test_the_reverse_process_has_its_moments_to_weak_order_one(sde: SDE, solver: Solver) -> None:
    mean, std = moments(sde, 0.1)
    errors = {}
    for steps in (40, 80, 160):
        found = final_moments(sde, solver, steps, 0.1)
        errors[steps] = abs(found[0] - mean) + abs(found[1] - std**2)
    assert errors[160] < 0.02
    assert order(errors) > 0.7  # it is 1 in the limit


@pytest.mark.parametrize("sde", PROCESSES, ids=names)
def test_the_splitting_is_exact_where_there_is_no_score(sde: SDE) -> None:
    # without a score the reverse linear part has variance r^2 (v + var(t)) - var(t_next), whatever the steps
    process = ProductSDE({"x": Scripted(sde)})
    scripted = process.sdes["x"]
    assert isinstance(scripted, Scripted)
    t, t_next = torch.tensor([0.9], dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)

    def step(script: dict[int, float], x: float = 0.0) -> float:
        scripted.script, scripted.drawn = script, 0
        fields = {"x": torch.full((1, 1), x, dtype=torch.float64)}
        none = lambda fields, t: {"x": torch.zeros_like(fields["x"])}  # noqa: E731
        return float(S4(Langevin(steps=0)).step(process, none, fields, t, t_next).fields["x"])

    (scale, std), (scale_next, std_next) = sde.marginal(t), sde.marginal(t_next)
    ratio = float(scale_next / scale)
    assert step({}, 1.0) == pytest.approx(ratio)
    variance = step({1: 1.0}) ** 2 + step({2: 1.0}) ** 2
    assert variance == pytest.approx(ratio**2 * float(std) ** 2 - float(std_next) ** 2)


def toy() -> tuple[Tensor, Tensor, Callable[[SDE], Score]]:
    """Graphs of 3 nodes with 1 feature whose 6 numbers have a known covariance, and their exact score."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64) * 0.3
    covariance = root @ root.T + 0.05 * torch.eye(6, dtype=torch.float64)
    mean = torch.tensor([0.5, -0.2, 0.1, 1.0, 0.0, -0.5], dtype=torch.float64)
    value, vector = torch.linalg.eigh(covariance)

    def make(sde: SDE) -> Score:
        def score(fields: Fields, t: Tensor) -> Fields:
            scale, std = sde.marginal(t[:1])
            precision = (vector / (scale**2 * value + std**2)) @ vector.T
            slope = -(flat(fields) - scale * mean) @ precision
            adj = torch.zeros(len(slope), 3, 3, dtype=torch.float64)
            for column, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
                adj[:, i, j] = adj[:, j, i] = slope[:, 3 + column]
            return {"x": slope[:, :3].unsqueeze(-1), "adj": adj}

        return score

    return mean, covariance, make


def flat(fields: Fields) -> Tensor:
    adj = fields["adj"]
    return torch.cat([fields["x"].squeeze(-1), torch.stack([adj[:, 0, 1], adj[:, 0, 2], adj[:, 1, 2]], 1)], 1)


@pytest.mark.parametrize(
    "solver",
    [
        EulerMaruyama(),
        ReverseDiffusion(),
        PredictorCorrector(ReverseDiffusion(), Langevin(0.05, 1.0, norms="batch")),
        S4(Langevin(0.05, 1.0, norms="batch")),
        Heun(),
        DPMSolverPlusPlus(),
        DPMSolverPlusPlus(1.0),
    ],
    ids=["euler", "reverse", "pc", "s4", "heun", "dpm", "dpm noisy"],
)
@pytest.mark.parametrize("sde", [VP(0.1, 20.0), VE(0.02, 30.0)], ids=["VP", "VE"])
def test_exact_scores_give_the_covariance_of_nodes_and_edges(sde: SDE, solver: Solver) -> None:
    mean, covariance, make = toy()
    process = ProductSDE({"x": sde, "adj": Symmetric(sde)})
    n = 2000
    blank = {"x": torch.zeros(n, 3, 1, dtype=torch.float64), "adj": torch.zeros(n, 3, 3, dtype=torch.float64)}
    generator = torch.Generator().manual_seed(0)
    steps = torch.cat([torch.linspace(1, 0, 151, dtype=torch.float64)[:-1] ** 2, torch.zeros(1)])
    made = integrate(process, make(sde), solver, process.prior(blank, generator=generator), steps, generator=generator)
    assert torch.equal(made["adj"], made["adj"].mT)
    found = flat(made)
    scale = float(covariance.diagonal().max())
    assert float((found.mean(0) - mean).abs().max()) < 0.06
    assert float((torch.cov(found.T) - covariance).abs().max()) < 0.12 * scale


def test_norms_of_items_make_a_sample_independent_of_its_neighbours() -> None:
    sde, generator = VP(), torch.Generator().manual_seed(0)
    process = ProductSDE({"x": sde})
    noise = torch.randn(2, 3, generator=generator)
    slope, t = {"x": torch.tensor([[1.0, 0, 0], [9.0, 0, 0]])}, torch.full((2,), 0.5)

    def corrected(norms: str, size: int) -> Tensor:
        class Fixed(Scripted):
            def noise(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
                return noise[:size]

        corrector = Langevin(norms=norms)  # type: ignore[arg-type]
        fixed = ProductSDE({"x": Fixed(sde)})
        rows = {"x": slope["x"][:size]}
        return corrector.correct(fixed, rows, {"x": torch.zeros(size, 3)}, t[:size], t[:size] - 0.01).fields["x"]

    del process
    assert torch.equal(corrected("item", 1)[0], corrected("item", 2)[0])
    assert not torch.allclose(corrected("batch", 1)[0], corrected("batch", 2)[0])


def test_a_score_of_zero_gives_no_infinite_correction() -> None:
    process = ProductSDE({"x": VP()})
    fields = {"x": torch.ones(2, 3)}
    t = torch.full((2,), 0.5)
    step = Langevin().correct(process, {"x": torch.zeros(2, 3)}, fields, t, t - 0.01)
    assert torch.equal(step.fields["x"], fields["x"])


def test_the_grid_has_as_many_intervals_as_steps_and_ends_at_the_data() -> None:
    assert len(times(10)) == 11
    assert float(times(10)[0]) == 1 and float(times(10)[-1]) == 0
    assert float(times(10)[-2]) == pytest.approx(1e-4)
    assert times(1).tolist() == [1.0, 0.0] == times(1, spacing=2).tolist()
    squares = times(10, end=0.01, spacing=2)
    assert torch.allclose(squares[:-1].sqrt().diff(), torch.full((9,), -0.1))
    assert float(squares[0]) == 1 and float(squares[-1]) == 0
    wrong: list[dict[str, Any]] = [
        {"steps": 0},
        {"end": 0.0},
        {"start": 1.5},
        {"spacing": 0.0},
        {"spacing": (4.0, -1.0)},
    ]
    for options in wrong:
        with pytest.raises(ConfigError, match="expected steps"):
            times(**{"steps": 5, **options})


def test_most_of_a_grid_follows_a_beta_distribution() -> None:
    grid = times(2000, end=1e-3, spacing=(4.0, 16.0))
    assert len(grid) == 2001 and bool((grid.diff() < 0).all())
    assert grid[[0, -2, -1]].tolist() == pytest.approx([1.0, 1e-3, 0.0])
    for t in (0.05, 0.1, 0.2, 0.3, 0.6):
        # that fewer than 4 of 19 uniform numbers are above 1 - t has the distribution function of Beta(4, 16)
        share = 1 - sum(math.comb(19, k) * t**k * (1 - t) ** (19 - k) for k in range(4))
        expected = 0.8 * share + 0.2 * math.sqrt(t)
        first = 0.2 * math.sqrt(1e-3)
        assert float((grid[:-1] < t).float().mean()) == pytest.approx((expected - first) / (1 - first), abs=2e-3)
    assert times(1, spacing=(4.0, 16.0)).tolist() == [1.0, 0.0]


def test_a_grid_must_fall() -> None:
    process = ProductSDE({"x": VP()})
    with pytest.raises(ConfigError, match="falling"):
        integrate(process, exact_score(VP()), Heun(), {"x": torch.zeros(1, 1)}, torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("sde", PROCESSES, ids=names)
@pytest.mark.parametrize(("t", "other"), [(0.2, 0.7), (0.9, 0.35), (0.4, 0.4)])
def test_the_linear_part_is_the_integral_of_its_noise(sde: SDE, t: float, other: float) -> None:
    between = torch.linspace(t, other, 2001, dtype=torch.float64)
    grown = sde.marginal(between[-1:]).scale / sde.marginal(between).scale
    ratio, variance = transition(sde, between[:1], between[-1:])
    assert torch.allclose(ratio, grown[:1])
    expected = torch.trapezoid((grown * sde.diffusion(between)) ** 2, between).abs()
    assert torch.allclose(variance, expected, rtol=1e-5, atol=1e-15)
