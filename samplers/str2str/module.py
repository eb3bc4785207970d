"""Training of the denoiser with Lightning: resumable, with an average of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor

from mogen.domain.backbone import Backbone
from mogen.training import frozen_copy, update_average
from mogen.training.loop import train_steps
from samplers.diffusion import Fields
from samplers.str2str.data import Batches
from samplers.str2str.loss import Losses, losses
from samplers.str2str.network import Denoiser
from samplers.str2str.process import EARLIEST, fields_of, network_prediction, perturbed, process


class DenoiserModule(LightningModule):
    """Denoising of chains at random times; every draw of a step depends on the seed and the step alone.

    Args:
        network: what is trained.
        batches: where chains come from.
        validation: chains on which the averaged network is judged, at fixed times with fixed noise.
        learning_rate: of Adam, after a linear rise.
        warmup: steps of that rise.
        decay: of the averaged weights.
        clip: largest global norm of the gradient.
        latest: the largest time trained on.
        fixed_share: share of chains in which a random stretch of residues is fixed.
        bf16: whether matrix products are in bfloat16.
        skew: times are `EARLIEST + span u^skew` with u uniform: above 1, more of them are small.
        chain_weight, clash_weight: of our losses of peptide units and of clashes; 0 is the published loss.
        steps, cooldown: over the last `cooldown` of `steps` steps the learning rate falls linearly to 0.
    """

    def __init__(
        self,
        network: Denoiser,
        batches: Batches,
        validation: Sequence[Backbone] = (),
        *,
        learning_rate: float = 1e-4,
        warmup: int = 100,
        decay: float = 0.999,
        clip: float = 1.0,
        latest: float = 1.0,
        fixed_share: float = 0.1,
        bf16: bool = False,
        skew: float = 1.0,
        chain_weight: float = 0.0,
        clash_weight: float = 0.0,
        steps: int = 0,
        cooldown: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.average = network, frozen_copy(network)
        self.batches, self.held = batches, list(validation)
        self.learning_rate, self.warmup, self.decay, self.clip = learning_rate, warmup, decay, clip
        self.latest, self.fixed_share, self.bf16 = latest, fixed_share, bf16
        self.skew, self.steps, self.cooldown = skew, steps, cooldown
        self.chain_weight, self.clash_weight = chain_weight, clash_weight
        self.sde = process()

    def configure_optimizers(self) -> Any:
        used = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(used, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """What the learning rate is multiplied by: it rises over the warm-up and falls over the cool-down."""
        fall = max(0.0, (self.steps - step) / self.cooldown) if self.cooldown else 1.0
        return min(1.0, (step + 1) / max(1, self.warmup), fall)

    def training_step(self, _: int, index: int) -> Tensor:
        del index
        generator = self.batches.generator(self.global_step)
        chains = self.batches.at(self.global_step, generator)
        fixed = [self._stretch(len(chain), generator) for chain in chains]
        clean = {name: value.to(self.device) for name, value in fields_of(chains, fixed).items()}
        t = EARLIEST + (self.latest - EARLIEST) * torch.rand(len(chains), generator=generator) ** self.skew
        found = self.judged(self.network, clean, t.to(self.device), generator, self_condition=self._coin(generator))
        for name, value in found._asdict().items():
            self.log(f"train_{name}", value.detach().mean(), batch_size=len(chains))
        return found.total.mean()

    def judged(
        self,
        network: Denoiser,
        clean: Fields,
        t: Float[Tensor, " b"],
        generator: torch.Generator,
        *,
        self_condition: bool,
    ) -> Losses:
        """The losses of a network's prediction from noise at t; with what it has seen in a first pass, or without."""
        predict = network_prediction(network, bf16=self.bf16)
        noisy = perturbed(self.sde, clean, t, generator=generator)
        if self_condition:
            with torch.no_grad():
                noisy = {**noisy, "seen": predict(noisy, t).translations}
        weights = {"chain_weight": self.chain_weight, "clash_weight": self.clash_weight}
        return losses(self.sde, clean, noisy, predict(noisy, t), t, **weights)

    def _coin(self, generator: torch.Generator) -> bool:
        return bool(torch.rand((), generator=generator) < 0.5)

    def _stretch(self, length: int, generator: torch.Generator) -> range:
        """Residues that are fixed: a stretch of a tenth to two thirds of the chain, for a share of the chains."""
        draw = torch.rand(3, generator=generator)
        if draw[0] >= self.fixed_share:
            return range(0)
        size = int(length * (0.1 + 0.56 * float(draw[1])))
        start = int(float(draw[2]) * (length - size))
        return range(start, start + size)

    def on_train_batch_end(self, *_: object) -> None:
        decay = min(self.decay, (1 + self.global_step) / (10 + self.global_step))
        update_average(self.average, self.network, decay)

    def on_train_epoch_end(self) -> None:
        for name, value in self.validate().items():
            self.log(name, value)

    @torch.no_grad()
    def validate(self, per_chain: int = 4) -> dict[str, float]:
        """Mean losses of the averaged network on the held chains, by time, with the same noise every time."""
        sums: dict[str, list[float]] = {}
        for row, chain in enumerate(self.held):
            clean = {name: value.to(self.device) for name, value in fields_of([chain] * per_chain).items()}
            t = torch.linspace(0.05, 0.95 * self.latest, per_chain, device=self.device)
            generator = self.batches.generator(-1 - row)
            found = self.judged(self.average, clean, t, generator, self_condition=False)
            for i in range(per_chain):
                sums.setdefault(f"validation_{float(t[i]):.2f}", []).append(float(found.total[i]))
            sums.setdefault("validation", []).append(float(found.total.mean()))
        return {name: sum(values) / len(values) for name, values in sums.items()}


def train(
    module: DenoiserModule, *, steps: int, every: int = 200, folder: Path | None = None, accelerator: str = "auto"
) -> None:
    """Trains until the steps are done; goes on from the newest checkpoint in the folder, if there is one.

    An epoch is a stretch of `every` steps: validation and a checkpoint come after each.
    """
    options = {"gradient_clip_val": module.clip}
    train_steps(module, steps=steps, every=every, folder=folder, accelerator=accelerator, **options)
