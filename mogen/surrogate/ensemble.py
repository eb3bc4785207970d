"""Deep ensembles: networks that disagree where they have not learned, for data too large for an exact process."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mogen.errors import ConfigError, RunError
from mogen.surrogate.kernel import Kernel, default_kernels, likeness
from mogen.surrogate.network import Encoding, default_encoding
from mogen.surrogate.surrogate import Observations, Surrogate
from mogen.types import C

_LEAST = 1e-3
"""smallest believed standard deviation, of standardised values"""


@final
class DeepEnsemble(Surrogate[C]):
    """Networks of means and noises, each on a bootstrap sample (Lakshminarayanan et al. 2017).

    A member minimises -log N(y; mu(x), s^2(x)) over the values that are known, each standardised. The belief about a
    candidate's values is normal with the mean and the covariance of the members' means over candidates (for e members
    of rank e - 1, and a little on the diagonal); the noise is the members' mean s. Message passing over the atoms of
    molecules, convolutions over the tokens of sequences; trained anew in every round, from the same seed.

    Args:
        members: networks.
        width: of every layer.
        depth: layers that pass messages or convolve.
        steps: gradient steps of every member.
        batch: observations per step.
        learning_rate: of Adam, falling to a tenth along a cosine.
        weight_decay: of Adam.
        seed: of weights, bootstrap samples and batches.
    """

    def __init__(
        self,
        members: int = 5,
        width: int = 64,
        depth: int = 3,
        steps: int = 400,
        batch: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-4,
        seed: int = 0,
    ) -> None:
        if min(width, depth, steps, batch) < 1 or members < 2:
            raise ConfigError(
                "expected at least 2 members and positive width, depth, steps and batch of an ensemble, got "
                f"{members}, {width}, {depth}, {steps} and {batch}"
            )
        self.members, self.width, self.depth, self.steps, self.batch = members, width, depth, steps, batch
        self.learning_rate, self.weight_decay, self.seed = learning_rate, weight_decay, seed
        self.module: EnsembleModule | None = None

    def fit(self, observations: Observations[C]) -> None:
        if not len(observations):
            raise RunError("expected at least one measured candidate to learn a belief from, got none")
        self.encoding: Encoding = default_encoding(observations.candidates)
        self.kernels: list[Kernel] = default_kernels(observations.candidates)
        value = observations.value
        self.centre = value.nanmean(0).nan_to_num(nan=0.5)
        deviation = (value - self.centre).square().nanmean(0).sqrt()
        self.spread = deviation.nan_to_num(nan=1.0).clamp(min=1e-3)
        target = ((value - self.centre) / self.spread).float()
        known = (observations.noise / self.spread).nan_to_num(nan=0.0).float()
        n = len(observations)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            networks = [self.encoding.network(self.width, self.depth, 2 * observations.m) for _ in range(self.members)]
            weight = torch.stack([torch.bincount(torch.randint(n, (n,)), minlength=n) for _ in networks], 1).float()
            data = TensorDataset(*self.encoding.tensors(observations.candidates), target, known, weight)
            self.module = EnsembleModule(networks, self.steps, self.learning_rate, self.weight_decay)
            self._train(DataLoader(data, min(self.batch, n), shuffle=True))
        self.module.eval()
        deviations = [spread for _, spread in self._passes(observations.candidates)]
        self._noise = torch.cat(deviations, 1).square().mean((0, 1)).sqrt() * self.spread

    def _train(self, loader: DataLoader[Any]) -> None:
        assert self.module is not None
        level = logging.getLogger("lightning.pytorch").level
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer = Trainer(
                    max_steps=self.steps, accelerator="auto", devices=1, logger=False, enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=5.0,
                )  # fmt: skip
                trainer.fit(self.module, loader)
        finally:
            logging.getLogger("lightning.pytorch").setLevel(level)

    @torch.no_grad()
    def _passes(self, candidates: Sequence[C], chunk: int = 512) -> list[tuple[Tensor, Tensor]]:
        """Standardised means and noises of every member, e x n x m, chunk by chunk."""
        if self.module is None:
            raise RunError("expected a belief that has been fitted, got one that has seen nothing")
        module = self.module.cpu()
        return [
            tuple(part.double() for part in module(self.encoding.tensors(candidates[at : at + chunk])))  # type: ignore[misc]
            for at in range(0, len(candidates), chunk)
        ]

    def means(self, candidates: Sequence[C]) -> Float[Tensor, "e n m"]:
        """What every member expects."""
        parts = [mean for mean, _ in self._passes(candidates)]
        whole = torch.cat(parts, 1) if parts else torch.zeros(self.members, 0, len(self.spread), dtype=torch.float64)
        return whole * self.spread + self.centre

    @property
    def noise(self) -> Float[Tensor, " m"]:
        if self.module is None:
            raise RunError("expected a belief that has been fitted, got one that has seen nothing")
        return self._noise

    def joint(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "m n n"]]:
        means = self.means(candidates)
        apart = (means - means.mean(0)).permute(2, 0, 1)
        covariance = apart.mT @ apart / (self.members - 1)
        least = (_LEAST * self.spread) ** 2
        return means.mean(0), covariance + least[:, None, None] * torch.eye(means.shape[1], dtype=torch.float64)

    def marginal(self, candidates: Sequence[C]) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
        means = self.means(candidates)
        return means.mean(0), (means.var(0) + (_LEAST * self.spread) ** 2).sqrt()

    def likeness(self, left: Sequence[C], right: Sequence[C]) -> Float[Tensor, "n k"]:
        return likeness(self.kernels, left, right)


@final
class EnsembleModule(LightningModule):
    """Networks trained side by side; none sees another one's loss."""

    def __init__(self, networks: Sequence[nn.Module], steps: int, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.steps, self.learning_rate, self.weight_decay = steps, learning_rate, weight_decay

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Float[Tensor, "e n m"], Float[Tensor, "e n m"]]:
        """Means and noises of every member."""
        found = torch.stack([network(*inputs) for network in self.networks])
        mean, raw = found.chunk(2, -1)
        return mean, nn.functional.softplus(raw) + _LEAST

    def training_step(self, batch: Sequence[Tensor], index: int) -> Tensor:
        *inputs, target, known, weight = batch
        mean, noise = self(inputs)
        is_known = target.isfinite()
        variance = noise**2 + known**2
        error = (target.nan_to_num() - mean) ** 2
        score = 0.5 * (error / variance + variance.log() + math.log(2 * math.pi))
        counted = weight.T[..., None] * is_known
        return (score * counted).sum() / counted.sum().clamp(min=1) * len(self.networks)

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps, self.learning_rate / 10)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
