"""Training of a GFlowNet: the shared loop, with the gradient clipped and figures collected when they are logged."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule

from mogen.training.loop import log_interval, train_steps
from samplers.gflownet.module import GFlowNetModule


def train(module: LightningModule, *, steps: int, every: int, folder: Path | None, accelerator: str) -> None:
    """Trains until the steps are done or the measure's budget is spent; goes on from the newest checkpoint, if any."""
    if isinstance(module, GFlowNetModule):
        module.log_every = log_interval(steps, every)
    clip = getattr(module, "clip", None)
    train_steps(module, steps=steps, every=every, folder=folder, accelerator=accelerator, gradient_clip_val=clip)
