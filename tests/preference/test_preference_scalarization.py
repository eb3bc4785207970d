import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mogen.errors import ConfigError
from mogen.preference import Dirichlet, Geometric, Tchebycheff, WeightedLogSum, WeightedSum

KINDS = [WeightedSum(), WeightedLogSum(), Tchebycheff(), Geometric()]
unit = st.floats(0, 1)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@settings(deadline=None, derandomize=True)
@given(low=st.lists(unit, min_size=3, max_size=3), rise=st.lists(unit, min_size=3, max_size=3), seed=st.integers(0, 99))
def test_more_of_any_utility_is_never_worth_less(kind, low, rise, seed):
    preference = Dirichlet().sample(1, 3, generator=torch.Generator().manual_seed(seed)).double()[0]
    worse = torch.tensor(low, dtype=torch.float64)
    better = torch.maximum(worse, torch.tensor(rise, dtype=torch.float64))
    before = worse.clone()
    assert kind(better, preference) >= kind(worse, preference) - 1e-12
    assert 0 <= kind(worse, preference) <= 1
    assert torch.equal(worse, before)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_utopia_is_worth_one_and_any_leading_shape_works(kind):
    preference = Dirichlet().sample(10, 3, generator=torch.Generator().manual_seed(0)).reshape(2, 5, 3)
    value = kind(torch.ones(2, 5, 3, dtype=torch.float64), preference)
    assert torch.allclose(value, torch.ones(2, 5, dtype=torch.float64), atol=1e-6)
    assert (kind(torch.zeros(2, 5, 3), preference) <= 1e-7).all()


def test_numbers_checked_with_a_pencil():
    utility, preference = torch.tensor([0.25, 1.0]).double(), torch.tensor([0.5, 0.5]).double()
    assert WeightedSum()(utility, preference).item() == pytest.approx(0.625)
    assert WeightedLogSum()(utility, preference).item() == pytest.approx(0.5)
    assert Tchebycheff()(utility, preference).item() == pytest.approx(0.25)
    assert Geometric()(utility, preference).item() == pytest.approx(0.5)
    assert Tchebycheff()(utility, torch.tensor([0.2, 0.8])).item() == pytest.approx(1 - 0.2 * 0.75 / 0.8)


def test_tchebycheff_prefers_what_is_nearer_to_utopia():
    near, far = torch.tensor([0.9, 0.9]), torch.tensor([0.1, 0.9])
    assert Tchebycheff()(near, torch.tensor([0.5, 0.5])) > Tchebycheff()(far, torch.tensor([0.5, 0.5]))


def test_a_zero_utility_that_nobody_asked_for_costs_nothing():
    utility, preference = torch.tensor([0.0, 0.5]), torch.tensor([0.0, 1.0])
    for kind in (WeightedSum(), WeightedLogSum(), Tchebycheff()):
        assert kind(utility, preference).item() == pytest.approx(0.5)
    assert Geometric()(utility, preference) == 0


def test_a_floor_outside_zero_to_one_is_refused():
    with pytest.raises(ConfigError, match="floor"):
        WeightedLogSum(0.0)
