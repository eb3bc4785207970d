"""Products with gradients against those of torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samplers import products


@pytest.mark.parametrize("shape", [(2, 3, 8), (300, 9, 9, 32), (0, 32)])
def test_linear_layers_and_their_gradients_are_those_of_torch(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mine = products.Linear(shape[-1], 64)
    exact = nn.Linear(shape[-1], 64).double()
    exact.load_state_dict(mine.state_dict())
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().double().requires_grad_()
    weight = torch.randn(*shape[:-1], 64)
    found, expected = mine(x), exact(y)
    assert found.shape == expected.shape and torch.allclose(found.double(), expected, atol=1e-5)
    (found * weight).sum().backward()
    (expected * weight.double()).sum().backward()
    for one, other in ((x, y), (mine.weight, exact.weight), (mine.bias, exact.bias)):
        assert one.grad is not None and other.grad is not None
        assert torch.allclose(one.grad.double(), other.grad, atol=1e-3, rtol=1e-4)
    with torch.no_grad():
        assert torch.equal(mine(x), found)


def test_frozen_weights_get_no_gradient_but_let_it_through() -> None:
    torch.manual_seed(0)
    mine = products.Linear(64, 64).requires_grad_(False)
    x = torch.randn(2000, 64, requires_grad=True)
    mine(x).sum().backward()
    assert mine.weight.grad is None and x.grad is not None
    assert torch.allclose(x.grad, mine.weight.sum(0).expand_as(x), atol=1e-4)
