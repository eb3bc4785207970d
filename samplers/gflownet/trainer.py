"""One Lightning loop for every GFlowNet: epochs are the stretches between two checkpoints."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from samplers.gflownet.module import GFlowNetModule

NEWEST = "newest.ckpt"


class _Steps(IterableDataset):
    """Nothing but a number of steps: a GFlowNet makes its own data."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


class _Newest(ModelCheckpoint):
    """Keeps one checkpoint, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        super().__init__(dirpath=folder, save_top_k=0)
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.should_stop:
            return
        part = self.folder / (NEWEST + ".part")
        trainer.save_checkpoint(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.folder / NEWEST)


def train(module: LightningModule, *, steps: int, every: int, folder: Path | None, accelerator: str) -> None:
    """Trains until the steps are done or the measure's budget is spent; goes on from the newest checkpoint, if any."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    every = min(every, steps)
    log_every = max(1, every // 5)
    if isinstance(module, GFlowNetModule):
        module.log_every = log_every
    callbacks: list = []
    loggers: list[Logger] = []
    newest = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        callbacks.append(_Newest(folder))
        loggers += [
            TensorBoardLogger(folder, name="", version="tensorboard"),
            CSVLogger(folder, name="", version="log"),
        ]
        newest = folder / NEWEST if (folder / NEWEST).is_file() else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=math.ceil(steps / every),
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=getattr(module, "clip", None),
            log_every_n_steps=log_every,
        )
        loader = DataLoader(_Steps(every), batch_size=None, num_workers=0)
        trainer.fit(module, loader, ckpt_path=newest, weights_only=newest is not None or None)
    module.to(torch.device("cpu"))
