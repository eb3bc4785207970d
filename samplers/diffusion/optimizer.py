"""Two optimisers as one: Muon for the matrices inside a network, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self, final

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from mogen.errors import ConfigError, RunError


def inner_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The matrices inside the `blocks` of networks, whose inputs and outputs are both hidden states."""
    found: list[nn.Parameter] = []
    for part in model.modules():
        blocks = getattr(part, "blocks", None)
        if isinstance(blocks, nn.ModuleList):
            found += [item for item in blocks.parameters() if item.ndim == 2 and item.requires_grad]
    return list({id(item): item for item in found}.values())


@final
class MuonAdamW(Optimizer):
    """Steps along the orthogonalised momentum of matrices (Muon, Jordan 2024), and AdamW's of all other parameters.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025), so that both have one learning rate.

    Args:
        matrices: two-dimensional parameters for Muon.
        rest: the other parameters.
        lr: the learning rate.
        weight_decay: of both.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], rest: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> None:
        first, second = list(matrices), list(rest)
        self.parts: list[Optimizer] = []
        super().__init__([{"params": first}, {"params": second}], {"lr": lr})
        self.parts = [
            Muon(first, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            AdamW(second, lr=lr, weight_decay=weight_decay),
        ]
        self._share_groups()

    @classmethod
    def of(cls, model: nn.Module, *, lr: float, weight_decay: float) -> Self:
        """Both for the parameters of a model that learn; raises `ConfigError` where it has no matrix for Muon."""
        matrices = inner_matrices(model)
        if not matrices:
            raise ConfigError("expected a network with blocks for the optimizer muon, got one without: use adam")
        taken = {id(item) for item in matrices}
        rest = [item for item in model.parameters() if item.requires_grad and id(item) not in taken]
        return cls(matrices, rest, lr, weight_decay)

    def _share_groups(self) -> None:
        """The parts' groups of parameters are this one's, so that a schedule of learning rates reaches them."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "parts" not in state_dict:
            raise RunError("expected a checkpoint of the optimizer muon, got one of another: optimizer: adam goes on")
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
