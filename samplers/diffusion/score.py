"""What denoising score matching needs of a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samplers.diffusion.product import Fields, ProductSDE
from samplers.diffusion.sde import over


class NoisyModel(nn.Module):
    """What can be trained on noisy fields: a network with the process that makes them."""

    process: ProductSDE

    @abstractmethod
    def losses(
        self, clean: Fields, t: Float[Tensor, " b"], *, generator: torch.Generator | None = None
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """What a clean batch, made noisy to its times, costs: one number per item for every part of the loss."""

    def groups(self) -> Iterable[Iterable[nn.Parameter]]:
        """Parameters whose gradients are clipped together."""
        return [self.parameters()]


class ScoreModel(NoisyModel):
    """A network that stands for a score."""

    @abstractmethod
    def score(self, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        """The gradient of the log-density of noisy fields."""

    def losses(
        self, clean: Fields, t: Float[Tensor, " b"], *, generator: torch.Generator | None = None
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """Denoising score matching: half the squared error of the score, weighted, summed over each item's entries."""
        noisy = self.process.perturb(clean, t, generator=generator)
        return matching(self.process, self.score(noisy.fields, t), noisy.score, t)


def matching(
    process: ProductSDE, score: Fields, target: Fields, t: Float[Tensor, " b"]
) -> dict[str, Float[Tensor, " b"]]:
    """weight(t) |s - target|^2 / 2 per item and field (Song et al. 2021, eq. 7; Jo et al. 2022, eq. 4)."""
    found = {}
    for name, sde in process.items():
        error = score[name] - target[name]
        found[name] = (over(sde.weight(t) / 2, error) * error**2).flatten(1).sum(1)
    return found
