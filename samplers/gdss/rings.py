"""What is likely of rings in a noisy graph: walks that never turn back, and edges that are no bridges."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplers.products import Linear

LEAK = 1e-3
"""conductance between every node and a common ground, so that parts without an edge between them have a resistance"""


@final
class Likely(nn.Module):
    """How likely every pair has an edge, by what noise left of its own class: Bayes' rule with learned odds.

    Args:
        classes: classes of edges; the first is none.
        width: of the time's embedding.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.odds = Linear(width, classes + 1)
        nn.init.zeros_(self.odds.weight)
        with torch.no_grad():
            self.odds.bias.zero_()
            self.odds.bias[:2] = torch.tensor([1.0, 3.0])  # few edges at first, for many would drown every count

    def forward(self, adj: Float[Tensor, "b v v k"], told: Float[Tensor, "b d"]) -> Float[Tensor, "b v v"]:
        sharpness, odds = self.odds(told).view(len(adj), 1, 1, -1).tensor_split([1], dim=-1)
        mean = (adj + adj.transpose(1, 2)) / 2
        return 1 - (odds + sharpness.exp() * mean).softmax(-1)[..., 0]


def ring_features(
    edges: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"], steps: int
) -> Float[Tensor, "b v v {steps + 1}"]:
    """Numbers n of walks of 2, 3, ... steps that never turn back, as n / (1 + n), and what `spared` says.

    Exact where every edge is 0 or 1 (A_{k+1} = A_k A - A_{k-1} (D - 1), Alon et al. 2007); weights in between are
    products of their edges, less about those that turn back.
    """
    back = edges.square().sum(-1)
    before, now = edges, edges @ edges - torch.diag_embed(back)
    turning, found = (back - 1).clamp(min=0).unsqueeze(1), [now]
    for _ in range(steps - 2):
        before, now = now, now @ edges - before * turning
        found.append(now)
    counts = torch.stack(found, dim=-1)
    return torch.cat([counts / (1 + counts.abs()), spared(edges.detach(), mask)], dim=-1)


@torch.no_grad()
def spared(edges: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]) -> Float[Tensor, "b v v 2"]:
    """How much of a pair's edge a spanning tree spares, and how far apart its nodes are.

    With the effective resistance R of edges A as conductances, a random spanning tree holds an edge with the
    probability A R (Kirchhoff 1847): A (1 - A R) is 1 / n for the edges of a lone ring of n, whatever n, and 0 for
    bridges; its sum over edges is the number of rings. The other is R / (1 + R). Nodes have, on the diagonal, the sum
    of the one and the mean of the other.
    """
    within = mask.unsqueeze(1) * mask.unsqueeze(2)
    laplacian = torch.diag_embed(edges.sum(-1) + LEAK * mask + (1 - mask)) - edges
    whole = laplacian.float() + within.float() / mask.float().sum(1).view(-1, 1, 1)
    inverse, _ = torch.linalg.inv_ex(whole)  # never singular; `inv` would wait for a GPU to say so
    ground = inverse.diagonal(dim1=1, dim2=2)
    apart = ((ground.unsqueeze(1) + ground.unsqueeze(2) - 2 * inverse) * within).clamp(min=0).to(edges)
    pairs = torch.stack([edges * (1 - edges * apart).clamp(min=0), apart / (1 + apart)], dim=-1)
    own = pairs.sum(2) / torch.stack([torch.ones_like(mask), mask.sum(1, keepdim=True).expand_as(mask)], dim=-1)
    return pairs + torch.diag_embed(own.mT).permute(0, 2, 3, 1)
