"""The Gaussian process against its closed form, and what a belief says of missing values, noise and calibration."""

from __future__ import annotations

import math

import pytest
import torch

from mogen.domain.sequence import TokenSequence
from mogen.errors import RunError
from mogen.objective import Measured, ObjectiveSet, Status
from mogen.surrogate import (
    Feasibility,
    GaussianProcess,
    Linear,
    Observations,
    Overlap,
    Tanimoto,
    TokenCounts,
    calibration,
)
from mogen.surrogate.gaussian_process import log_likelihood


def texts(n: int, seed: int = 0, letters: str = "ACG", length: int = 6) -> list[TokenSequence]:
    made = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(letters), (4 * n, length), generator=made).tolist()
    return [TokenSequence(text) for text in dict.fromkeys("".join(letters[i] for i in row) for row in rows)][:n]


def observed(candidates, value, noise=None) -> Observations:
    value = torch.as_tensor(value, dtype=torch.float64)
    noise = torch.full_like(value, torch.nan) if noise is None else torch.as_tensor(noise, dtype=torch.float64)
    valid = torch.ones(len(candidates), dtype=torch.bool)
    return Observations(list(candidates), value, noise, valid, value.clamp(0, 1).nan_to_num())


def count(candidates, letter: str) -> torch.Tensor:
    return torch.tensor([item.text.count(letter) / 6 for item in candidates], dtype=torch.float64)


def test_prediction_is_the_closed_form():
    """mean m + k' (K + S)^-1 (y - m), covariance k'' - k' (K + S)^-1 k by plain inversion, as learned."""
    known, new = texts(25), texts(40)[25:]
    value = torch.stack([count(known, "A"), count(known, "C")], 1)
    process = GaussianProcess([Tanimoto(TokenCounts(2)), Overlap(), Linear()])
    noise = torch.full_like(value, 0.05)
    noise[::2] = 0.02
    process.fit(observed(known, value, noise))
    mean, covariance = process.joint(new)
    for i, output in enumerate(process._outputs):

        def k(left, right, output=output):
            total = torch.zeros(len(left), len(right), dtype=torch.float64)
            for kernel, a, s in zip(process.kernels, output.amplitude, output.scale, strict=True):
                unit = kernel.own(kernel.features(known)).mean()
                total += a / unit * kernel(kernel.base(kernel.features(left), kernel.features(right)), s)
            return total * output.spread**2

        inverse = torch.linalg.inv(k(known, known) + torch.diag(noise[:, i] ** 2 + (1e-4 * output.spread) ** 2))
        one = torch.ones(len(known), dtype=torch.float64)
        level = (one @ inverse @ value[:, i]) / (one @ inverse @ one)
        expected = level + k(new, known) @ inverse @ (value[:, i] - level)
        spread = k(new, new) - k(new, known) @ inverse @ k(known, new)
        assert torch.allclose(mean[:, i], expected, atol=1e-8)
        assert torch.allclose(covariance[i], spread, atol=1e-7)
    alone, deviation = process.marginal(new)
    assert torch.allclose(alone, mean, atol=1e-12)
    assert torch.allclose(deviation**2, torch.diagonal(covariance, dim1=1, dim2=2).T, atol=1e-7)
    posterior = process.posterior(new)
    assert torch.allclose(posterior.mean, mean) and torch.allclose(posterior.variance, deviation**2, atol=1e-7)


def test_covariances_between_candidates_are_a_part_of_the_joint_ones():
    known, new = texts(25), texts(40)[25:]
    process = GaussianProcess()
    process.fit(observed(known, torch.stack([count(known, "A"), count(known, "C")], 1)))
    found = process.cross(new[:4], new[4:])
    assert torch.allclose(found, process.joint(new)[1][:, :4, 4:], atol=1e-10)


def test_sums_over_words_go_on_beyond_what_was_seen():
    """Of words with up to two A, five A are foreseen."""
    known = [item for item in texts(300) if item.text.count("A") <= 2][:60]
    process = GaussianProcess([Linear()])
    process.fit(observed(known, count(known, "A")[:, None]))
    assert float(process.marginal([TokenSequence("AACAAA")])[0]) == pytest.approx(5 / 6, abs=0.02)


def test_likelihood_is_that_of_the_multivariate_normal():
    made = torch.Generator().manual_seed(1)
    root = torch.randn(8, 8, dtype=torch.float64, generator=made)
    covariance = root @ root.T + torch.eye(8, dtype=torch.float64)
    y = torch.randn(8, dtype=torch.float64, generator=made)
    inverse = torch.linalg.inv(covariance)
    mean = inverse.sum(0) @ y / inverse.sum()
    normal = torch.distributions.MultivariateNormal(mean.expand(8), covariance)
    assert float(log_likelihood(covariance, y)) == pytest.approx(float(normal.log_prob(y)), abs=1e-10)


