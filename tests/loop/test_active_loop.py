"""Ask and tell: batches, replicates, partial values, failures, constraints, budgets; better than chance."""

from __future__ import annotations

import pytest
import torch
from loop_toys import ALL, LENGTH, Letter, loop, objectives, variation

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError, RunError
from mogen.loop import ActiveLoop, BelieveAndChoose, Evolve, Genetic, ListSource, LoopSampler, PickRandomly
from mogen.loop.proposer import crowding, survivors
from mogen.objective import Constraint, Evaluation, Measured, ObjectiveSet, Status
from mogen.oracle import Ledger, Oracle
from mogen.pareto import hypervolume


def evaluation(raw, status=None, given=None) -> Evaluation:
    raw = torch.tensor(raw, dtype=torch.float64)
    return (given or objectives()).evaluation(raw, None, None if status is None else torch.tensor(status))


def measured(candidates) -> Evaluation:
    return objectives()(candidates)


def test_a_loop_asks_for_new_candidates_until_they_are_told():
    made = loop(0)
    first = made.ask()
    assert len(first) == 8 and len({item.key for item in first}) == 8
    made.tell(first, measured(first))
    second = made.ask()
    third = made.ask(3)
    keys = [item.key for item in (*first, *second, *third)]
    assert len(set(keys)) == len(keys) == 15
    assert set(made.pending) == {item.key for item in (*second, *third)}
    made.tell(third, measured(third))
    assert set(made.pending) == {item.key for item in second}
    assert len(made.observed) == 11


def test_the_same_history_leads_to_the_same_batch():
    batches = []
    for _ in range(2):
        made = loop(7)
        first = made.ask()
        made.tell(first, measured(first))
        batches.append([item.key for item in made.ask()])
    assert batches[0] == batches[1]
    other = loop(8)
    assert [item.key for item in other.ask()] != [item.key for item in loop(7).ask()]


def test_batches_told_in_another_order_are_learned_alike():
    made, other = loop(1), loop(1)
    first = made.ask()
    other.ask()
    made.tell(first, measured(first))
    for part in (first[5:], first[:5]):
        other.tell(part, measured(part))
    assert other.hypervolume() == pytest.approx(made.hypervolume())
    assert not other.pending
    assert {c.key for c in other.observed.candidates} == {c.key for c in made.observed.candidates}


def test_replicates_are_averaged_with_their_pooled_spread():
    made = loop(0)
    a, b = ALL[0], ALL[1]
    made.tell([a, b], evaluation([[1.0, 2.0], [3.0, 3.0]]))
    made.tell([a, a], evaluation([[2.0, 2.0], [3.0, 2.0]]))
    found = made.evaluation()
    assert found.raw.tolist() == [[2.0, 2.0], [3.0, 3.0]]
    deviation = 1.0  # of 1, 2, 3: the only candidate with replicates
    assert found.noise[0, 0] == pytest.approx(deviation / 3**0.5) and found.noise[1, 0] == pytest.approx(deviation)
    assert torch.allclose(made.observed.noise[:, 0], found.noise[:, 0] / LENGTH)


def test_an_objective_may_be_told_later():
    made = loop(0)
    batch = made.ask()
    late = [[int(Status.MEASURED), int(Status.MISSING)]] * len(batch)
    made.tell(batch, evaluation(measured(batch).raw.tolist(), late))
    assert made.observed.value[:, 0].isfinite().all() and made.observed.value[:, 1].isnan().all()
    assert len(made.pending) == len(batch) and made.hypervolume() == 0
    early = [[int(Status.MISSING), int(Status.MEASURED)]] * len(batch)
    made.tell(batch, evaluation(measured(batch).raw.tolist(), early))
    assert not made.pending and torch.equal(made.evaluation().raw, measured(batch).raw)


def test_failed_measurements_are_neither_pending_nor_asked_again():
    made = loop(0)
    batch = made.ask()
    states = [[int(Status.FAILED)] * 2] * 2 + [[0, 0]] * (len(batch) - 2)
    made.tell(batch, evaluation(measured(batch).raw.tolist(), states))
    assert not made.pending and not made.observed.is_valid[:2].any()
    asked = {item.key for _ in range(3) for item in made.ask()}
    assert not asked & {item.key for item in batch[:2]}


class NoGuanine(Constraint[TokenSequence]):
    name = "no_g"

    def passes(self, candidates):
        return torch.tensor(["G" not in item.text for item in candidates], dtype=torch.bool)


