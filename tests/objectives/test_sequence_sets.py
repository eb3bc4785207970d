"""The named sets of sequences."""

from __future__ import annotations

import pytest

from mogen.domain.sequence import TokenSequence
from mogen.objective import check_objective_set, load_set


@pytest.mark.parametrize(
    "name, text, utility",
    [
        ("bigrams2", "AV" * 18, [1, 0]),
        ("bigrams3", "AVC" * 12, [12 / 18, 12 / 18, 11 / 18]),
        ("bigrams4", "AY" * 9 + "AVC" * 6, [6 / 18, 6 / 18, 5 / 18, 9 / 18]),
        ("unigrams2", "AV" * 8, [8 / 18, 8 / 18]),
        ("unigrams3", "AVC" * 6, [6 / 18] * 3),
        ("unigrams4", "AVCW" * 4, [4 / 18] * 4),
    ],
)
def test_counts_are_divided_by_eighteen(name: str, text: str, utility: list[float]) -> None:
    found = load_set(name)
    assert found([TokenSequence(text)]).utility[0].tolist() == pytest.approx(utility)
    check_objective_set(found, [TokenSequence(text), TokenSequence("MKRT" * 8), TokenSequence("CAVCAY" * 6)])
