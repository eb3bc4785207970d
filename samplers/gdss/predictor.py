"""What noisy graphs will be worth: one network with a head per objective, told the time, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplers.diffusion import Fields, NoisyModel, ProductSDE
from samplers.gdss.transformer import Block, time_features


@final
class ValueNetwork(nn.Module):
    """The expected values (not clamped) of the clean graphs behind noisy ones.

    The blocks of the graph transformer, a gated sum and mean over nodes, then a perceptron per objective.

    Args:
        features: numbers per node.
        channels: numbers per edge; 1 where edges are plain numbers.
        objectives: heads.
        width: of node states.
        edge_width: of edge states.
        depth: blocks.
        heads: attention heads.
    """

    def __init__(
        self,
        features: int,
        channels: int,
        objectives: int,
        width: int = 64,
        edge_width: int = 16,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.options = {
            "features": features,
            "channels": channels,
            "objectives": objectives,
            "width": width,
            "edge_width": edge_width,
            "depth": depth,
            "heads": heads,
        }
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.node_in, self.edge_in = nn.Linear(features, width), nn.Linear(channels, edge_width)
        self.blocks = nn.ModuleList(Block(width, edge_width, heads) for _ in range(depth))
        self.gate = nn.Linear(width, 2 * width)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, 1)) for _ in range(objectives)
        )
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(objectives))
        self.register_buffer("spread", torch.ones(objectives))

    def scale(self, value: Float[Tensor, "n m"]) -> None:
        """Takes the mean and spread of values as those of the heads."""
        self.mean.copy_(value.mean(0))
        self.spread.copy_(value.std(0, unbiased=False).clamp(min=1e-6))

    def forward(self, fields: Fields, t: Float[Tensor, " b"]) -> Float[Tensor, "b m"]:
        mask = fields["mask"]
        adj = fields["adj"] if fields["adj"].ndim == 4 else fields["adj"].unsqueeze(-1)
        told = self.time(time_features(t, mask.sum(1)))
        nodes, edges = self.node_in(fields["x"]), self.edge_in(adj)
        for block in self.blocks:
            nodes, edges = block(nodes, edges, mask, told)
        gate, state = self.gate(nodes).chunk(2, dim=-1)
        total = (gate.sigmoid() * state.tanh() * mask.unsqueeze(-1)).sum(1)
        count = mask.sum(1, keepdim=True).clamp(min=1)
        seen = torch.cat([total / 10, total / count, told], dim=1)
        return self.mean + self.spread * torch.cat([head(seen) for head in self.heads], dim=1)


@final
class ValueModel(NoisyModel):
    """A network of values, trained on noisy graphs whose clean values are `value` among the fields.

    Args:
        network: the network.
        process: what makes graphs noisy.
    """

    def __init__(self, network: ValueNetwork, process: ProductSDE) -> None:
        super().__init__()
        self.network, self.process = network, process

    def losses(
        self, clean: Fields, t: Float[Tensor, " b"], *, generator: torch.Generator | None = None
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """The mean squared error over objectives, in units of their spread (Lee et al. 2023)."""
        noisy = self.process.perturb(clean, t, generator=generator)
        error = (self.network(noisy.fields, t) - clean["value"]) / self.network.spread
        return {"value": (error**2).mean(1)}