@pytest.mark.parametrize("strategy", ["belief", "evolve", "random"])
def test_known_constraints_are_kept_by_every_batch(strategy):
    given = ObjectiveSet([Letter("A"), Letter("C")], [NoGuanine()])
    kinds = {
        "belief": BelieveAndChoose([Genetic(variation(), children=40, generations=1)]),
        "evolve": Evolve(variation(), ListSource(ALL)),
        "random": PickRandomly(ListSource(ALL)),
    }
    made = ActiveLoop(given, kinds[strategy], ListSource(ALL), batch=4, start=6, seed=0)
    made.run(given, 3)
    assert len(made.observed) == 14
    assert all("G" not in item.text for item in made.observed.candidates)


def best_front() -> float:
    return hypervolume(objectives()(ALL).utility)


def test_a_belief_finds_more_than_random_picks_and_evolution():
    """28 of 4,096 words: the belief's share of the exact hypervolume is the highest, mean over three seeds."""
    shares = {}
    for name in ("belief", "evolve", "random"):
        volumes = []
        for seed in range(3):
            strategy = {
                "belief": None,
                "evolve": Evolve(variation(), ListSource(ALL), population=6),
                "random": PickRandomly(ListSource(ALL)),
            }[name]
            made = loop(seed, strategy=strategy)
            made.run(objectives(), 6)
            assert len(made.observed) == 28
            volumes.append(made.hypervolume() / best_front())
        shares[name] = sum(volumes) / len(volumes)
    assert shares["belief"] > shares["evolve"] > shares["random"]
    assert shares["belief"] > 0.9


def test_calibration_is_of_the_belief_before_it_learns():
    made = loop(0)
    first, *later = made.run(objectives(), 3)
    assert first.calibration is None
    assert all(item.calibration is not None and item.calibration.count == 4 for item in later)
    fresh = loop(0)
    batch = fresh.ask()
    fresh.tell(batch, measured(batch))
    second = fresh.ask()
    from mogen.surrogate import GaussianProcess, Observations, calibration

    process = GaussianProcess()
    process.fit(fresh.observed)
    found = calibration(process, Observations.of(second, measured(second)))
    assert torch.allclose(found.nlpd, later[0].calibration.nlpd, atol=1e-6)


def test_a_budget_that_ends_inside_a_batch_ends_the_loop(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        oracle = Oracle(objectives(), ledger, budget=14)
        made = loop(0)
        rounds = made.run(oracle)
        assert oracle.asked == 14 == len(made.observed) and [item.asked for item in rounds] == [8, 12, 14]


def test_a_pool_that_is_used_up_ends_the_loop():
    few = ALL[:10]
    made = ActiveLoop(objectives(), PickRandomly(ListSource(few)), ListSource(few), batch=4, start=4)
    made.run(objectives())
    assert len(made.observed) == 10


def test_survivors_are_the_first_ranks_then_the_least_crowded():
    worth = torch.tensor([[1, 0], [0, 1], [0.6, 0.6], [0.5, 0.5], [0.55, 0.62], [0.2, 0.2]], dtype=torch.float64)
    assert survivors(worth, 4) == [0, 1, 2, 4]
    assert survivors(worth, 5) == [0, 1, 2, 3, 4]
    assert set(survivors(worth, 2)) == {0, 1}
    line = torch.tensor([[0.0, 1.0], [0.25, 0.75], [1.0, 0.0]], dtype=torch.float64)
    assert crowding(line).tolist() == [torch.inf, 2.0, torch.inf]


def test_a_loop_needs_a_start():
    made = ActiveLoop(objectives(), PickRandomly(ListSource(ALL)))
    with pytest.raises(RunError, match="data to start from"):
        made.ask()
    with pytest.raises(ConfigError, match="at least 1"):
        loop(0).ask(0)
    with pytest.raises(ConfigError, match="rows of 2 values"):
        loop(0).tell(ALL[:2], measured(ALL[:1]))


def test_objectives_without_code_are_told():
    given = ObjectiveSet([Measured("potency", "pIC50", 4.0, 9.0), Measured("mass", "g/mol", 500.0, 200.0)])
    made = ActiveLoop(given, BelieveAndChoose([Genetic(variation(), children=30, generations=1)]), ListSource(ALL))
    batch = made.ask(5)
    found = made.tell(batch, evaluation([[6.5, 350.0]] * 5, given=given))
    assert found.hypervolume == pytest.approx(0.25) and len(made.ask(3)) == 3


def test_a_loop_as_a_sampler_answers_preferences_and_is_saved(tmp_path):
    sampler = LoopSampler(loop, show=False, rounds=3)
    sampler.fit(objectives(), m=2, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = sampler.sample(wanted)
    utility = objectives()(found.candidates).utility
    known = torch.stack(list(sampler.known.values()))
    assert utility[0, 0] == known[:, 0].max() and utility[1, 1] == known[:, 1].max()
    sampler.save(tmp_path / "model")
    again = LoopSampler.load(tmp_path / "model").sample(wanted)
    assert again.candidates == found.candidates
