"""`kill -9` at any moment loses no measurement that was acknowledged."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from oracle_objectives import Counted, Word

from mogen.objective import ObjectiveSet
from mogen.oracle import Ledger, Oracle

CHILD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from oracle_objectives import Counted, Word
from mogen.objective import ObjectiveSet
from mogen.oracle import Ledger, Oracle
oracle = Oracle(ObjectiveSet([Counted()]), Ledger(sys.argv[1]), budget=10**6)
print("ready", flush=True)
for start in range(0, 10**6, 8):
    oracle([Word(str(number)) for number in range(start, start + 8)])
    print(start, flush=True)
"""


def test_kill_at_random_points(tmp_path):
    chance, path, top = random.Random(0), tmp_path / "ledger.sqlite", -8
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.02, 0.4))
        child.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().split("\n")[:-1] if line]
        child.wait()
        child.stdout.close()
        top = max([top, *acknowledged])
        with Ledger(path) as ledger:
            keys = [str(number) for number in range(top + 8)]
            known = ledger.get([str(number) for number in range(top + 16)], Counted().identity)
            assert set(keys) <= set(known) and all(value == float(key) for key, (value, _) in known.items())
            assert [row.key for row in ledger.asked("mogen")][: len(keys)] == keys
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert top >= 0
    objective = Counted()
    with Ledger(path) as ledger:
        asked = Oracle(ObjectiveSet([objective]), ledger, budget=10**6)
        wanted = [Word(str(number)) for number in range(top + 40)]
        missing = len(wanted) - len(ledger.get([word.key for word in wanted], objective.identity))
        asked.truncate(5)
        assert asked(wanted).raw[:, 0].tolist() == list(range(top + 40))
        assert objective.calls == missing and asked.history().keys == [word.key for word in wanted]
