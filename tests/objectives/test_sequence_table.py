"""Tables of rewards: the row of a sequence, the file, refusals."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest

from mogen.domain.sequence import TokenSequence
from mogen.errors import DataError
from mogen.objective import check_objective, load_set
from objectives.sequence import TableReward


@pytest.fixture
def table(tmp_path) -> str:
    np.savez(tmp_path / "table.npz", reward=np.arange(27.0) - 2, alphabet=np.array(list("abc")))
    return str(tmp_path / "table.npz")


def test_rows_are_in_lexicographic_order(table: str) -> None:
    objective = TableReward(table)
    texts = [TokenSequence("".join(tokens)) for tokens in itertools.product("abc", repeat=3)]
    assert objective.evaluate(texts).tolist() == [index - 2.0 for index in range(27)]
    assert (objective.length, objective.best, objective.worst) == (3, 24.0, 0.0)
    assert all(math.isnan(value) for value in objective.evaluate([TokenSequence("ab"), TokenSequence("abd")]).tolist())
    check_objective(objective, texts)


def test_what_is_no_table_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MOGEN_DATA", raising=False)
    with pytest.raises(DataError, match="MOGEN_DATA is not set"):
        TableReward()
    with pytest.raises(DataError, match="none at"):
        TableReward(str(tmp_path / "missing.npz"))
    np.savez(tmp_path / "short.npz", reward=np.arange(26.0), alphabet=np.array(list("abc")))
    with pytest.raises(DataError, match="one length"):
        TableReward(str(tmp_path / "short.npz"))


@pytest.mark.skipif("MOGEN_DATA" not in os.environ, reason="needs the table of rewards in MOGEN_DATA")
def test_the_published_table() -> None:
    objective = load_set("qm9_strings").objectives[0]
    assert isinstance(objective, TableReward)
    assert (objective.length, objective.alphabet, len(objective.rewards())) == (5, "0123456789a", 11**5)
    values = objective.evaluate([TokenSequence("00000"), TokenSequence("0000a"), TokenSequence("aaaaa")])
    assert values.tolist() == objective.rewards()[[0, 10, -1]].tolist()
