"""Strings grown at both ends against enumeration; one-ended ones agree on what there is."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
import torch

from mogen.errors import ConfigError, ShapeError
from samplers.environment.contract import check_environment
from samplers.environment.exact import all_paths, backward_totals, l1_distance, target_distribution
from samplers.environment.rollout import UniformActor, last_state, rollout
from samplers.environment.sequence import SequenceEnvironment
from samplers.environment.strings import StringEnvironment


@pytest.mark.parametrize("environment", [StringEnvironment(), StringEnvironment("ab", 1), StringEnvironment("abc", 7)])
def test_the_contract_holds(environment: StringEnvironment) -> None:
    check_environment(environment)


def test_backward_probabilities_of_all_paths_into_each_string_sum_to_one() -> None:
    environment = StringEnvironment("abc", 4)
    totals = backward_totals(environment)
    assert set(totals) == {"".join(tokens) for tokens in itertools.product("abc", repeat=4)}
    assert list(totals.values()) == pytest.approx([1.0] * 81, abs=1e-6)
    assert len(all_paths(environment)) == 81 * 2**3


def test_strings_are_listed_in_lexicographic_order() -> None:
    environment = StringEnvironment("abc", 3)
    listed = [item.text for item in environment.decode(environment.terminals())]
    assert listed == ["".join(tokens) for tokens in itertools.product("abc", repeat=3)]
    assert len(environment.states().length) == 1 + 3 + 9
    assert len(StringEnvironment().terminals().length) == 161_051


def test_the_exact_distribution_is_the_sum_over_all_paths() -> None:
    environment = StringEnvironment("abc", 3)
    states = environment.states()
    allowed = environment.allowed(states, torch.zeros(len(states.length), 0, dtype=torch.long))
    logits = torch.randn(2, *allowed.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    row = {item.text: index for index, item in enumerate(environment.decode(states))}
    paths = all_paths(environment)
    log_forward = torch.zeros(2, len(paths), dtype=torch.float64)
    for step in range(3):
        at = [row[item.text] for item in environment.decode(last_state(environment, paths[:, :step]))]
        log_forward += table[:, at, paths[:, step, 0]]
    index = {item.text: i for i, item in enumerate(environment.decode(environment.terminals()))}
    ends = torch.tensor([index[item.text] for item in environment.decode(last_state(environment, paths))])
    expected = torch.zeros(2, 27, dtype=torch.float64).index_add_(1, ends, log_forward.exp())
    assert torch.allclose(environment.terminal_distribution(table), expected, atol=1e-14)
    with pytest.raises(ShapeError, match="13 strings"):
        environment.terminal_distribution(table[0, :5])


def test_paths_drawn_backward_are_equally_likely() -> None:
    environment = StringEnvironment("abcd", 4)
    target = environment.terminals()
    many = type(target)(target.tokens[27:28].expand(16_000, -1), target.length[27:28].expand(16_000))
    actions = environment.unfold(many, generator=torch.Generator().manual_seed(0))
    assert torch.equal(last_state(environment, actions).tokens, many.tokens)
    paths, counts = actions[..., 0].unique(dim=0, return_counts=True)
    assert len(paths) == 8 and int(counts.min()) > 1800 and int(counts.max()) < 2200


@pytest.mark.skipif("MOGEN_DATA" not in os.environ, reason="needs the table of rewards in MOGEN_DATA")
def test_a_histogram_of_exact_samples_is_a_known_distance_away() -> None:
    """One million exact samples of p proportional to max(R, 0) give an L1 of .31 by their histogram."""
    path = os.path.join(os.environ["MOGEN_DATA"], "molecules", "qm9str_exact_rewards.npz")
    with np.load(path) as file:
        reward = torch.from_numpy(file["reward"]).double().clamp(min=0)
    exact = target_distribution(reward.log())
    drawn = torch.multinomial(exact, 1_000_000, replacement=True, generator=torch.Generator().manual_seed(0))
    histogram = torch.bincount(drawn, minlength=len(exact)) / 1_000_000
    assert float(l1_distance(histogram, exact)) == pytest.approx(0.31, abs=0.01)


def test_one_ended_growth_makes_the_same_strings() -> None:
    one, both = SequenceEnvironment("ab", 3, 3), StringEnvironment("ab", 3)
    finals = [
        rollout(item, UniformActor(item), 400, generator=torch.Generator().manual_seed(0)).final for item in (one, both)
    ]
    assert set(one.decode(finals[0])) == set(both.decode(finals[1]))


def test_bad_arguments_are_refused_and_good_ones_saved(tmp_path) -> None:
    with pytest.raises(ConfigError, match="strings to list"):
        StringEnvironment("0123456789", 9)
    again = StringEnvironment.read(tmp_path, StringEnvironment("xy", 4).describe()["init_args"])
    assert (again.alphabet, again.length) == ("xy", 4)
