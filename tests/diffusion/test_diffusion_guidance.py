"""Guidance by predictors and conditions, and known entries, against distributions with closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mogen.errors import ConfigError, ShapeError
from mogen.preference import Scalarization, Tchebycheff, WeightedSum
from samplers.diffusion import (
    VP,
    ClassifierFree,
    DPMSolverPlusPlus,
    EulerMaruyama,
    Fields,
    Kept,
    PredictorGuidance,
    ProductSDE,
    Repeated,
    ReverseDiffusion,
    RotationVE,
    Symmetric,
    Together,
    asked_values,
    integrate,
)
from samplers.diffusion.guidance import squashed

SDE = VP(0.1, 10.0)
GRID = torch.cat([torch.linspace(1, 0.01, 80), torch.zeros(1)])


def normal_score(mean: Tensor, covariance: Tensor) -> Any:
    """The score of normal data N(mean, covariance) under VP noise."""

    def score(fields: Fields, t: Tensor) -> Fields:
        scale, std = (part[:, None] for part in SDE.marginal(t))
        whole = scale[..., None] ** 2 * covariance + std[..., None] ** 2 * torch.eye(len(mean))
        return {"x": -torch.linalg.solve(whole, (fields["x"] - scale * mean).unsqueeze(-1)).squeeze(-1)}

    return score


def drawn(score: Any, guidance: Any, n: int, width: int, context: Fields | None = None, solver: Any = None) -> Fields:
    process, generator = ProductSDE({"x": SDE}), torch.Generator().manual_seed(0)
    start = process.prior({"x": torch.zeros(n, width), **(context or {})}, generator=generator)
    return integrate(process, score, solver or EulerMaruyama(), start, GRID, guidance=guidance, generator=generator)


def test_a_gradient_of_worth_is_that_of_the_scalarised_values() -> None:
    values = lambda fields, t: torch.stack([fields["x"][:, 0], 0.5 * fields["x"][:, 1]], 1)  # noqa: E731
    fields = {"x": torch.tensor([[0.3, 0.8]]), "preference": torch.tensor([[0.25, 0.75]])}
    for kind in (WeightedSum(), Tchebycheff()):
        guide = PredictorGuidance(values, kind)
        found = guide.gradient(ProductSDE({"x": SDE}), fields, torch.tensor([0.5]), {"x": fields["x"]})["x"]
        step = 1e-3
        for place in range(2):
            ends = []
            for sign in (1, -1):
                moved = fields["x"].clone()
                moved[0, place] += sign * step
                value = squashed(values({"x": moved}, None))
                ends.append(float(kind(value, fields["preference"])))
            assert float(found[0, place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-3)
        assert guide.forwards == 1 and guide.backwards == 1 and guide.cost == 3


def test_the_push_has_the_size_of_the_score_and_the_sign_of_the_preference() -> None:
    values = lambda fields, t: torch.stack([fields["x"][:, 0], -fields["x"][:, 0]], 1)  # noqa: E731
    base = lambda fields, t: {"x": torch.ones_like(fields["x"])}  # noqa: E731
    guide = PredictorGuidance(values, WeightedSum(), strength=0.5, decay=0.1, novelty=0.04)
    fields = {"x": torch.zeros(2, 3), "preference": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    t = torch.tensor([1.0, 0.5])
    found = guide.tilt(ProductSDE({"x": SDE}), base)(fields, t)["x"]
    # (1 - sqrt .04) s + strength decay^t (|s|_1 / |g|_1) g, and g lies in the first entry
    expected = 0.8 * torch.ones(2, 3)
    expected[0, 0] += 0.5 * 0.1 * 3
    expected[1, 0] -= 0.5 * 0.1**0.5 * 3
    assert torch.allclose(found, expected, atol=1e-5)
    plain = PredictorGuidance(values, WeightedSum(), strength=3.0, is_relative=False)
    made = plain.tilt(ProductSDE({"x": SDE}), base)(fields, t)["x"]
    slope = plain.gradient(ProductSDE({"x": SDE}), fields, t, {"x": fields["x"]})["x"]
    assert torch.allclose(made, base(fields, t)["x"] + 3 * slope) and slope.abs().max() > 0
    still = PredictorGuidance(values, WeightedSum(), end=0.6).tilt(ProductSDE({"x": SDE}), base)(fields, t)["x"]
    assert torch.allclose(still[1], torch.ones(3)) and not torch.allclose(still[0], torch.ones(3))


@pytest.mark.parametrize("solver", [EulerMaruyama(), ReverseDiffusion(), DPMSolverPlusPlus()])
def test_samples_move_along_their_own_preference(solver: Any) -> None:
    values = lambda fields, t: fields["x"]  # noqa: E731
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(500, 0)
    score = normal_score(torch.zeros(2), 0.04 * torch.eye(2))
    found = drawn(
        score, PredictorGuidance(values, WeightedSum(), strength=1.0), 1000, 2, {"preference": preference}, solver
    )["x"]
    first, second = found[:500].mean(0), found[500:].mean(0)
    assert first[0] > 0.1 and abs(float(first[1])) < 0.05
    assert second[1] > 0.1 and abs(float(second[0])) < 0.05


def test_gradients_reach_symmetric_matrices_and_rotations() -> None:
    process = ProductSDE({"adj": Symmetric(VP()), "rotations": RotationVE(0.1, 1.5)})
    values = lambda fields, t: torch.stack(  # noqa: E731
        [fields["adj"][:, 0, 1], fields["rotations"][:, 0, 2, 1]], 1
    )
    eye = torch.eye(3).expand(2, 1, 3, 3).clone()
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    fields = {"adj": torch.zeros(2, 3, 3), "rotations": eye, "preference": preference}
    like = {"adj": torch.zeros(2, 3, 3), "rotations": torch.zeros(2, 1, 3)}
    found = PredictorGuidance(values, WeightedSum()).gradient(process, fields, torch.ones(2), like)
    assert found["adj"][0, 0, 1] == found["adj"][0, 1, 0] > 0 and found["adj"][0].count_nonzero() == 2
    # R_21 of a turn by v about x is sin v
    assert found["rotations"][1, 0, 0] > 0 and found["rotations"][1, 0, 1:].abs().max() < 1e-6
    assert found["adj"][1].abs().max() == 0 and found["rotations"][0].abs().max() == 0


def test_a_conditional_score_gives_the_conditional_distribution() -> None:
    # x | value ~ N(value, .2^2) and value ~ N(0, 1)
    def score(fields: Fields, t: Tensor) -> Fields:
        told = fields["told"].unsqueeze(1)
        scale, std = (part[:, None] for part in SDE.marginal(t))
        mean, width = told * fields["value"], torch.where(told > 0, 0.04, 1.04)
        return {"x": -(fields["x"] - scale * mean) / (scale**2 * width + std**2)}

    value = torch.tensor([[-1.0], [0.5]]).repeat_interleave(2000, 0)
    found = drawn(score, ClassifierFree(1.0), 4000, 1, {"value": value})["x"]
    for part, mean in ((found[:2000], -1.0), (found[2000:], 0.5)):
        assert float(part.mean()) == pytest.approx(mean, abs=0.03)
        assert float(part.std()) == pytest.approx(0.2, rel=0.15)
    far = drawn(score, ClassifierFree(2.0), 4000, 1, {"value": value})["x"]
    assert float(far[:2000].mean()) < -1.01 and float(far[2000:].mean()) > 0.505


def test_known_entries_stay_and_the_others_are_drawn_with_them() -> None:
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    score = normal_score(torch.zeros(2), covariance)
    known = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat_interleave(2000, 0)
    context = {"known_x": known, "keep_x": torch.tensor([[1.0, 0.0]]).expand(4000, 2)}
    means = []
    for solver in (EulerMaruyama(), DPMSolverPlusPlus(), Repeated(EulerMaruyama(), 10)):
        found = drawn(score, Together([Kept(["x"])]), 4000, 2, context, solver)["x"]
        assert torch.equal(found[:, 0], known[:, 0])
        means.append(float(found[:2000, 1].mean() - found[2000:, 1].mean()) / 2)
    # the exact conditional mean is .8; a single pass hears of the known entry through noise only
    assert 0.2 < means[0] < 0.7 and 0.2 < means[1] < 0.7
    assert means[2] == pytest.approx(0.8, abs=0.08)


def test_asked_values_lie_beyond_the_best_of_the_data_along_the_preference() -> None:
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(500, 2, generator=generator) * 0.6
    wishes = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    near = asked_values(wishes, known, WeightedSum(), share=0.02, reach=0.0)
    best = known[known[:, 0].topk(10).indices].mean(0)
    assert torch.allclose(near[0], best)
    far = asked_values(wishes, known, WeightedSum(), share=0.02, reach=1.0)
    assert torch.allclose(far - near, known.std(0, unbiased=False) * torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    with pytest.raises(ShapeError, match="known values"):
        asked_values(wishes, known[:0], WeightedSum())


def test_wrong_settings_are_one_sentence() -> None:
    kind: Scalarization = WeightedSum()
    for wrong in ({"novelty": 1.0}, {"decay": 0.0}):
        with pytest.raises(ConfigError, match="expected novelty"):
            PredictorGuidance(lambda fields, t: t, kind, **wrong)
    with pytest.raises(ConfigError, match="weight"):
        ClassifierFree(-1.0)
    with pytest.raises(ShapeError, match="preference"):
        PredictorGuidance(lambda fields, t: fields["x"], kind).worth({"x": torch.zeros(1, 2)}, torch.ones(1))
