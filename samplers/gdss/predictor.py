"""What noisy graphs will be worth: one network with a head per objective, told the time, with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplers.diffusion import Fields, NoisyModel, ProductSDE
from samplers.gdss.packed import pairs_of
from samplers.gdss.transformer import GraphTransformer, pair_mask


@final
class ValueNetwork(nn.Module):
    """The expected values (not clamped) of the clean graphs behind noisy ones.

    Sums over nodes and over pairs of what a graph transformer's states say, and of the clean classes it expects, then
    a perceptron per objective. Where the transformer begins as the one the graphs are drawn with, a few labels suffice:
    what noisy graphs will become it knows already.

    Args:
        body: the transformer; where its `edge_classes` are 2, edges may also be plain numbers.
        objectives: heads.
        width: of what is summed.
    """

    def __init__(self, body: GraphTransformer, objectives: int, width: int = 64) -> None:
        super().__init__()
        self.body = body
        options = body.options
        self.node, self.edge = reader(options["width"], width), reader(options["edge_width"], width)
        seen = 2 * width + options["features"] + options["edge_classes"] + 1
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(seen, width), nn.SiLU(), nn.Linear(width, 1)) for _ in range(objectives)
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
        mask, adj = fields["mask"], fields["adj"]
        if adj.ndim == 3:
            fields = {**fields, "adj": torch.stack([1 - adj, adj], dim=-1)}
        fields = {name: value for name, value in fields.items() if not name.startswith("last_")}
        nodes, edges = self.body.states(fields, t)
        x, y = (part.softmax(-1) for part in self.body.classes(nodes, edges))
        exists, linked = mask.unsqueeze(-1), pair_mask(mask).unsqueeze(-1)
        sums = [(part * exists).sum(1) for part in (self.node(nodes), x)]
        pairs = pairs_of(mask.shape[1], mask.device)
        sums += [(self.edge(2 * edges) * pairs.pack(linked)).sum(1), (y * linked).sum((1, 2)) / 2]
        seen = torch.cat([*sums, mask.sum(1, keepdim=True)], dim=1) / 10
        return self.mean + self.spread * torch.cat([head(seen) for head in self.heads], dim=1)


def reader(width: int, out: int) -> nn.Sequential:
    """What states say about the whole graph."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out), nn.SiLU(), nn.Linear(out, out), nn.SiLU())


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
        """The mean squared error over objectives, in units of their spread (Lee et al. 2023), at the times t^2.

        Squared, for only where there is little noise a graph tells what it is worth.
        """
        t = t**2
        noisy = self.process.perturb(clean, t, generator=generator)
        error = (self.network(noisy.fields, t) - clean["value"]) / self.network.spread
        return {"value": (error**2).mean(1)}
