"""An exponential moving average of a module's parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy that takes no gradients."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * module, parameter by parameter."""
    old: list[torch.Tensor] = list(average.parameters())
    new: list[torch.Tensor] = list(module.parameters())
    torch._foreach_lerp_(old, new, 1 - decay)
