"""The Lightning loop of graph diffusion: epochs are the stretches between two checkpoints."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from samplers.diffusion.module import ScoreModule
from samplers.gdss.data import GraphBatches
from samplers.gdss.model import GraphModel
from samplers.gdss.network import PublishedNetwork

if TYPE_CHECKING:
    from samplers.gdss.training import GraphTraining

NEWEST = "newest.ckpt"


class _Steps(IterableDataset):
    """Nothing but a number of steps: the module makes the batch of each."""

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
        part = self.folder / (NEWEST + ".part")
        trainer.save_checkpoint(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.folder / NEWEST)


def train(
    training: GraphTraining, model: GraphModel, batches: GraphBatches, folder: Path | None, seed: int
) -> GraphModel:
    """The model after all updates, with averaged weights where they are wanted."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    is_published = isinstance(model.network, PublishedNetwork)
    module = ScoreModule(
        model,
        batches.at,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        is_decoupled=not is_published,
        average=training.average,
        least_time=training.least_time,
        weights={"adj": training.edge_weight},
        clip=training.clip,
        warmup=training.warmup,
        total=0 if training.epoch_decay is not None else training.updates,
        decay=training.epoch_decay,
        decay_every=batches.per_epoch,
        seed=seed,
    )
    every = min(training.checkpoint_every, training.updates)
    callbacks: list[Any] = []
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
            accelerator=training.accelerator,
            devices=1,
            precision=training.precision,  # type: ignore[arg-type]
            max_epochs=math.ceil(training.updates / every),
            max_steps=training.updates,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=folder is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=max(1, every // 10),
        )
        loader = DataLoader(_Steps(every), batch_size=None, num_workers=0)
        trainer.fit(module, loader, ckpt_path=newest, weights_only=newest is not None or None)
    made = module.averaged if training.is_average_kept else module.model
    return made.to("cpu").eval()  # type: ignore[return-value]
