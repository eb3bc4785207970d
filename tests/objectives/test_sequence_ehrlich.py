"""Ehrlich functions against golden values of holo-bench, a plain twin and the whole of a small world."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective import check_objective_set, load_set
from objectives.sequence.ehrlich import TOKENS, AllowedTransitions, Chain, Ehrlich, Landscape, encoded, is_connected

GOLDEN = (
    ("GGGEEGGGGGGGGGGG", 1.0), ("GGGEEGGGGGGGGGGE", 1.0), ("FGGEEGGGGGGDGGGG", 0.4375), ("GGFBEGGDGGGGGGGG", 0.4375),
    ("GCGEEGGEGGGGAGGG", 1.0), ("GAGEEGGGFFGGGGHG", None), ("HGGCBDGGGGGGGGGG", None), ("GGGDEGGGGGGGGDGG", 0.4375),
    ("FGFEEGGGAGGCGGDG", 0.191406), ("DBGGEEEFHADGGGAG", 0.191406), ("CFDGGDBCEFDGGEEE", 0.0),
)  # fmt: skip
"""pytorch-holo 0.0.5, Ehrlich(8, 16, 2, 4, quantization=2, epistasis_factor=0.5, random_seed=3)"""


def test_values_are_those_of_holo_bench():
    allowed = torch.ones(8, 8, dtype=torch.float64)
    for row, banned in enumerate(("4", "7", "0", "2", "3", "", "1", "6")):
        for token in banned:
            allowed[row, int(token)] = 0
    places = torch.tensor([[0, 2, 3, 5], [0, 2, 4, 6]])
    made = Landscape(Chain(allowed / 8), torch.tensor([[6, 6, 4, 6], [6, 6, 6, 6]]), places)
    found = made.value(encoded([text for text, _ in GOLDEN]), 2, 0.5).tolist()
    for value, (_, expected) in zip(found, GOLDEN, strict=True):
        assert math.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-6)


def plain(objective: Ehrlich, text: str) -> float:
    """The definition, letter by letter."""
    made, tokens = objective.landscape(), [TOKENS.index(letter) for letter in text]
    if any(made.chain.transition[a, b] == 0 for a, b in itertools.pairwise(tokens)):
        return math.nan
    product = 1.0
    for motif, places in zip(made.motifs.tolist(), made.places.tolist(), strict=True):
        best = 0
        for begin in range(len(tokens) - places[-1]):
            best = max(best, sum(tokens[begin + at] == token for at, token in zip(places, motif, strict=True)))
        share = math.floor(best / len(motif) * objective.quantization) / objective.quantization
        product *= share * (1 + objective.epistasis * share * (share - 1))
    return product


@pytest.mark.parametrize("options", [{}, {"number": 1, "quantization": 2, "epistasis": 0.7}])
def test_a_plain_twin_agrees(options):
    objective = Ehrlich(seed=1, tokens=6, length=12, motifs=2, motif_length=4, **options)
    texts = objective.start(150, generator=torch.Generator().manual_seed(0))
    letters = torch.randint(6, (150, 12), generator=torch.Generator().manual_seed(1)).tolist()
    texts += [TokenSequence("".join(TOKENS[i] for i in row)) for row in letters]
    found = objective.evaluate(texts)
    expected = torch.tensor([plain(objective, item.text) for item in texts], dtype=torch.float64)
    assert torch.allclose(found, expected, equal_nan=True) and len(found.nan_to_num().unique()) >= 3


def test_the_best_of_a_small_world_is_one_and_is_the_stated_optimum():
    objective = Ehrlich(seed=0, tokens=4, length=6, motifs=2, motif_length=3)
    world = [TokenSequence("".join(word)) for word in itertools.product("ABCD", repeat=6)]
    value = objective.evaluate(world)
    assert float(value.nan_to_num().max()) == 1.0 and bool(value.isnan().any())
    assert objective.evaluate([objective.optimum()]).tolist() == [1.0]
    assert set(value.nan_to_num().unique().mul(9).round().int().tolist()) <= {0, 1, 2, 3, 4, 6, 9}


@pytest.mark.parametrize(("name", "m"), [("ehrlich2", 2), ("ehrlich3", 3), ("ehrlich2_64", 2), ("ehrlich3_64", 3)])
def test_the_sets_conflict_and_start_where_nothing_is_banned(name, m):
    """Each optimum is far from the other functions' optima; random starts are feasible for all functions."""
    objectives = load_set(name)
    parts = objectives.objectives
    best = [item.optimum() for item in parts]
    value = objectives(best).utility
    assert torch.equal(torch.diagonal(value), torch.ones(m, dtype=torch.float64))
    assert float((value - torch.eye(m, dtype=torch.float64)).max()) < 0.1
    start = parts[0].start(50, generator=torch.Generator().manual_seed(0))
    found = objectives(start)
    assert found.is_valid.all() and float(found.utility.max()) < 0.3
    assert all(len({tuple(row) for row in item.landscape().motifs.tolist()}) == 4 for item in parts)
    check_objective_set(objectives, [*start[:3], *best, TokenSequence("AB"), TokenSequence("?" * len(start[0]))])


def test_banned_transitions_can_be_known_beforehand():
    objective, constraint = Ehrlich(), AllowedTransitions()
    letters = torch.randint(32, (200, 32), generator=torch.Generator().manual_seed(1)).tolist()
    texts = [TokenSequence("".join(TOKENS[i] for i in row)) for row in letters]
    texts += objective.start(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(constraint.passes(texts), ~objective.evaluate(texts).isnan())
    assert constraint.passes(texts[-20:]).all() and not constraint.passes(texts[:-20]).all()


def test_chains_are_connected_allow_repeats_and_ban_what_they_say():
    made = Chain.drawn(32, 5)
    assert is_connected(made.allowed) and torch.diagonal(made.allowed).all()
    assert torch.allclose(made.transition.sum(-1), torch.ones(32, dtype=torch.float64))
    assert set(made.allowed.sum(-1).tolist()) <= {25, 26}
    assert not is_connected(torch.eye(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"motifs": 9, "motif_length": 4}, "fit into 32"),
        ({"quantization": 3}, "divides 4"),
        ({"tokens": 1}, "2 to 62 tokens"),
    ],
)
def test_impossible_functions_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        Ehrlich(**options)
