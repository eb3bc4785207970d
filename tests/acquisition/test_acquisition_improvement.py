"""Acquisitions against plain answers: exact hypervolumes of samples, pending points, bounds, batches."""

from __future__ import annotations

import pytest
import torch

from mogen.acquisition import (
    AcquisitionMeasure,
    Belief,
    BeliefModel,
    BoundMeasure,
    HypervolumeImprovement,
    ScalarizedImprovement,
    ThompsonSampling,
    UpperBound,
)
from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.pareto import hypervolume
from mogen.surrogate import GaussianProcess, Observations, Overlap, Tanimoto, TokenCounts

KINDS = (HypervolumeImprovement, ScalarizedImprovement, UpperBound, ThompsonSampling)


def texts(n: int, seed: int = 0) -> list[TokenSequence]:
    made = torch.Generator().manual_seed(seed)
    rows = torch.randint(4, (3 * n, 7), generator=made).tolist()
    return [TokenSequence(text) for text in dict.fromkeys("".join("ACGT"[i] for i in row) for row in rows)][:n]


def values(candidates, m: int = 2) -> torch.Tensor:
    """Conflicting and smooth."""
    counts = [[item.text.count(letter) / 7 for letter in "ACGT"[:m]] for item in candidates]
    return torch.tensor(counts, dtype=torch.float64)


def belief(known, m: int = 2, pending=()) -> Belief:
    value = values(known, m)
    valid = torch.ones(len(known), dtype=torch.bool)
    seen = Observations(known, value, torch.full_like(value, 0.02), valid, value)
    process = unsure()
    process.fit(seen)
    return Belief(process, seen, tuple(pending))


def unsure() -> GaussianProcess:
    """A process without sums over words, which would know these values almost exactly."""
    return GaussianProcess([Tanimoto(TokenCounts()), Overlap()])


@pytest.fixture(scope="module")
def pool() -> list[TokenSequence]:
    return texts(90)[30:]


def prepared(kind, given: Belief, **options):
    acquisition = kind(**options)
    acquisition.prepare(given, generator=torch.Generator().manual_seed(0))
    return acquisition


