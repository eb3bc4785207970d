import pytest
import torch

from mogen.errors import ConfigError, ShapeError
from mogen.preference import Dirichlet, Fixed, SimplexLattice, simplex_lattice

KINDS = [Dirichlet(), Dirichlet(0.01), Dirichlet(1.5), SimplexLattice(4), Fixed([0.2, 0.3, 0.5])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, 1, 50])
def test_rows_are_on_the_simplex_and_repeat_with_the_generator(kind, n):
    first, second = (kind.sample(n, 3, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (n, 3) and first.dtype == torch.float32
    assert (first >= 0).all() and torch.allclose(first.sum(1), torch.ones(n))


def test_dirichlet_one_has_the_moments_of_the_uniform_simplex():
    rows = Dirichlet().sample(20_000, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(rows.mean(0), torch.full((3,), 1 / 3), atol=0.01)
    assert torch.allclose(rows.var(0), torch.full((3,), 1 / 18), atol=0.003)


def test_the_lattice_has_all_rows_once_with_the_corners():
    lattice = simplex_lattice(3, 4)
    assert lattice.shape == (15, 3) and lattice.dtype == torch.float64
    assert len({tuple(row) for row in (lattice * 4).round().int().tolist()}) == 15
    for corner in torch.eye(3, dtype=torch.float64):
        assert (lattice == corner).all(1).any()
    assert simplex_lattice(1, 5).tolist() == [[1.0]]


def test_the_lattice_given_out_cannot_be_spoilt():
    simplex_lattice(2, 2).zero_()
    assert simplex_lattice(2, 2).sum() == 3


def test_lattice_rows_are_multiples():
    rows = SimplexLattice(5).sample(30, 4, generator=torch.Generator().manual_seed(0)) * 5
    assert torch.allclose(rows, rows.round(), atol=1e-5)


def test_what_is_no_preference_is_refused():
    for wrong in ([0.5, 0.6], [-0.5, 1.5], [], [float("nan")]):
        with pytest.raises(ConfigError, match="sum to 1"):
            Fixed(wrong)
    with pytest.raises(ShapeError, match="3 values"):
        Fixed([1.0]).sample(2, 3)
    with pytest.raises(ConfigError, match="concentration"):
        Dirichlet(0)
    with pytest.raises(ConfigError, match="partitions"):
        SimplexLattice(0)
    with pytest.raises(ShapeError, match="at least one objective"):
        simplex_lattice(0, 3)
