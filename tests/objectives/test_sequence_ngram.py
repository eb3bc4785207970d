"""N-gram counts against naive counting; their exact fronts against brute force and mogfn.md 2.2."""

from __future__ import annotations

import itertools

import pytest

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective import ObjectiveSet, check_objective
from mogen.pareto import hypervolume
from objectives.sequence import NGram, attainable_counts, ngram_front


@pytest.mark.parametrize(
    "words, lengths, size, volume",
    [
        (["AV", "VC"], (32, 36), 13, 0.629630),
        (["AV", "VC", "CA"], (32, 36), 21, 0.409294),
        (["AV", "VC", "CA", "AY"], (32, 36), 309, 0.106186),
        (["A", "V"], (16, 18), 19, 0.472222),
        (["A", "V", "C"], (16, 18), 190, 0.139918),
        (["A", "V", "C", "W"], (16, 18), 1330, 0.029150),
    ],
)
def test_exact_fronts(words: list[str], lengths: tuple[int, int], size: int, volume: float) -> None:
    front = ngram_front(words, min_length=lengths[0], max_length=lengths[1])
    assert len(front) == size
    assert hypervolume(front) == pytest.approx(volume, abs=5e-7)


@pytest.mark.parametrize(
    "words, alphabet, lengths",
    [
        (["AB", "BC"], "ABCD", (3, 5)),
        (["AB", "BA", "AA"], "AB", (2, 7)),
        (["ABA", "B", "AAAA"], "ABZ", (1, 6)),
        (["ABCAB", "CAB"], "ABC", (6, 7)),
    ],
)
def test_attainable_counts_are_those_of_all_sequences(
    words: list[str], alphabet: str, lengths: tuple[int, int]
) -> None:
    objectives = ObjectiveSet([NGram(word) for word in words])
    texts = [
        TokenSequence("".join(tokens))
        for length in range(lengths[0], lengths[1] + 1)
        for tokens in itertools.product(alphabet, repeat=length)
    ]
    expected = {tuple(row) for row in objectives(texts).raw.long().tolist()}
    found = attainable_counts(words, min_length=lengths[0], max_length=lengths[1], alphabet_size=len(alphabet))
    assert {tuple(row) for row in found.tolist()} == expected


def test_overlapping_and_other_occurrences() -> None:
    texts = [TokenSequence(text) for text in ("AAAA", "AVAVA", "", "VAA.AA")]
    assert NGram("AA").evaluate(texts).tolist() == [3, 0, 0, 2]
    assert NGram("AA", overlapping=False).evaluate(texts).tolist() == [2, 0, 0, 2]
    assert NGram("AVA").evaluate(texts).tolist() == [0, 2, 0, 0]
    naive = [sum(text.key[i : i + 2] == "AV" for i in range(len(text))) for text in texts]
    assert NGram("AV").evaluate(texts).tolist() == naive


def test_the_contract_and_refusals() -> None:
    check_objective(NGram("AV"), [TokenSequence("AVAV"), TokenSequence("CCC")])
    assert NGram("AV").identity != NGram("AV", overlapping=False).identity
    with pytest.raises(ConfigError, match="word"):
        NGram("")
    with pytest.raises(ConfigError, match="min_length"):
        attainable_counts(["AV"], min_length=5, max_length=4)
