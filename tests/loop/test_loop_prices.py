"""Objectives with different prices: cheap values first, dear ones of those that are worth it."""

from __future__ import annotations

import pytest
import torch
from loop_toys import ALL, LENGTH, loop, objectives

from mogen.errors import ConfigError
from mogen.loop import ActiveLoop, BelieveAndChoose, Genetic, ListSource
from mogen.loop.active import cheap_ones
from mogen.objective import Status
from samplers.baseline.variation import SequenceVariation

PRICES = {"count_A": 1.0, "count_C": 20.0}


def priced(seed: int = 0, prices=PRICES) -> ActiveLoop:
    strategy = BelieveAndChoose([Genetic(SequenceVariation("ACGT", LENGTH, LENGTH), children=60, generations=2)])
    return ActiveLoop(objectives(), strategy, ListSource(ALL), batch=4, start=8, seed=seed, prices=prices)


def measured(made: ActiveLoop, batch, wanted):
    """What a laboratory sends back that measures what was asked for and nothing else."""
    found = objectives()(batch)
    missing = torch.tensor([[i not in wanted[item.key] for i in range(2)] for item in batch])
    status = torch.where(missing, int(Status.MISSING), found.status)
    return made.objectives.evaluation(found.raw.where(~missing, torch.nan), None, status)


def round_of(made: ActiveLoop) -> tuple[list, dict, float]:
    """One batch asked and told: candidates, what was wanted of them, and what it cost."""
    lacking = {item.key: made.lacks(item) for item in made.unfinished()}
    batch = made.ask()
    wanted = {item.key: lacking.get(item.key, list(made.cheap)) for item in batch}
    made.tell(batch, measured(made, batch, wanted))
    return batch, wanted, sum(made.prices[i] for rows in wanted.values() for i in rows)


def test_cheap_values_are_asked_for_first_and_dear_ones_later():
    made = priced()
    batch, wanted, cost = round_of(made)
    assert len(batch) == 8 and all(rows == [0] for rows in wanted.values()) and cost == 8.0
    assert not made.pending and len(made.unfinished()) == 8 and made.hypervolume() == 0
    assert made.price([batch[0], ALL[-1]]).tolist() == [20.0, 21.0]
    dear = []
    for _ in range(4):
        unfinished = {item.key for item in made.unfinished()}
        batch, wanted, _ = round_of(made)
        dear += [item for item in batch if item.key in unfinished]
        assert [wanted[item.key] for item in batch] == [[1], [0], [0], [0]] and batch[0].key in unfinished
        assert not made.pending
    assert dear and made.hypervolume() > 0
    assert all(item.key not in {other.key for other in made.unfinished()} for item in dear)


def test_a_value_nobody_asked_for_is_no_reason_to_wait():
    made = priced()
    batch = made.ask()
    assert [made.wanted[item.key] for item in batch] == [{0}] * 8 and len(made.pending) == 8
    made.tell(batch[:3], measured(made, batch[:3], {item.key: [0] for item in batch}))
    assert list(made.pending) == [item.key for item in batch[3:]]
    again = priced()
    again.expect(batch, {item.key: [0] for item in batch})
    again.expect(batch[:1], {batch[0].key: [1]})
    again.tell(batch, measured(again, batch, {item.key: [0] for item in batch}))
    assert list(again.pending) == [batch[0].key]


def test_money_buys_more_where_dear_values_are_bought_last():
    """The same money (of which a look at every value takes 168): more hypervolume than without regard to prices."""
    gain = []
    for seed in range(2):
        careful, careless, money = priced(seed), loop(seed), 250.0
        spent = 0.0
        while spent < money:
            spent += round_of(careful)[2]
        left = spent
        while left > 0:
            batch = careless.ask()
            careless.tell(batch, objectives()(batch))
            left -= 21.0 * len(batch)
        gain.append(careful.hypervolume() - careless.hypervolume())
    assert sum(gain) > 0, gain


@pytest.mark.parametrize(
    ("prices", "cheap"),
    [([1, 20], [0]), ([20, 1], [1]), ([1, 1], [0, 1]), ([1, 4], [0]), ([1, 3.9], [0, 1]), ([1, 2, 100], [0, 1])],
)
def test_what_is_cheap(prices, cheap):
    assert cheap_ones(prices, 0.25) == cheap


def test_prices_must_be_of_objectives_and_positive_and_nobody_measures_half():
    with pytest.raises(ConfigError, match="positive prices of count_A"):
        priced(prices={"count_G": 2.0})
    with pytest.raises(ConfigError, match="positive prices"):
        priced(prices={"count_A": 0.0})
    with pytest.raises(ConfigError, match="ask and tell"):
        priced().run(objectives(), 1)
