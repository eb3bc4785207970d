"""Failures of every kind cost their candidate, under both executors."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from oracle_objectives import (
    Counted,
    Misshapen,
    Odd,
    Unloadable,
    Wide,
    Word,
    misbehaving,
    pid,
    slow,
    threads,
    unpicklable,
)

from mogen.errors import ConfigError, ObjectiveError
from mogen.objective import Status
from mogen.oracle import Ledger, ProcessExecutor, Row, SerialExecutor


@pytest.fixture(scope="module")
def pool():
    with ProcessExecutor(workers=2, chunk=8, timeout=1.0) as executor:
        yield executor


@pytest.fixture(scope="module", params=["serial", "process"])
def executor(request, pool):
    return SerialExecutor(chunk=8) if request.param == "serial" else pool


def words(*kinds: str, n: int = 20) -> list[Word]:
    """Well-behaved words with one of each kind among them."""
    keys = [f"fine{index}" for index in range(n)]
    for place, kind in enumerate(kinds):
        keys[3 + 4 * place] = f"{kind}{place}"
    return [Word(key) for key in keys]


def check(rows, candidates, column: int = 0, fine: float = 0.25) -> None:
    for word, row in zip(candidates, rows, strict=True):
        if word.key.startswith("fine"):
            assert (row[column].status, row[column].value) == (Status.MEASURED, fine)
        else:
            assert row[column].status == Status.FAILED and math.isnan(row[column].value) and row[column].message


def test_order_and_store(executor):
    candidates = [Word(str(index)) for index in range(53)]
    stored = []
    rows = executor.run([Counted(), Odd()], candidates, store=stored.extend)
    assert [row[0].value for row in rows] == list(range(53))
    assert [row[1].value for row in rows] == [index % 2 for index in range(53)]
    assert sorted((out.position, out.item) for out in stored) == [(p, i) for p in range(53) for i in range(2)]
    assert executor.run([Counted()], []) == []


def test_raise_nan_and_exit_code(executor):
    candidates = words("raise", "nan", "quit")
    rows = executor.run([misbehaving, Misshapen()], candidates)
    check(rows, candidates)
    assert "broken on purpose" in rows[3][0].message and "nan" in rows[7][0].message
    assert all(row[1].value == 0.5 for row in rows)


def test_wrong_shape(executor):
    candidates = words("shape")
    rows = executor.run([Misshapen()], candidates)
    check(rows, candidates, fine=0.5)
    assert "shape" in rows[3][0].message


@pytest.mark.parametrize("kind", ["complex", "text", "objects", "none", "scalar", "scattered"])
def test_wrong_type(executor, kind):
    rows = executor.run([Wide()], (candidates := words(kind, n=8)))
    check(rows, candidates)


def test_numbers_of_any_type_are_taken_and_infinity_is_not(executor):
    for kind, value in (("int", 1.0), ("bool", 1.0), ("half", 0.5), ("numpy", 0.5)):
        assert [row[0].value for row in executor.run([Wide()], [Word(kind)])] == [value]
    row = executor.run([Wide()], [Word("inf")])[0]
    assert row[0].status == Status.FAILED and row[0].message == "returned -inf"


def test_exceptions_that_cannot_be_told(executor):
    candidates = words("panic", "surrogate")
    rows = executor.run([misbehaving], candidates)
    check(rows, candidates)
    assert rows[3][0].message == "Panic"
    with Ledger(":memory:") as ledger:
        ledger.put([Row("a", "f", math.nan, Status.FAILED, message=rows[7][0].message)])
        assert "no file" in ledger.message("a", "f") and len(ledger.message("a", "f")) <= 2000


def test_hang_death_and_segfault(pool):
    candidates = words("hang", "exit", "crash", "raise")
    start = time.monotonic()
    rows = pool.run([Misshapen(), misbehaving, Misshapen()], candidates)
    check(rows, candidates, column=1)
    assert all(row[0].value == row[2].value == 0.5 for row in rows)
    assert "timeout" in rows[3][1].message and "code 7" in rows[7][1].message and "code -11" in rows[11][1].message
    assert time.monotonic() - start < 20


def test_pool_persists_and_replaces_the_dead(pool):
    candidates = [Word(f"fine{index}") for index in range(32)]
    first = {row[0].value for row in pool.run([pid], candidates)}
    assert {row[0].value for row in pool.run([pid], candidates)} <= first | {float(w.process.pid) for w in pool._pool}
    assert os.getpid() not in first
    for worker in pool._pool:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
    rows = pool.run([pid], candidates)
    assert all(row[0].status == Status.MEASURED and row[0].value not in first for row in rows)


def test_one_torch_thread(pool):
    assert {row[0].value for row in pool.run([threads], [Word("fine")])} == {1.0}


def test_overhead_is_small(pool):
    candidates = [Word(f"fine{index}") for index in range(64)]
    pool.run([slow], candidates)
    start = time.perf_counter()
    pool.run([slow], candidates)
    assert time.perf_counter() - start < 64 * 0.002 + 0.5


def test_unpicklable_and_unloadable(pool):
    with pytest.raises(ObjectiveError, match=r"unpicklable.*must pickle"):
        pool.run([unpicklable], [Word("fine")])
    with pytest.raises(ObjectiveError, match="no such library here"):
        pool.run([Unloadable()], [Word("fine")])
    assert pool.run([misbehaving], [Word("fine")])[0][0].value == 0.25


def test_interrupted_call_leaves_a_working_pool(pool):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.run([misbehaving], words(), store=interrupt)
    check(pool.run([misbehaving], words()), words())


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"chunk": 0}, {"timeout": 0.0}])
def test_arguments(wrong):
    with pytest.raises(ConfigError):
        ProcessExecutor(**wrong)


def test_unguarded_script_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from mogen.objective import Measured
        from mogen.oracle import ProcessExecutor
        class Word: key = "a"
        ProcessExecutor(workers=1).run([Measured("x", "", 0, 1)], [1])
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "ObjectiveError: worker processes must start" in done.stderr
