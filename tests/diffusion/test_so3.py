"""Rotations and the isotropic Gaussian on them, against the published series, quadrature, differences and matrices."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from mogen.errors import ConfigError
from samplers.diffusion import EulerMaruyama, ProductSDE, igso3, integrate, so3
from samplers.diffusion.igso3 import RotationVE

SIGMAS = (0.1, 0.13, 0.3, 0.5, 1.0, 1.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(n: int, longest: float = math.pi) -> torch.Tensor:
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=seeded(1), dtype=torch.float64), dim=-1)
    return direction * torch.linspace(0, longest, n, dtype=torch.float64)[:, None]


def test_exp_is_the_matrix_exponential_and_log_its_inverse():
    v = vectors(200, 3.14)
    rotation = so3.exp(v)
    assert torch.allclose(rotation, torch.matrix_exp(so3.skew(v)), atol=1e-12)
    assert torch.allclose(so3.log(rotation), v, atol=1e-7)
    assert torch.allclose(so3.log(so3.exp(v.float())), v.float(), atol=1e-3)


def test_quaternions_have_w_of_at_least_zero_and_give_the_rotation_back():
    rotation = so3.uniform(torch.zeros(500, 3, 3, dtype=torch.float64), generator=seeded())
    q = so3.quaternion(rotation)
    assert (q[:, 0] >= 0).all() and torch.allclose(q.norm(dim=1), torch.ones(500, dtype=torch.float64))
    assert torch.allclose(so3.from_quaternion(q), rotation, atol=1e-12)
    half_turns = torch.diag_embed(torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]]))
    assert torch.allclose(so3.from_quaternion(so3.quaternion(half_turns)), half_turns)
    assert torch.allclose(so3.log(half_turns).norm(dim=1), torch.tensor([math.pi] * 3 + [0.0]))


def test_log_has_the_right_gradient_also_at_the_identity():
    v = torch.cat((vectors(20, 3.0), torch.zeros(1, 3, dtype=torch.float64))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: so3.log(so3.exp(x)), (v,), atol=1e-6)


def test_uniform_rotations_have_the_haar_distribution_of_angles():
    angle = so3.log(so3.uniform(torch.zeros(20_000, 3, 3), generator=seeded())).norm(dim=1).sort().values
    expected = (angle - angle.sin()) / math.pi
    assert float((expected - torch.linspace(0, 1, 20_000)).abs().max()) < 0.015


def test_orthonormalized_removes_rounding_and_keeps_rotations():
    rotation = so3.uniform(torch.zeros(50, 3, 3, dtype=torch.float64), generator=seeded())
    assert torch.allclose(so3.orthonormalized(rotation), rotation, atol=1e-12)
    worn = so3.orthonormalized(rotation + 1e-3)
    assert torch.allclose(worn @ worn.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_both_series_of_the_density_agree_and_128_terms_are_a_thousand(sigma):
    angle = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    spread = torch.full_like(angle, sigma)
    series, wrapped = igso3.density(angle, spread), igso3.log_density(angle, spread).exp()
    thousand = igso3.density(angle, spread, terms=1000)
    assert float((series - wrapped).abs().max() / series.max()) < 1e-11
    assert float((series - thousand).abs().max() / series.max()) < 1e-14
    half = igso3.density(angle, spread, terms=64)
    assert float((half - thousand).abs().max() / series.max()) < 1e-8  # what str2str.md quotes: 7e-9 at sigma 0.1


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_angle_density_integrates_to_its_cdf_and_to_one(sigma):
    edge = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
    middle = (edge[1:] + edge[:-1]) / 2
    sums = igso3.angle_density(middle, torch.full_like(middle, sigma)).cumsum(0) * (math.pi / 4000)
    exact = igso3.cdf(edge[1:], torch.full_like(middle, sigma))
    assert float((sums - exact).abs().max()) < 1e-5
    assert float(exact[-1]) == pytest.approx(1, abs=1e-12) and (exact.diff() > -1e-12).all()


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-6), (torch.float32, 1e-3)])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_score_is_the_difference_quotient_of_the_log_density(sigma, dtype, tolerance):
    v = vectors(60, 3.1)
    spread = torch.full((60,), sigma, dtype=torch.float64)
    step = 1e-5

    def log_density(x: torch.Tensor) -> torch.Tensor:
        return igso3.log_density(x.norm(dim=-1), spread)

    eye = step * torch.eye(3, dtype=torch.float64)
    expected = torch.stack([(log_density(v + e) - log_density(v - e)) / (2 * step) for e in eye], -1)
    found = igso3.score(v.to(dtype), spread.to(dtype)).double()
    assert torch.allclose(found, expected, atol=tolerance * float(expected.abs().max()))


def test_the_score_is_the_body_gradient_on_the_group_itself():
    """Moves the rotation by R Exp(e) and differentiates log f of the angle between: no coordinates are used."""
    v, sigma = vectors(40, 3.0)[1:], torch.full((39,), 0.7, dtype=torch.float64)
    step = 1e-5

    def log_density(e: torch.Tensor) -> torch.Tensor:
        moved = so3.exp(v) @ so3.exp(e.expand(39, 3))
        return igso3.log_density(so3.log(moved).norm(dim=-1), sigma)

    eye = step * torch.eye(3, dtype=torch.float64)
    expected = torch.stack([(log_density(e) - log_density(-e)) / (2 * step) for e in eye], -1)
    assert torch.allclose(igso3.score(v, sigma), expected, atol=1e-4)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_scaled_scores_have_unit_variance_and_quantiles_invert_the_cdf(sigma):
    share = torch.linspace(0, 1, 5001, dtype=torch.float64)[1:-1][None]
    spread = torch.tensor([sigma], dtype=torch.float64)
    angle = igso3.quantile(share, spread)
    assert torch.allclose(igso3.cdf(angle, torch.full_like(angle, sigma)), share, atol=1e-7)
    square = (igso3.score_ratio(angle**2, torch.full_like(angle, sigma) ** 2) * angle) ** 2
    scale = igso3.score_scale(spread)
    assert float(square.mean() / (3 * scale**2)) == pytest.approx(1, abs=0.01)


def test_small_scales_are_the_flat_gaussian():
    assert float(igso3.score_scale(torch.tensor([0.1]))) == pytest.approx(1 / 0.1, rel=2e-3)
    assert float(igso3.chi3_share(torch.tensor(1.5381722544550522))) == pytest.approx(0.5, abs=1e-6)


def process(sde: RotationVE) -> ProductSDE:
    return ProductSDE({"r": sde})


def test_perturbed_rotations_have_the_angles_and_scores_they_should():
    sde, n = RotationVE(), 6_000
    for time in (0.05, 0.3, 1.0):
        t = torch.full((4,), time)
        r_0 = so3.uniform(torch.zeros(4, n, 3, 3), generator=seeded())
        made = sde.perturb(r_0, t, sde.noise(r_0, generator=seeded(2)))
        angle = so3.log(r_0.mT @ made.value).norm(dim=-1).double()
        sigma = sde.sigma(t)
        for row in range(4):
            rank = igso3.cdf(angle[row].sort().values, sigma[row].double().expand(n))
            assert float((rank - torch.linspace(0, 1, n)).abs().max()) < 0.02  # Kolmogorov-Smirnov
        assert torch.allclose(made.score, sde.conditional_score(made.value, r_0, t), atol=5e-2)
        unit = made.score.pow(2).sum(-1).mean(1) / 3 * sde.weight(t)
        assert torch.allclose(unit, torch.ones(4), atol=0.05)


def test_the_reverse_of_turning_everything_turns_everything():
    sde, n = RotationVE(), 64
    r_0 = so3.uniform(torch.zeros(1, n, 3, 3, dtype=torch.float64), generator=seeded())
    turn = so3.uniform(torch.zeros(3, 3, dtype=torch.float64), generator=seeded(3))
    noise, t = sde.noise(r_0, generator=seeded(4)), torch.tensor([0.4], dtype=torch.float64)
    plain, turned = sde.perturb(r_0, t, noise), sde.perturb(turn @ r_0, t, noise)
    assert torch.allclose(turn @ plain.value, turned.value, atol=1e-9)
    assert torch.allclose(plain.score, turned.score, atol=1e-9)


def test_brownian_motion_in_small_steps_has_the_density_of_one_large_step():
    sde, n, steps = RotationVE(), 20_000, 200
    grid = torch.linspace(0, 0.5, steps + 1, dtype=torch.float64)
    r, walk = so3.exp(torch.zeros(n, 3)), seeded(5)
    for a, b in pairwise(grid):
        width = (sde.sigma(b) ** 2 - sde.sigma(a) ** 2).sqrt().float()
        r = sde.move(r, width * sde.noise(r, generator=walk))
    total = (sde.sigma(grid[-1]) ** 2 - sde.sigma(grid[0]) ** 2).sqrt()
    rank = igso3.cdf(so3.log(r).norm(dim=-1).double().sort().values, total.expand(n))
    assert float((rank - torch.linspace(0, 1, n)).abs().max()) < 0.02


def test_the_diffusion_coefficient_is_the_rate_of_sigma_squared():
    sde, t, h = RotationVE(), torch.linspace(0.1, 0.9, 9, dtype=torch.float64), 1e-5
    rate = (sde.sigma(t + h) ** 2 - sde.sigma(t - h) ** 2) / (2 * h)
    assert torch.allclose(sde.diffusion(t) ** 2, rate, rtol=1e-6)
    assert float(sde.sigma(torch.tensor(0.0))) == pytest.approx(0.1) and not sde.marginal(torch.zeros(1)).std


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_the_reverse_process_with_the_true_score_gives_the_data_back(is_deterministic):
    """Data is IGSO(3) of time tau about one rotation, so that every marginal is IGSO(3) too: s_t = tau + sigma_t^2."""
    sde, n, width = RotationVE(), 4000, 0.4
    centre = so3.exp(torch.tensor([0.3, -0.2, 0.5]))
    spread = torch.full((n,), width)

    def score(fields, t):
        vector = so3.log(centre.T @ fields["r"])
        return {"r": igso3.score(vector, (sde.marginal(t).std ** 2 + width**2).sqrt())}

    noise = torch.randn(n, 3, generator=seeded(6))
    angle = igso3.quantile(igso3.chi3_share(noise.double().norm(dim=1)), spread)
    r_0 = centre @ so3.exp(noise * (angle / noise.norm(dim=1)).float()[:, None])
    t = torch.full((n,), 0.5)
    noisy = sde.perturb(r_0, t, sde.noise(r_0, generator=seeded(7))).value
    grid = torch.linspace(0.5, 0.01, 60)
    solver = EulerMaruyama(is_deterministic=is_deterministic)
    back = integrate(process(sde), score, solver, {"r": noisy}, grid, generator=seeded(8))["r"]
    left = (sde.sigma(torch.tensor(0.01, dtype=torch.float64)) ** 2 + width**2).sqrt()
    rank = igso3.cdf(so3.log(centre.T @ back).norm(dim=-1).double().sort().values, left.expand(n))
    assert float((rank - torch.linspace(0, 1, n)).abs().max()) < 0.04


def test_bad_scales_are_refused():
    for pair in ((0.01, 1.5), (0.5, 0.1), (0.1, 4.0)):
        with pytest.raises(ConfigError):
            RotationVE(*pair)
    sde = RotationVE()
    with pytest.raises(ConfigError, match="times above 0"):
        sde.perturb(so3.exp(torch.zeros(1, 3)), torch.zeros(1), torch.ones(1, 3))
