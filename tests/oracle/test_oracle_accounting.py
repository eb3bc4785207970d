"""Unique candidates are charged once, in order; what is known is never measured again."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_objectives import Counted, Odd, Word, misbehaving

from mogen.errors import BudgetExhausted, ConfigError, LedgerError, ShapeError
from mogen.objective import Measured, ObjectiveSet, Status
from mogen.oracle import AskedRow, Ledger, Oracle, Row


def words(*numbers: int) -> list[Word]:
    return [Word(str(number)) for number in numbers]


def oracle(budget: int = 100, **named) -> Oracle:
    named.setdefault("ledger", Ledger(":memory:"))
    return Oracle(ObjectiveSet([Counted()], [Odd()]), budget=budget, **named)


def test_repeats_and_duplicates_are_free():
    asked = oracle()
    first = asked(words(1, 2, 1, 3))
    assert first.raw[:, 0].tolist() == [1, 2, 1, 3] and first.is_valid.tolist() == [True, False, True, True]
    assert (asked.asked, asked.paid, asked.remaining) == (3, 3, 97)
    asked(words(3, 2, 1))
    assert (asked.asked, asked.paid, asked.objectives.objectives[0].calls) == (3, 3, 3)
    assert len(asked([])) == 0


def test_budget_ends_inside_a_batch():
    seen = []
    asked = oracle(3, observer=lambda candidates, evaluation, preference: seen.append((candidates, evaluation)))
    asked(words(1))
    with pytest.raises(BudgetExhausted):
        asked(words(1, 2, 2, 3, 1, 4, 5))
    assert asked.asked == 3 and asked.history().keys == ["1", "2", "3"]
    assert [word.key for candidates, _ in seen for word in candidates] == ["1", "2", "3"]
    assert asked.objectives.objectives[0].calls == 3
    assert asked(words(2, 3)).raw[:, 0].tolist() == [2, 3]
    with pytest.raises(BudgetExhausted):
        asked(words(9))
    assert asked.history().evaluation.raw[:, 0].tolist() == [1, 2, 3]


def test_accounts_share_values_and_not_charges():
    ledger = Ledger(":memory:")
    one, two = oracle(ledger=ledger), oracle(ledger=ledger, account="random")
    one(words(1, 2))
    two(words(2, 3))
    assert (one.asked, one.paid, two.asked, two.paid) == (2, 2, 2, 1)


def test_limited_and_truncate():
    asked = oracle(10)
    view = asked.limited(2)
    with pytest.raises(BudgetExhausted):
        view(words(1, 2, 3))
    asked(words(3, 4))
    assert (view.asked, view.remaining, asked.remaining) == (4, 0, 6)
    asked.truncate(1)
    assert (view.asked, asked.paid, asked.history().keys) == (1, 4, ["1"])
    asked(words(4))
    assert asked.history().keys == ["1", "4"] and asked.objectives.objectives[0].calls == 4
    with pytest.raises(ConfigError):
        asked.limited(-1)


def test_preferences_are_noted_in_order():
    asked = oracle()
    asked(words(5, 6, 5), preference=torch.tensor([[0.1], [0.2], [0.3]]))
    asked(words(7))
    noted = asked.history().preference
    assert noted is not None and noted[2].isnan().all()
    assert torch.equal(noted[:2].float(), torch.tensor([[0.1], [0.2]]))
    with pytest.raises(ShapeError):
        asked(words(1), preference=torch.ones(1, 2))


def test_failures_and_missing_values():
    ledger = Ledger(":memory:")
    asked = Oracle(ObjectiveSet([misbehaving, Measured("yield", "%", 0, 100)]), ledger, budget=5)
    found = asked([Word("raise"), Word("fine"), Word("nan")])
    assert found.status.tolist() == [[1, 2], [0, 2], [1, 2]] and not found.is_valid.any()
    assert "broken on purpose" in (ledger.message("raise", misbehaving.identity) or "")
    assert ledger.get(["fine"], asked.objectives.objectives[1].identity) == {}
    ledger.put([Row("fine", asked.objectives.objectives[1].identity, 40.0)])
    assert asked([Word("fine")]).raw.tolist() == [[0.25, 40.0]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=9), max_size=6))
def test_cache_changes_nothing(batches):
    asked = oracle(1000)
    direct = ObjectiveSet([Counted()], [Odd()])
    for batch in batches:
        if batch:
            got, want = asked(words(*batch)), direct(words(*batch))
            for name in ("raw", "status", "is_valid", "value", "utility"):
                assert torch.equal(getattr(got, name), getattr(want, name))
    flat = [str(number) for batch in batches for number in batch]
    assert asked.history().keys == list(dict.fromkeys(flat))


def test_ledger_keeps_measured_values_and_replaces_failed_ones(tmp_path):
    with Ledger(tmp_path / "deep" / "ledger.sqlite") as ledger:
        ledger.put([Row("a", "f", 1.0), Row("b", "f", float("nan"), Status.FAILED, message="why")])
        ledger.put([Row("a", "f", 2.0), Row("b", "f", 3.0), Row("a", "f", 5.0, replicate=1)])
        assert ledger.get(["a", "b", "c"], "f") == {"a": (1.0, Status.MEASURED), "b": (3.0, Status.MEASURED)}
        assert ledger.get(["a"], "f", replicate=1)["a"][0] == 5.0
        keys = [f"k{index}" for index in range(1300)]
        ledger.put([Row(key, "f", 0.5) for key in keys])
        assert len(ledger.get(keys, "f")) == 1300
        ledger.put_asked("x", [AskedRow(0, "a"), AskedRow(1, "b", [0.5, 0.5])])
        with pytest.raises(LedgerError):
            ledger.put_asked("x", [AskedRow(2, "c"), AskedRow(3, "a")])
        assert [row.key for row in ledger.asked("x")] == ["a", "b"]


def test_ledger_from_several_threads(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def put(name: str) -> None:
        for index in range(20):
            ledger.put([Row(f"{name}{index}", "f", 1.0)])

    threads = [threading.Thread(target=put, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.get([f"{name}{index}" for name in "abcd" for index in range(20)], "f")) == 80


def test_not_a_ledger(tmp_path):
    (tmp_path / "text").write_text("this is a letter to a friend, and no database at all" * 30)
    with sqlite3.connect(tmp_path / "other") as connection:
        connection.execute("CREATE TABLE t (x)")
    for name in ("text", "other", "."):
        with pytest.raises(LedgerError):
            Ledger(tmp_path / name)


def test_a_method_is_charged_for_what_another_has_paid():
    """`asked` counts what each method wanted to know, whoever had it measured; `paid` splits the bill."""
    ledger = Ledger(":memory:")
    one, two = oracle(3, ledger=ledger), oracle(3, ledger=ledger, account="random")
    one(words(1, 2, 3))
    with pytest.raises(BudgetExhausted):
        two(words(3, 2, 2, 1, 4))
    assert (two.asked, two.paid, two.remaining, two.history().keys) == (3, 0, 0, ["3", "2", "1"])
    assert two.objectives.objectives[0].calls == 0
    assert "4" not in ledger.get(["4"], two.objectives.objectives[0].identity)


def test_what_is_too_much_is_neither_measured_nor_charged_nor_seen():
    seen = []
    asked = oracle(2, observer=lambda candidates, evaluation, preference: seen.append(candidates))
    with pytest.raises(BudgetExhausted, match="budget of 0"):
        asked.limited(0)(words(1))
    assert (asked.asked, asked.paid, seen, asked.objectives.objectives[0].calls) == (0, 0, [], 0)
    asked(words(1, 1, 2))
    assert [[word.key for word in group] for group in seen] == [["1", "2"]]


def test_the_observer_sees_what_the_caller_gets():
    seen = []
    asked = oracle(observer=lambda *told: seen.append(told))
    preference = torch.tensor([[0.1], [0.2], [0.3], [0.4]])
    asked(words(1), preference=preference[:1])
    found = asked(words(5, 1, 5, 6), preference=preference)
    candidates, evaluation, noted = seen[1]
    assert [word.key for word in candidates] == ["5", "6"]
    assert torch.equal(evaluation.raw, found.raw[[0, 3]]) and torch.equal(noted, preference[[0, 3]])


def test_a_ledger_that_knows_less_than_a_checkpoint_is_refused():
    asked = oracle()
    asked(words(1, 2))
    asked.truncate(2)
    with pytest.raises(LedgerError, match="at least 3 candidates of 'mogen', got 2"):
        asked.truncate(3)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger._connection.execute(f"PRAGMA max_page_count = {ledger._one('PRAGMA page_count') + 3}")
        asked, count = oracle(10**6, ledger=ledger), 0
        with pytest.raises(LedgerError, match="full") as told:
            while True:
                asked(words(*range(count, count + 50)))
                count += 50
        assert "\n" not in str(told.value)
        assert asked.asked == count
        ledger._connection.execute("PRAGMA max_page_count = 1000000")
        assert asked(words(*range(count + 50))).raw[:, 0].tolist() == list(range(count + 50))


def test_a_ledger_that_must_not_be_written_is_one_sentence(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger._connection.execute("PRAGMA query_only = 1")
        with pytest.raises(LedgerError, match="must take new rows"):
            oracle(ledger=ledger)(words(1))


def test_cheap_rows_wait_for_each_other_and_dear_ones_for_the_disk(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("mogen.oracle.ledger.time.monotonic", lambda: clock[0])
    with Ledger(tmp_path / "ledger.sqlite") as ledger:

        def synchronous(key: str, seconds: float) -> int:
            ledger.put([Row(key, "f", 1.0, seconds=seconds)])
            return ledger._one("PRAGMA synchronous")

        normal, full = 1, 2
        assert synchronous("first", 0.0) == full
        assert synchronous("cheap", 0.01) == normal
        assert synchronous("dear", 60.0) == full
        clock[0] = 0.9
        assert synchronous("soon", 0.01) == normal
        clock[0] = 1.1
        assert synchronous("later", 0.01) == full


def test_accounting_costs_little_and_no_more_with_time():
    """Processor time a candidate, three free objectives; 100 microseconds are wanted, 300 allowed."""
    objectives = [Counted(f"n{index}") for index in range(3)]
    asked = Oracle(ObjectiveSet(objectives), Ledger(":memory:"), budget=10**6)

    def cost(start: int, batches: int = 60, size: int = 64) -> float:
        began = time.process_time()
        for batch in range(batches):
            asked(words(*range(start + batch * size, start + (batch + 1) * size)))
        return (time.process_time() - began) / (batches * size)

    early = min(cost(0), cost(4_000))
    asked._positions.update({f"x{index}": index for index in range(10**6)})
    asked.budget = 10**7
    late = min(cost(8_000), cost(12_000))
    assert early < 300e-6 and late < 2 * early
