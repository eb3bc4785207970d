"""Denoising score matching for any product process, as a Lightning module: wiring, optimiser, averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning
import torch
from jaxtyping import Float
from scipy.special import betaincinv
from torch import Tensor

from mogen.training import frozen_copy, update_average
from samplers.diffusion.optimizer import MuonAdamW
from samplers.diffusion.product import Fields, size
from samplers.diffusion.score import NoisyModel

Batches = Callable[[int], Fields]
"""the clean batch of a step, the same whenever it is asked for"""
EVEN = 0.1
"""share of times that are uniform whatever the others follow, so that none is never seen"""


class ScoreModule(lightning.LightningModule):
    """Trains a model of noisy fields; its moving average has decay min(average, (1 + k) / (10 + k)) after k updates.

    The loss of a batch is the mean over items of the weighted sum over fields. Times are uniform on [least_time, 1], or
    follow another Beta distribution, one per item; batch, times and noise of a step depend on the seed and the step
    alone, so that a resumed training ends as an uninterrupted one.

    Args:
        model: what is trained.
        batches: where clean data come from.
        learning_rate: the largest one.
        weight_decay: of the optimiser.
        is_decoupled: AdamW, or Adam with weight decay in the gradient.
        has_muon: whether Muon moves the matrices inside networks.
        average: largest decay of the averaged weights.
        least_time: the smallest time.
        times: parameters of the Beta distribution of nine tenths of the times; 1 and 1 for uniform ones.
        weights: of the fields' losses, 1 where none is given.
        clip: largest norm of the gradient of each of the model's groups.
        warmup: steps in which the learning rate rises.
        total: steps in which it then falls linearly to 2 %; 0 for never.
        decay: what it is multiplied by after every `decay_every` steps instead.
        decay_every: see decay.
        seed: of times and noise.
        watch: called with the number of steps after each of them.
    """

    def __init__(
        self,
        model: NoisyModel,
        batches: Batches,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        is_decoupled: bool = True,
        has_muon: bool = False,
        average: float = 0.999,
        least_time: float = 1e-3,
        times: tuple[float, float] = (1.0, 1.0),
        weights: Mapping[str, float] | None = None,
        clip: float = 1.0,
        warmup: int = 0,
        total: int = 0,
        decay: float | None = None,
        decay_every: int = 1,
        seed: int = 0,
        watch: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self.watch = watch
        self.model, self.averaged = model, frozen_copy(model)
        self.batches, self.seed, self.norm = batches, seed, clip
        self.rate, self.weight_decay, self.is_decoupled = learning_rate, weight_decay, is_decoupled
        self.has_muon = has_muon
        self.average, self.weights = average, dict(weights or {})
        self.least_time, self.times = least_time, times
        self.warmup, self.total, self.decay, self.decay_every = warmup, total, decay, decay_every

    def training_step(self, batch: Any, index: int) -> Tensor:
        del batch, index
        random = torch.Generator().manual_seed((self.seed + 1) * 1_000_000_007 + self.global_step)
        clean = {name: value.to(self.device) for name, value in self.batches(self.global_step).items()}
        t = self.least_time + (1 - self.least_time) * self.drawn(torch.rand(size(clean), generator=random))
        losses = self.model.losses(clean, t.to(self.device), generator=random)
        parts = {name: value.mean() for name, value in losses.items()}
        self.log_dict({f"loss_{name}": value.detach() for name, value in parts.items()})
        loss = torch.stack([self.weights.get(name, 1.0) * value for name, value in parts.items()]).sum()
        self.log("loss", loss.detach())
        return loss

    def drawn(self, uniform: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Times between 0 and 1, out of uniform numbers: a tenth as they are, quantiles of the Beta distribution."""
        a, b = self.times
        if a == b == 1:
            return uniform
        share = uniform.double() / EVEN
        rest = betaincinv(a, b, ((share * EVEN - EVEN) / (1 - EVEN)).clamp(0, 1).numpy())
        return torch.where(share < 1, share, torch.from_numpy(rest)).to(uniform)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        del optimizer
        for group in self.model.groups():
            torch.nn.utils.clip_grad_norm_(group, self.norm)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        del outputs, batch, batch_index
        done = self.global_step
        update_average(self.averaged, self.model, min(self.average, (1 + done) / (10 + done)))
        if self.watch is not None:
            self.watch(done)

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by: a linear rise, then a constant, exponential or linear fall."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.decay is not None:
            return rise * self.decay ** (step // self.decay_every)
        if self.total:
            return rise * max(0.02, 1 - step / self.total)
        return rise

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer()
        # a plain function, of which a checkpoint keeps nothing
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, AdamW, or Muon with AdamW."""
        if self.has_muon:
            return MuonAdamW.of(self.model, lr=self.rate, weight_decay=self.weight_decay)
        kind = torch.optim.AdamW if self.is_decoupled else torch.optim.Adam
        return kind(self.model.parameters(), lr=self.rate, weight_decay=self.weight_decay)