def test_hypervolume_improvement_is_the_mean_over_posterior_draws(pool):
    """Its own draws of baseline and candidate, hypervolumes by moocore: mean HV(front with x) - HV(front)."""
    given = belief(texts(30))
    acquisition = prepared(HypervolumeImprovement, given, samples=2048)
    chosen = pool[:12]
    found = acquisition.score(chosen).exp()
    front = acquisition.baseline
    mean, covariance = given.surrogate.joint([*front, *chosen])
    normal = torch.randn(2, len(mean), 6000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    drawn = (mean.T[:, :, None] + torch.linalg.cholesky(covariance) @ normal).permute(2, 1, 0).clamp(max=1)
    expected = torch.zeros(len(chosen))
    for sample in drawn[:1500]:
        before = hypervolume(sample[: len(front)])
        for place in range(len(chosen)):
            rows = torch.cat([sample[: len(front)], sample[len(front) + place][None]])
            expected[place] += (hypervolume(rows) - before) / 1500
    big = expected > 0.3 * expected.max()
    assert big.sum() >= 2
    assert torch.allclose(found[big].float(), expected[big], rtol=0.15)
    assert int(found.argmax()) == int(expected.argmax())


def test_hypervolume_improvement_is_botorchs(pool):
    """The same belief, other draws: BoTorch's qLogNEHVI is ours where the improvement is not negligible."""
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
    from botorch.sampling import SobolQMCNormalSampler

    known = texts(30)
    value = 1.2 * values(known, 3)
    seen = Observations(known, value, torch.full_like(value, 1e-3), torch.ones(30, dtype=torch.bool), value)
    process = unsure()
    process.fit(seen)
    chosen = pool[:20]
    given = Belief(process, seen)
    acquisition = prepared(HypervolumeImprovement, given, samples=4096)
    model = BeliefModel(process, 3)
    theirs = qLogNoisyExpectedHypervolumeImprovement(
        model=model,
        ref_point=[0.0] * 3,
        X_baseline=model.keep(acquisition.baseline),
        sampler=SobolQMCNormalSampler(torch.Size([96]), seed=1),
        objective=GenericMCMultiOutputObjective(lambda samples, X=None: samples.clamp(max=1.0)),
    )
    with torch.no_grad():
        expected = theirs(model.number(chosen)).exp()
    found = acquisition.score(chosen).exp()
    big = expected > 0.2 * expected.max()
    assert big.sum() >= 4
    assert torch.allclose(found[big], expected[big], rtol=0.12)


def test_draws_of_a_batch_are_rows_of_one_cholesky_factor(pool):
    """Conditioning pick by pick is one factorisation of the joint covariance of front, picks and candidate."""
    given = belief(texts(30))
    acquisition = prepared(HypervolumeImprovement, given, samples=8)
    shortlist, picks = pool[:6], [4, 1]
    more = torch.randn(8, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    covariance = given.surrogate.joint(shortlist)[1]
    draws = acquisition._draws(shortlist)
    for place, own in zip(picks, more.unbind(-1), strict=True):
        draws = draws.given(place, covariance, own)
    table = [*acquisition.fixed, shortlist[4], shortlist[1], shortlist[3]]
    mean, whole = given.surrogate.joint(table)
    drawn_by = torch.cat([acquisition.normal, acquisition.own[..., None], more], -1)
    expected = mean[-1] + torch.einsum("mk,smk->sm", torch.linalg.cholesky(whole)[:, -1], drawn_by)
    assert torch.allclose(draws.values()[:, 3], expected, atol=1e-5)


def test_scores_do_not_depend_on_the_chunk(pool):
    acquisition = prepared(HypervolumeImprovement, belief(texts(30)))
    whole = acquisition.score(pool)
    acquisition.chunk = 7
    assert torch.allclose(acquisition.score(pool), whole, atol=1e-6)


def test_the_model_gives_the_joint_posterior_of_any_shape(pool):
    given = belief(texts(30))
    model = BeliefModel(given.surrogate, 2)
    kept = model.keep(pool[:3])
    posterior = model.posterior(torch.cat([kept.expand(4, 3, 1), model.number(pool[5:9])], 1))
    mean, covariance = given.surrogate.joint([*pool[:3], pool[7]])
    assert torch.allclose(posterior.mean[2], mean, atol=1e-12)
    found = posterior.distribution.covariance_matrix[2]
    assert torch.allclose(found[:4, :4], covariance[0], atol=1e-9) and not found[:4, 4:].any()


@pytest.mark.parametrize("m", [3, 4, 5])
def test_hypervolume_improvement_of_more_objectives(pool, m):
    known = texts(30)
    value = torch.cat([values(known, 4), values(known, 4)[:, :1] * 0.5], 1)[:, :m]
    seen = Observations(known, value, torch.full_like(value, 0.02), torch.ones(30, dtype=torch.bool), value)
    process = GaussianProcess()
    process.fit(seen)
    acquisition = prepared(HypervolumeImprovement, Belief(process, seen), samples=4, most_baseline=8)
    assert acquisition.score(pool).isfinite().all()
    assert len(set(acquisition.select(pool[:12], 2, generator=torch.Generator()))) == 2


def test_seven_objectives_need_another_acquisition(pool):
    known = texts(10)
    value = values(known, 4).repeat(1, 2)[:, :7]
    seen = Observations(known, value, torch.full_like(value, 0.02), torch.ones(10, dtype=torch.bool), value)
    process = GaussianProcess()
    process.fit(seen)
    with pytest.raises(ConfigError, match="parego"):
        prepared(HypervolumeImprovement, Belief(process, seen))
    acquisition = prepared(ScalarizedImprovement, Belief(process, seen))
    assert len(acquisition.select(pool, 2, generator=torch.Generator())) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_different_candidates_and_repeat(kind, pool):
    given = belief(texts(30))
    picks = []
    for _ in range(2):
        acquisition = prepared(kind, given)
        picks.append(acquisition.select(pool, 6, generator=torch.Generator().manual_seed(4)))
    assert picks[0] == picks[1] and len(set(picks[0])) == 6
    assert len(acquisition.select(pool[:3], 6, generator=torch.Generator())) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_chosen_candidates_are_worth_more_than_random_ones(kind, pool):
    given = belief(texts(30))
    seen = given.observed.utility

    def gain(picked):
        return hypervolume(torch.cat([seen, values([pool[place] for place in picked])])) - hypervolume(seen)

    picks = prepared(kind, given).select(pool, 6, generator=torch.Generator().manual_seed(0))
    drawn = [torch.randperm(len(pool), generator=torch.Generator().manual_seed(k))[:6].tolist() for k in range(20)]
    assert gain(picks) > sum(map(gain, drawn)) / len(drawn)


@pytest.mark.parametrize("kind", [HypervolumeImprovement, ScalarizedImprovement])
def test_what_is_pending_is_worth_less(kind, pool):
    known = texts(30)
    free = prepared(kind, belief(known))
    top = pool[int(free.score(pool).argmax())]
    taken = prepared(kind, belief(known, pending=[top]))
    assert float(taken.score([top])[0]) < float(free.score([top])[0]) - 1
    assert float(taken.score(pool).exp().sum()) < float(free.score(pool).exp().sum())


def test_a_batch_can_be_kept_apart(pool):
    given = belief(texts(30))
    picks = prepared(UpperBound, given, likeness=0.4).select(pool, 5, generator=torch.Generator())
    chosen = [pool[place] for place in picks]
    like = given.surrogate.likeness(chosen, chosen)
    like.fill_diagonal_(0)
    assert float(like.max()) < 0.4


def test_a_large_pool_is_reduced_first(pool):
    acquisition = prepared(HypervolumeImprovement, belief(texts(30)), most_pool=20)
    whole = prepared(HypervolumeImprovement, belief(texts(30)))
    few = acquisition.select(pool, 3, generator=torch.Generator().manual_seed(0))
    assert few[0] == whole.select(pool, 3, generator=torch.Generator().manual_seed(0))[0]


def test_adapters_are_measures(pool):
    given = belief(texts(30))
    acquisition = prepared(HypervolumeImprovement, given)
    measure = AcquisitionMeasure(acquisition, pool[:30], temper=0.5)
    found, score = measure(pool), acquisition.score(pool)
    expected = (0.5 * (score - score[:30].max())).exp().clamp(max=1)
    assert torch.allclose(found.utility[:, 0], expected) and found.is_valid.all()
    bound = BoundMeasure(given, kappa=1.5)(pool, preference=torch.zeros(len(pool), 2))
    mean, deviation = given.surrogate.marginal(pool)
    assert torch.allclose(bound.value, mean + 1.5 * deviation)
    assert float(bound.utility.min()) >= 0 and float(bound.utility.max()) <= 1
