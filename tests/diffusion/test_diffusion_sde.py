"""Processes: moments against simulation, conditional scores against autograd, symmetry and masks."""

from __future__ import annotations

import pytest
import torch

from mogen.errors import ConfigError
from samplers.diffusion import SDE, VE, VP, ProductSDE, SubVP, Symmetric

PROCESSES = [VP(0.1, 20.0), VP(0.1, 1.0), SubVP(0.1, 20.0), VE(0.1, 1.0), VE(0.01, 10.0)]


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: f"{type(sde).__name__}")
def test_moments_solve_the_equations_of_the_coefficients(sde: SDE) -> None:
    # d scale / dt = rate scale, d var / dt = 2 rate var + g^2
    t = torch.linspace(0.02, 0.98, 50, dtype=torch.float64)
    h = 1e-5
    before, now, after = sde.marginal(t - h), sde.marginal(t), sde.marginal(t + h)
    assert torch.allclose((after.scale - before.scale) / (2 * h), sde.rate(t) * now.scale, rtol=1e-6, atol=1e-8)
    slope = (after.std**2 - before.std**2) / (2 * h)
    assert torch.allclose(slope, 2 * sde.rate(t) * now.std**2 + sde.diffusion(t) ** 2, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: f"{type(sde).__name__}")
def test_a_simulation_of_the_coefficients_has_these_moments(sde: SDE) -> None:
    generator = torch.Generator().manual_seed(0)
    x, steps = torch.full((20_000,), 0.7, dtype=torch.float64), 400
    for k in range(steps):
        t = torch.full((len(x),), (k + 0.5) / steps, dtype=torch.float64)
        noise = torch.randn(len(x), generator=generator, dtype=torch.float64)
        x = x + sde.drift(x, t) / steps + sde.diffusion(t) * noise * steps**-0.5
    end = sde.marginal(torch.ones(1, dtype=torch.float64))
    start = sde.sigma_min**2 if isinstance(sde, VE) else 0.0  # sigma(t) is the std, without - sigma_min^2
    assert float(x.mean()) == pytest.approx(0.7 * float(end.scale), abs=0.03 * float(end.std))
    assert float(x.var()) == pytest.approx(float(end.std) ** 2 - start, rel=0.03)


@pytest.mark.parametrize("sde", PROCESSES, ids=lambda sde: f"{type(sde).__name__}")
def test_the_conditional_score_is_the_gradient_of_the_log_density(sde: SDE) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.1, 1, 6, dtype=torch.float64)
    made = sde.perturb(x_0, t, sde.noise(x_0, generator=generator))
    scale, std = (part.unsqueeze(1) for part in sde.marginal(t))
    x = made.value.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.distributions.Normal(scale * x_0, std).log_prob(x).sum(), x)
    assert torch.allclose(gradient, made.score)


def test_time_zero_is_the_data_itself() -> None:
    for sde in PROCESSES:
        scale, std = sde.marginal(torch.zeros(1))
        assert float(scale) == 1 and float(std) == 0


def test_the_usual_prior_is_reached_at_the_end_and_the_published_one_is_not() -> None:
    scale, std = VP(0.1, 20.0).marginal(torch.ones(1, dtype=torch.float64))
    assert float(scale) == pytest.approx(0.0066, abs=1e-4) and float(std) == pytest.approx(1, abs=1e-4)
    scale, std = VP(0.1, 1.0).marginal(torch.ones(1, dtype=torch.float64))
    assert float(scale) == pytest.approx(0.760, abs=1e-3) and float(std) == pytest.approx(0.650, abs=1e-3)


def test_a_matched_prior_has_its_mean_and_spread() -> None:
    drawn = VP(0.1, 1.0, location=0.3, spread=0.7).prior(
        torch.zeros(40_000, 1), generator=torch.Generator().manual_seed(0)
    )
    assert float(drawn.mean()) == pytest.approx(0.3, abs=0.02) and float(drawn.std()) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("tail", [(), (4,)])
def test_symmetric_noise_is_standard_normal_above_the_diagonal_and_empty_on_it(tail: tuple[int, ...]) -> None:
    noise = Symmetric(VE()).noise(torch.zeros(5000, 3, 3, *tail), generator=torch.Generator().manual_seed(0))
    assert torch.equal(noise, noise.transpose(1, 2))
    assert noise.diagonal(dim1=1, dim2=2).abs().max() == 0
    assert float(noise[:, 0, 1].var()) == pytest.approx(1, abs=0.05)
    assert abs(float((noise[:, 0, 1] * noise[:, 0, 2]).mean())) < 0.05


def test_what_is_masked_never_moves_and_context_is_carried() -> None:
    process = ProductSDE({"x": VP()}, lambda fields: {"x": fields["mask"].unsqueeze(-1)})
    fields = {"x": torch.ones(4, 3, 2), "mask": torch.tensor([[1.0, 1.0, 0.0]]).repeat(4, 1), "label": torch.arange(4)}
    generator = torch.Generator().manual_seed(0)
    for made in (
        process.prior(fields, generator=generator),
        process.move(fields, {"x": torch.ones(4, 3, 2)}),
        process.move(fields, process.noise(fields, generator=generator)),
    ):
        assert torch.equal(made["x"][:, 2], fields["x"][:, 2])
        assert (made["x"][:, :2] != 1).all()
        assert torch.equal(made["label"], fields["label"])
    noisy = process.perturb(fields, torch.rand(4), generator=generator)
    assert (noisy.score["x"][:, 2] == 0).all()


def test_impossible_processes_are_one_sentence() -> None:
    for make in (lambda: VP(0.0, 1.0), lambda: VE(2.0, 1.0), lambda: SubVP(1.0, float("inf"))):
        with pytest.raises(ConfigError, match="expected 0 <"):
            make()
    with pytest.raises(ConfigError, match="at least one field"):
        ProductSDE({})
