"""Edits of parent sequences against listing every sequence within reach."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mogen.errors import ConfigError
from samplers.environment.contract import check_environment
from samplers.environment.edit import SequenceEdit
from samplers.environment.exact import all_paths, backward_totals
from samplers.environment.rollout import UniformActor, last_state, retrace, rollout

RFP = "MASSEDVIKEFMRFKVRMEGSVNGHEFEIEGEGEGRPYEGTQTAKLKVTKGGPLPFAWDILSPQFQYGSKAYVKHPADIP"


def reachable(environment: SequenceEdit, parent: str) -> set[str]:
    """Every sequence at an allowed distance from a parent, by trying all of them."""
    allowed = range(len(parent)) if environment.positions is None else environment.positions
    found = set()
    for tokens in itertools.product(environment.alphabet, repeat=len(parent)):
        places = [i for i, (old, new) in enumerate(zip(parent, tokens, strict=True)) if old != new]
        if environment.min_edits <= len(places) <= environment.max_edits and set(places) <= set(allowed):
            found.add("".join(tokens))
    return found


SMALL = [
    SequenceEdit(["ABCA"], "ABC", 2, 0),
    SequenceEdit(["ABCA"], "ABC", 3, 1, [0, 2, 3]),
    SequenceEdit(["AB", "BA", "BCA"], "ABC", 2, 1),
    SequenceEdit(["AAA", "AAB", "ABC"], "ABC", 2, 0, [1, 2]),
]


@pytest.mark.parametrize("environment", [*SMALL, SequenceEdit([RFP]), SequenceEdit([RFP, RFP[:50], RFP[::-1]])])
def test_the_contract_holds(environment: SequenceEdit) -> None:
    check_environment(environment)


@pytest.mark.parametrize("environment", SMALL)
def test_backward_probabilities_of_all_paths_into_each_sequence_sum_to_one(environment: SequenceEdit) -> None:
    totals = backward_totals(environment)
    assert set(totals) == set().union(*(reachable(environment, parent) for parent in environment.parents))
    assert list(totals.values()) == pytest.approx([1.0] * len(totals), abs=1e-6)


def test_backward_probability_is_one_over_the_orders_of_the_edits() -> None:
    """With k edits there are k! orders; MOGFN-AL divides by the number of tokens as well, which is not exact."""
    environment = SequenceEdit(["ABCA"], "ABC", 3, 0)
    trajectories = retrace(environment, all_paths(environment))
    edits = trajectories.final.is_edited.sum(-1)
    expected = [-math.log(math.factorial(k)) for k in edits.tolist()]
    assert trajectories.log_backward.sum(1).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_position_is_edited_once_and_only_where_allowed() -> None:
    environment = SequenceEdit([RFP], max_edits=4, min_edits=2, positions=[3, 10, 11, 20, 33])
    final = rollout(environment, UniformActor(environment), 300, generator=torch.Generator().manual_seed(0)).final
    for sequence in environment.decode(final):
        differs = [i for i, (old, new) in enumerate(zip(RFP, sequence.text, strict=True)) if old != new]
        assert 2 <= len(differs) <= 4 and set(differs) <= {3, 10, 11, 20, 33}


def test_paths_drawn_backward_are_edits_in_any_order() -> None:
    environment = SequenceEdit(["AAAA", "BBBB"], "AB", 3, 0)
    actions = torch.tensor([[[6, 0], [1, 0], [3, 0], [4, 0], [0, 0]]])
    state = last_state(environment, actions.expand(6000, -1, -1))
    assert environment.decode(state)[0].text == "ABAA"
    found = environment.unfold(state, generator=torch.Generator().manual_seed(0))
    again = last_state(environment, found)
    assert all(torch.equal(getattr(again, name), value) for name, value in vars(state).items())
    paths, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(paths) == 6 and int(counts.min()) > 850 and int(counts.max()) < 1150


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"parents": []}, "parent sequences"),
        ({"parents": ["AX"], "alphabet": "AB"}, "alphabet"),
        ({"parents": ["AB"], "alphabet": "AB", "positions": [2]}, "positions"),
        ({"parents": ["AB"], "alphabet": "AB", "min_edits": 3, "max_edits": 4}, "min_edits"),
        ({"parents": ["AB", "AB"], "alphabet": "AB"}, "different"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SequenceEdit(**arguments)


def test_a_saved_environment_comes_back_the_same(tmp_path) -> None:
    environment = SMALL[3]
    again = SequenceEdit.read(tmp_path, environment.describe()["init_args"])
    assert (again.sizes, again.max_steps, again.parents) == (
        environment.sizes,
        environment.max_steps,
        ["AAA", "AAB", "ABC"],
    )


def test_other_parents_take_the_slots_of_the_first_ones() -> None:
    """With three slots and two parents, then others: what is reached is what the new parents reach."""
    environment = SequenceEdit(["AAB", "ABB"], alphabet="ABC", max_edits=1, min_edits=0, slots=3)
    sizes, steps = environment.sizes, environment.max_steps
    assert sizes == (1 + 3 + 3, 3)
    for parents in (["AAB", "ABB"], ["CC", "CCC", "CCB"], ["BB"]):
        environment.adopt(parents)
        check_environment(environment)
        assert (environment.sizes, environment.max_steps) == (sizes, steps)
        totals = backward_totals(environment)
        assert set(totals) == set().union(*(reachable(environment, parent) for parent in parents))
        assert list(totals.values()) == pytest.approx([1.0] * len(totals), abs=1e-6)
    with pytest.raises(ConfigError, match="at most 3 tokens"):
        environment.adopt(["AAAA"])
    with pytest.raises(ConfigError, match="1 to 3 different"):
        environment.adopt(["A", "AB", "B", "BB"])
    assert SequenceEdit(**environment.describe()["init_args"]).sizes == (1 + 3 + 3, 3)