def test_hyperparameters_are_the_most_likely_ones():
    """No neighbour in any log-hyperparameter has a higher posterior density, by plain autograd-free evaluation."""
    known = texts(40, seed=3)
    made = torch.Generator().manual_seed(0)
    value = count(known, "A")[:, None] + 0.1 * torch.randn(len(known), 1, dtype=torch.float64, generator=made)
    process = GaussianProcess([Tanimoto(TokenCounts(2)), Overlap()], steps=200)
    process.fit(observed(known, value))
    output, kernels = process._outputs[0], process.kernels
    y = (value[:, 0] - output.centre) / output.spread
    start = torch.tensor([math.log(0.5)] * 2 + [0.0] * 2 + [math.log(1e-2)], dtype=torch.float64)
    widths = torch.tensor([1.5, 1.5, 1, 1, 2], dtype=torch.float64)

    def density(logs: torch.Tensor) -> float:
        total = (logs[4].exp() + 1e-8) * torch.eye(len(known), dtype=torch.float64)
        for kernel, a, s in zip(kernels, logs[:2].exp(), logs[2:4].exp(), strict=True):
            sets = kernel.features(known)
            total = total + a * kernel(kernel.base(sets, sets), s)
        return float(log_likelihood(total, y) - 0.5 * (((logs - start) / widths) ** 2).sum())

    found = torch.cat([output.amplitude, output.scale, torch.tensor([output.noise], dtype=torch.float64)]).log()
    top = density(found)
    for place in range(5):
        for step in (-0.05, 0.05):
            moved = found.clone()
            moved[place] += step
            assert density(moved) < top + 1e-6


def test_hyperparameters_beat_their_start():
    """The learned variances are more likely than the first guess on data of another scale and noise."""
    known = texts(160, seed=3)
    made = torch.Generator().manual_seed(0)
    value = count(known, "A")[:, None] + 0.1 * torch.randn(len(known), 1, dtype=torch.float64, generator=made)
    quick, thorough = GaussianProcess(steps=1), GaussianProcess(steps=50)
    for process in (quick, thorough):
        process.fit(observed(known, value))
    assert float(thorough.noise[0]) == pytest.approx(0.1, rel=0.4)
    new = texts(250, seed=3)[160:]
    found = calibration(thorough, observed(new, count(new, "A")[:, None]))
    assert float(found.rmse[0]) < 0.08


def test_missing_values_are_missing_for_one_objective_alone():
    known = texts(30)
    value = torch.stack([count(known, "A"), count(known, "C")], 1)
    holed = value.clone()
    holed[10:, 1] = torch.nan
    whole, part, holes = (GaussianProcess([Tanimoto(TokenCounts()), Overlap()]) for _ in range(3))
    whole.fit(observed(known, value))
    part.fit(observed(known[:10], value[:10]))
    holes.fit(observed(known, holed))
    new = texts(45)[30:]
    assert torch.allclose(holes.marginal(new)[0][:, 0], whole.marginal(new)[0][:, 0], atol=1e-9)
    assert torch.allclose(holes.marginal(new)[0][:, 1], part.marginal(new)[0][:, 1], atol=1e-9)


def test_an_exact_measurement_is_believed_and_a_noisy_one_less():
    known = texts(12)
    value = count(known, "A")[:, None]
    exact, noisy = GaussianProcess(), GaussianProcess()
    exact.fit(observed(known, value, torch.full_like(value, 1e-6)))
    noisy.fit(observed(known, value, torch.full_like(value, 0.3)))
    assert torch.allclose(exact.marginal(known)[0], value, atol=1e-3)
    assert float(exact.marginal(known)[1].max()) < 1e-3 < 0.02 < float(noisy.marginal(known)[1].min())


def test_observations_keep_unclamped_values_and_drop_what_failed():
    objectives = ObjectiveSet([Measured("a", "", 0.0, 2.0), Measured("b", "", 10.0, 0.0)])
    raw = torch.tensor([[3.0, 5.0], [1.0, 12.0], [1.0, 1.0]], dtype=torch.float64)
    status = torch.tensor([[0, 0], [0, 0], [int(Status.FAILED), int(Status.MISSING)]])
    found = Observations.of(texts(3), objectives.evaluation(raw, None, status))
    assert torch.equal(found.value[:2], torch.tensor([[1.5, 0.5], [0.5, -0.2]], dtype=torch.float64))
    assert found.value[2].isnan().all()


def test_calibration_of_a_belief_that_is_right_and_of_one_that_is_sure_and_wrong():
    class Fixed(GaussianProcess):
        def marginal(self, candidates, chunk=0):
            return torch.zeros(len(candidates), 1, dtype=torch.float64), torch.full((len(candidates), 1), 0.5).double()

        @property
        def noise(self):
            return torch.zeros(1, dtype=torch.float64)

    many = texts(600, length=7)
    value = 0.5 * torch.randn(len(many), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    right = calibration(Fixed(), observed(many, value))
    assert float(right.coverage[0]) == pytest.approx(0.9, abs=0.04)
    assert float(right.nlpd[0]) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.25), abs=0.1)
    wrong = calibration(Fixed(), observed(many, 10 * value))
    assert float(wrong.coverage[0]) < 0.2 and float(wrong.nlpd[0]) > 10


def test_feasibility_learns_what_fails():
    known = texts(60)
    holds = torch.tensor([item.text.count("G") <= 2 for item in known])
    seen = Observations(known, torch.zeros(60, 1).double(), torch.zeros(60, 1).double(), holds, torch.zeros(60, 1))
    assert Feasibility.learned(Observations(known, seen.value, seen.noise, holds | True, seen.utility)) is None
    learned = Feasibility.learned(seen)
    new = texts(140)[60:]
    good = torch.tensor([item.text.count("G") <= 2 for item in new])
    likely = learned.log_probability(new).exp()
    assert float(likely[good].mean()) > 0.8 > 0.4 > float(likely[~good].mean())


def test_a_belief_without_observations_says_so():
    with pytest.raises(RunError, match="fitted"):
        GaussianProcess().marginal(texts(2))
    with pytest.raises(RunError, match="at least one"):
        GaussianProcess().fit(observed([], torch.zeros(0, 2)))
