"""One Lightning loop for every generator that makes its own batches: epochs are the stretches between checkpoints."""

from __future__ import annotations

import csv
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from mogen.errors import ConfigError, RunError

NEWEST = "newest.ckpt"


class Steps(IterableDataset):
    """Nothing but a number of steps: the module makes the batch of each."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


class Newest(ModelCheckpoint):
    """Keeps one checkpoint, replaced atomically; none is made once training has been told to stop early."""

    def __init__(self, folder: Path) -> None:
        super().__init__(dirpath=folder, save_top_k=0)
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_early = trainer.should_stop and not 0 <= trainer.max_steps <= trainer.global_step
        if is_early:
            return
        part = self.folder / (NEWEST + ".part")
        trainer.save_checkpoint(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.folder / NEWEST)


class WholeLog(Callback):
    """Lightning's CSV log begins anew with every start; this puts back what was logged before the checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "log" / "metrics.csv"
        self.rows: list[dict[str, str]] = []
        if self.file.is_file():
            with self.file.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if None not in row.values()]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        del pl_module
        kept = [row for row in self.rows if int(row["step"]) < trainer.global_step]
        if not kept:
            return
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.experiment.metrics_keys = list(kept[0])  # which also makes it remove the file, if it is to
        with self.file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(kept[0]))
            writer.writeheader()
            writer.writerows(kept)


def log_interval(steps: int, every: int) -> int:
    """Steps between two rows of the logs: a fifth of the way from one checkpoint to the next."""
    return max(1, min(every, steps) // 5)


def train_steps(
    module: LightningModule, *, steps: int, every: int, folder: Path | None, accelerator: str, **options: Any
) -> None:
    """Trains for so many steps, or until the module stops; goes on from the newest checkpoint in the folder, if any.

    A checkpoint, TensorBoard events and a CSV log go to the folder, a checkpoint after every `every` steps; without a
    folder nothing is written. `options` go to Lightning's Trainer. The module is back on the CPU afterwards. Raises
    `RunError` for a checkpoint that is not whole, `ConfigError` for an accelerator that is not there.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    every = min(every, steps)
    callbacks: list[Any] = []
    loggers: list[Logger] = []
    newest = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        callbacks += [Newest(folder), WholeLog(folder)]
        loggers += [
            TensorBoardLogger(folder, name="", version="tensorboard"),
            CSVLogger(folder, name="", version="log"),
        ]
        newest = folder / NEWEST if (folder / NEWEST).is_file() else None
    if newest is not None:
        check_whole(newest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = built(
            accelerator,
            max_steps=steps,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=folder is not None,
            log_every_n_steps=log_interval(steps, every),
            **options,
        )
        loader = DataLoader(Steps(every), batch_size=None, num_workers=0)
        trainer.fit(module, loader, ckpt_path=newest, weights_only=newest is not None or None)
    module.to(torch.device("cpu"))


def built(accelerator: str, **options: Any) -> Trainer:
    """Lightning's trainer on one device, without a progress bar; raises `ConfigError` where it cannot be had here."""
    try:
        return Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=-1,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"expected an accelerator and a precision that this machine has, got {accelerator!r} and "
            f"{options.get('precision', '32-true')!r}: {reason}"
        ) from error


def check_whole(checkpoint: Path) -> None:
    """Raises `RunError` where a checkpoint cannot be read to its end."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # what is left of a file fails in many ways
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise RunError(
            f"expected a whole checkpoint, got one that cannot be read at {checkpoint} ({reason[:150]}): remove it to "
            "train from the beginning"
        ) from error
