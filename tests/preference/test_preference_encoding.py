import pytest
import torch

from mogen.errors import ShapeError
from mogen.preference import thermometer


def test_numbers_checked_with_a_pencil():
    value = torch.tensor([0.0, 0.25, 0.75, 1.0, 2.0])
    expected = [[0, 0, 0], [0.5, 0, 0], [1, 0.5, 0], [1, 1, 0], [1, 1, 1]]
    assert thermometer(value, 3).tolist() == expected


def test_any_leading_shape_and_range_work_and_inputs_stay():
    value = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0)) * 32
    before = value.clone()
    code = thermometer(value, 16, 0, 32)
    assert code.shape == (2, 4, 3, 16) and torch.equal(value, before)
    assert torch.allclose(code.sum(-1) * 32 / 15, value, atol=1e-4)


def test_a_thermometer_without_gap_is_refused():
    with pytest.raises(ShapeError, match="at least 2 bins"):
        thermometer(torch.zeros(1), 1)
    with pytest.raises(ShapeError, match="high above low"):
        thermometer(torch.zeros(1), 4, 1, 1)
