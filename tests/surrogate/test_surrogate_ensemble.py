"""Deep ensembles: what they learn, how unsure they are elsewhere, missing values, and their posterior."""

from __future__ import annotations

import pytest
import torch

from mogen.acquisition import Belief, HypervolumeImprovement
from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError, RunError
from mogen.surrogate import DeepEnsemble, Observations

SMILES = [
    "C" * a + b + "C" * c for a in range(1, 6) for b in ("O", "N", "C(=O)", "C(Cl)", "c1ccccc1", "S") for c in range(3)
]


def texts(n: int, letters: str = "ACG", length: int = 8, seed: int = 0) -> list[TokenSequence]:
    made = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(letters), (2 * n, length), generator=made).tolist()
    return [TokenSequence(text) for text in dict.fromkeys("".join(letters[i] for i in row) for row in rows)][:n]


def observed(candidates, value) -> Observations:
    valid = torch.ones(len(candidates), dtype=torch.bool)
    noise = torch.full_like(value, torch.nan)
    return Observations(list(candidates), value, noise, valid, value.clamp(0, 1).nan_to_num())


def counted(candidates) -> torch.Tensor:
    rows = [[item.text.count("A") / 8, item.text[:4].count("C") / 4] for item in candidates]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture(scope="module")
def learned() -> tuple[DeepEnsemble, Observations]:
    known = texts(200)
    value = counted(known)
    value[100:, 1] = torch.nan
    seen = observed(known, value)
    ensemble = DeepEnsemble(members=3, width=24, depth=2, steps=250, batch=64)
    ensemble.fit(seen)
    return ensemble, seen


def test_it_foresees_counts_and_places_with_values_missing(learned):
    ensemble, _ = learned
    new = texts(300)[200:]
    mean, deviation = ensemble.marginal(new)
    error = (mean - counted(new)).square().mean(0).sqrt()
    assert float(error[0]) < 0.4 * float(counted(new)[:, 0].std())
    assert float(error[1]) < 0.75 * float(counted(new)[:, 1].std())
    strange = texts(40, letters="WYK", length=8)
    assert float(ensemble.marginal(strange)[1].mean()) > 1.5 * float(deviation.mean())


def test_the_posterior_has_the_moments_of_the_members(learned):
    ensemble, _ = learned
    new = texts(12, seed=5)
    means = ensemble.means(new)
    assert means.shape == (3, 12, 2)
    mean, covariance = ensemble.joint(new)
    expected = torch.stack([torch.cov(means[:, :, i].T) for i in range(2)])
    slack = (1e-3 * ensemble.spread) ** 2
    expected = expected + slack[:, None, None] * torch.eye(12, dtype=torch.float64)
    assert torch.allclose(mean, means.mean(0)) and torch.allclose(covariance, expected, atol=1e-12)
    posterior = ensemble.posterior(new)
    assert torch.allclose(posterior.mean, mean)
    alone, deviation = ensemble.marginal(new)
    assert torch.allclose(alone, mean) and torch.allclose(deviation**2, posterior.variance, atol=1e-9)
    assert torch.allclose(ensemble.cross(new[:3], new[3:]), covariance[:, :3, 3:])


def test_the_same_seed_gives_the_same_belief(learned):
    _, seen = learned
    again = DeepEnsemble(members=3, width=24, depth=2, steps=20)
    twin = DeepEnsemble(members=3, width=24, depth=2, steps=20)
    torch.manual_seed(1)
    again.fit(seen)
    torch.manual_seed(2)
    twin.fit(seen)
    assert torch.equal(again.means(seen.candidates[:5]), twin.means(seen.candidates[:5]))


def test_an_acquisition_chooses_by_it(learned):
    ensemble, seen = learned
    acquisition = HypervolumeImprovement(samples=16)
    acquisition.prepare(Belief(ensemble, seen), generator=torch.Generator().manual_seed(0))
    pool = texts(80, seed=9)
    picks = acquisition.select(pool, 5, generator=torch.Generator())
    chosen = counted([pool[place] for place in picks])
    assert len(set(picks)) == 5 and float(chosen.sum(1).mean()) > float(counted(pool).sum(1).mean())


def test_message_passing_learns_from_atoms_and_bonds():
    known = [Molecule.from_smiles(text) for text in SMILES]
    value = torch.tensor(
        [[item.smiles.count("O") + item.mol.GetNumHeavyAtoms() / 12] for item in known], dtype=torch.float64
    )
    ensemble = DeepEnsemble(members=2, width=24, depth=2, steps=200, batch=32)
    ensemble.fit(observed(known[::2] + known[1::4], torch.cat([value[::2], value[1::4]])))
    mean, _ = ensemble.marginal(known[3::4])
    assert float((mean - value[3::4]).square().mean().sqrt()) < 0.35 * float(value.std())
    large = Molecule("C" * 60)
    assert ensemble.marginal([large])[0].isfinite().all()


def test_wrong_sizes_and_no_data_are_refused():
    with pytest.raises(ConfigError, match="2 members"):
        DeepEnsemble(members=1)
    with pytest.raises(RunError, match="fitted"):
        DeepEnsemble().marginal(texts(2))
