"""The process over several objectives against plain inversion, and what one objective teaches another."""

from __future__ import annotations

import pytest
import torch

from mogen.domain.sequence import TokenSequence
from mogen.errors import RunError
from mogen.surrogate import GaussianProcess, MultiTaskProcess, Observations, Overlap, Tanimoto, TokenCounts


def texts(n: int, seed: int = 0) -> list[TokenSequence]:
    made = torch.Generator().manual_seed(seed)
    rows = torch.randint(3, (4 * n, 6), generator=made).tolist()
    return [TokenSequence(text) for text in dict.fromkeys("".join("ACG"[i] for i in row) for row in rows)][:n]


def observed(candidates, value, noise: float = 0.02) -> Observations:
    valid = torch.ones(len(candidates), dtype=torch.bool)
    return Observations(list(candidates), value, torch.full_like(value, noise), valid, value.clamp(0, 1).nan_to_num())


def values(candidates) -> torch.Tensor:
    first = torch.tensor([item.text.count("A") / 6 + 0.1 * item.text.startswith("C") for item in candidates]).double()
    return torch.stack([first, 2 - 3 * first + 0.02 * torch.tensor([len(set(i.text)) for i in candidates])], 1)


def test_prediction_is_the_closed_form_with_values_missing():
    known, new = texts(20), texts(35)[20:]
    value = values(known)
    value[5:12, 1] = torch.nan
    value[12:15, 0] = torch.nan
    process = MultiTaskProcess([Tanimoto(TokenCounts(2)), Overlap()])
    process.fit(observed(known, value))
    fit = process._fit

    def k(left, right, i, j):
        total = torch.zeros(len(left), len(right), dtype=torch.float64)
        for kernel, a, s in zip(process.kernels, fit.amplitude, fit.scale, strict=True):
            total += a * kernel(kernel.base(kernel.features(left), kernel.features(right)), s)
        return total * fit.likeness[i, j] * process.spread[i] * process.spread[j]

    seen = [(i, [item for item, v in zip(known, value[:, i].tolist(), strict=True) if v == v]) for i in range(2)]
    y = torch.cat([value[:, i][value[:, i].isfinite()] for i in range(2)])
    variance = torch.cat(
        [torch.full((len(c),), float(0.02**2 + (1e-4 * process.spread[i]) ** 2)).double() for i, c in seen]
    )
    whole = torch.cat([torch.cat([k(a, b, i, j) for j, b in seen], 1) for i, a in seen]) + torch.diag(variance)
    inverse = torch.linalg.inv(whole)
    design = torch.block_diag(*[torch.ones(len(c), 1, dtype=torch.float64) for _, c in seen])
    level = torch.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
    cross = torch.cat([torch.cat([k(new, b, i, j) for j, b in seen], 1) for i in range(2)])
    expected = cross @ inverse @ (y - design @ level) + level.repeat_interleave(len(new))
    prior = torch.cat([torch.cat([k(new, new, i, j) for j in range(2)], 1) for i in range(2)])
    spread = prior - cross @ inverse @ cross.T
    mean, covariance = process.joint(new)
    n = len(new)
    assert torch.allclose(mean.T.flatten(), expected, atol=1e-7)
    assert torch.allclose(covariance[1], spread[n:, n:], atol=1e-7)
    assert torch.allclose(process.cross(new[:3], new[3:])[0], spread[:3, 3:n], atol=1e-7)
    alone, deviation = process.marginal(new, chunk=4)
    assert torch.allclose(alone, mean) and torch.allclose(deviation.T.flatten() ** 2, torch.diagonal(spread), atol=1e-7)
    posterior = process.posterior(new)
    assert torch.allclose(posterior.mean, mean)
    assert torch.allclose(posterior.distribution.covariance_matrix, spread, atol=1e-7)


def test_an_objective_measured_seldom_learns_from_one_that_goes_with_it():
    known, new = texts(70, seed=1), texts(110, seed=1)[70:]
    value = values(known)
    value[8:, 1] = torch.nan
    alone, together = GaussianProcess(), MultiTaskProcess()
    wrong = []
    for process in (alone, together):
        process.fit(observed(known, value))
        wrong.append(float((process.marginal(new)[0][:, 1] - values(new)[:, 1]).square().mean().sqrt()))
    assert wrong[1] < 0.5 * wrong[0]
    across = together._fit.likeness
    assert float(across[0, 1] / (across[0, 0] * across[1, 1]).sqrt()) < -0.7


def test_an_objective_without_any_value_is_uncertain_and_not_refused():
    known = texts(12)
    value = values(known)
    value[:, 1] = torch.nan
    process = MultiTaskProcess()
    process.fit(observed(known, value))
    mean, deviation = process.marginal(texts(20)[12:])
    assert mean.isfinite().all() and float(deviation[:, 1].min()) > 0
    with pytest.raises(RunError, match="fitted"):
        MultiTaskProcess().marginal(known)
