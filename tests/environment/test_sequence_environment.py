"""The sequence environment against listing every sequence."""

from __future__ import annotations

import itertools

import pytest
import torch

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from samplers.environment.aptamer import aptamers
from samplers.environment.contract import check_environment
from samplers.environment.exact import all_paths, backward_totals
from samplers.environment.rollout import UniformActor, last_state, rollout
from samplers.environment.sequence import SequenceEnvironment


@pytest.mark.parametrize(
    "environment", [SequenceEnvironment(), aptamers(), SequenceEnvironment("01", 1, 1), SequenceEnvironment("AB", 3, 3)]
)
def test_the_contract_holds(environment: SequenceEnvironment) -> None:
    check_environment(environment)


def test_every_sequence_has_one_path() -> None:
    environment = SequenceEnvironment("ABC", 2, 4)
    expected = {"".join(tokens) for length in (2, 3, 4) for tokens in itertools.product("ABC", repeat=length)}
    totals = backward_totals(environment)
    assert set(totals) == expected and set(totals.values()) == {1.0}
    assert len(all_paths(environment)) == len(expected)


def test_lengths_stay_within_their_limits() -> None:
    environment = aptamers(30, 60)
    final = rollout(environment, UniformActor(environment), 500, generator=torch.Generator().manual_seed(0)).final
    lengths = {len(sequence) for sequence in environment.decode(final)}
    assert min(lengths) == 30 and max(lengths) <= 60 and len(lengths) > 5
    assert {token for sequence in environment.decode(final) for token in sequence.text} == set("ACGT")


def test_sequences_become_states_and_paths() -> None:
    environment = SequenceEnvironment("ABC", 2, 4)
    sequences = [TokenSequence("AB"), TokenSequence("CCCA"), TokenSequence("BAB")]
    state = environment.encode(sequences)
    assert environment.decode(state) == sequences and bool(environment.is_terminal(state).all())
    again = last_state(environment, environment.unfold(state))
    for name, value in vars(state).items():
        assert torch.equal(getattr(again, name), value), name
    assert environment.unfold(state)[:, :, 0].tolist() == [[1, 2, 0, 0], [3, 3, 3, 1], [2, 1, 2, 0]]
    for text in ("A", "ABD", "AAAAA"):
        with pytest.raises(ConfigError, match="2 to 4 tokens"):
            environment.encode([TokenSequence(text)])


def test_features_tell_states_apart() -> None:
    environment = SequenceEnvironment("ABC", 1, 3)
    paths = all_paths(environment)
    states = [environment.features(last_state(environment, paths[:, :step])) for step in range(4)]
    assert len(torch.cat(states).unique(dim=0)) == 1 + 3 + 9 + 27 + 3 + 9  # unfinished ones, full ones, stopped ones


def test_bad_arguments_are_refused_and_good_ones_saved(tmp_path) -> None:
    with pytest.raises(ConfigError, match="different characters"):
        SequenceEnvironment("AA")
    with pytest.raises(ConfigError, match="min_length"):
        SequenceEnvironment("AB", 0, 3)
    environment = SequenceEnvironment("AB", 2, 3)
    again = SequenceEnvironment.read(tmp_path, environment.describe()["init_args"])
    assert (again.alphabet, again.min_length, again.max_length) == ("AB", 2, 3)
