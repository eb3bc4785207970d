"""Particle steering against the distribution it must give, and resampling against its weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion import (
    VP,
    DPMSolverPlusPlus,
    EulerMaruyama,
    Fields,
    ParticleSteering,
    ProductSDE,
    SelfConditioned,
    integrate,
    times,
)
from samplers.diffusion.steering import resampled

MEAN, SPREAD = 0.3, 0.5


def score(fields: Fields, t: Tensor) -> Fields:
    scale, std = (part.unsqueeze(1) for part in VP(0.1, 10.0).marginal(t))
    return {"x": -(fields["x"] - scale * MEAN) / ((scale * SPREAD) ** 2 + std**2)}


@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_particles_follow_the_tilted_distribution(strength: float) -> None:
    # data N(mean, s^2) tilted by exp(strength x) are N(mean + strength s^2, s^2); the other group wants -x
    sign = torch.tensor([1.0, -1.0])
    steering = ParticleSteering(
        lambda fields: sign[fields["group"]] * fields["x"][:, 0], strength=strength, every=5, start=1.0, threshold=0.7
    )
    process, n = ProductSDE({"x": VP(0.1, 10.0)}), 3000
    generator = torch.Generator().manual_seed(0)
    fields = steering.begin({"x": torch.zeros(2 * n, 1), "group": torch.arange(2).repeat_interleave(n)})
    grid = torch.cat([torch.linspace(1, 0.01, 60), torch.zeros(1)])
    start = process.prior(fields, generator=generator)
    made = integrate(process, score, EulerMaruyama(), start, grid, guidance=steering, generator=generator)
    for group in range(2):
        x, weight = (made[name][made["group"] == group] for name in ("x", "log_weight"))
        share = weight.softmax(0)
        mean = float((share * x[:, 0]).sum())
        spread = float((share * (x[:, 0] - mean) ** 2).sum()) ** 0.5
        assert mean == pytest.approx(MEAN + float(sign[group]) * strength * SPREAD**2, abs=0.1)
        assert spread == pytest.approx(SPREAD, rel=0.15)
    assert all(0 < look.size <= 1 for look in steering.looks)
    assert any(look.resampled for look in steering.looks) == (strength > 0)


def test_groups_keep_their_sizes_and_their_own_particles() -> None:
    group = torch.tensor([0, 1, 0, 1, 2, 0])
    weight = torch.tensor([9.0, 0.0, 0.0, 0.0, 5.0, 0.0])
    index, log_weight, share, count = resampled(weight, group, 0.6, torch.Generator().manual_seed(0))
    assert torch.equal(group[index], group)
    assert index.tolist() == [0, 1, 0, 3, 4, 0]
    assert count == 1
    assert share == pytest.approx((1 / 3 + 1 + 1) / 3, abs=1e-3)
    assert float(log_weight[[0, 2, 5]].exp().mean()) == pytest.approx(float(weight[[0, 2, 5]].exp().mean()), rel=1e-4)
    assert log_weight[1] == 0 and log_weight[4] == 5


def test_systematic_resampling_copies_by_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(1000, generator=generator).log()
    index, *_ = resampled(weight, torch.zeros(1000, dtype=torch.long), 1.0, generator)
    expected = 1000 * weight.softmax(0)
    copies = torch.bincount(index, minlength=1000)
    assert ((copies - expected).abs() <= 1 + 1e-3).all()


def test_a_multistep_solver_keeps_its_memory_with_its_particles() -> None:
    steering = ParticleSteering(lambda fields: fields["x"][:, 0], strength=5.0, every=3, start=1.0, threshold=1.0)
    process = ProductSDE({"x": VP(0.1, 10.0)})
    generator = torch.Generator().manual_seed(0)
    fields = steering.begin({"x": torch.zeros(400, 1), "group": torch.zeros(400, dtype=torch.long)})
    grid = torch.cat([torch.linspace(1, 0.01, 40), torch.zeros(1)])
    start = process.prior(fields, generator=generator)
    made = integrate(process, score, DPMSolverPlusPlus(), start, grid, guidance=steering, generator=generator)
    # without noise a particle ends where its start leads: copies are equal, and every value is one of the flow's
    flow = integrate(process, score, DPMSolverPlusPlus(), start, grid)["x"]
    gap = (made["x"] - flow.T).abs().min(1).values
    assert float(gap.max()) < 1e-4
    assert float(made["x"].mean()) > float(flow.mean()) + 0.3


def test_what_a_self_conditioned_score_predicted_stays_with_its_particle() -> None:
    # of standard normal data the flow stands still, and x_0 is expected at scale(t) x
    sde, grid, gaps = VP(0.1, 10.0), times(12, end=0.01), []
    process = ProductSDE({"x": sde})

    def alike(fields: Fields, t: Tensor) -> Fields:
        if "last_x" in fields:
            before = grid[int((grid == t[0]).nonzero()) - 1]
            gaps.append(float((fields["last_x"] - sde.marginal(before).scale * fields["x"]).abs().max()))
        return {"x": -fields["x"]}

    steering = ParticleSteering(lambda fields: fields["x"][:, 0], strength=5.0, every=2, start=1.0, threshold=1.0)
    generator = torch.Generator().manual_seed(0)
    fields = steering.begin({"x": torch.zeros(50, 1), "group": torch.zeros(50, dtype=torch.long)})
    start = process.prior(fields, generator=generator)
    told, flow = SelfConditioned(process, alike), EulerMaruyama(is_deterministic=True)
    made = integrate(process, told, flow, start, grid, guidance=steering, generator=generator)
    assert len(set(made["x"].flatten().tolist())) < 40, "particles were drawn anew"
    assert len(gaps) == 11 + 5 and max(gaps) < 1e-4


def test_impossible_settings_are_one_sentence() -> None:
    for wrong in ({"every": 0}, {"strength": -1.0}, {"threshold": 2.0}):
        with pytest.raises(ConfigError, match="expected every"):
            ParticleSteering(lambda fields: fields["x"], **wrong)  # type: ignore[arg-type]
