"""Training of graph diffusion: the shared loop around the module of scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mogen.training.loop import train_steps
from samplers.diffusion import NoisyModel
from samplers.diffusion.module import ScoreModule
from samplers.gdss.data import GraphBatches
from samplers.gdss.network import PublishedNetwork

if TYPE_CHECKING:
    from samplers.gdss.training import GraphTraining


M = TypeVar("M", bound=NoisyModel)


def train(
    training: GraphTraining,
    model: M,
    batches: GraphBatches,
    folder: Path | None,
    seed: int,
    keep: Callable[[M, int], None] | None = None,
) -> M:
    """The model after all updates, with averaged weights where they are wanted.

    `keep` is called with what would be the model, and the updates it has seen, as often as the training wants.
    """

    def made() -> M:
        return module.averaged if training.is_average_kept else module.model  # type: ignore[return-value]

    def watch(done: int) -> None:
        if keep is not None and training.kept_every and done % training.kept_every == 0:
            keep(made(), done)

    is_published = isinstance(getattr(model, "network", None), PublishedNetwork)
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
        watch=watch,
    )
    train_steps(
        module,
        steps=training.updates,
        every=training.checkpoint_every,
        folder=folder,
        accelerator=training.accelerator,
        precision=training.precision,
    )
    return made().to("cpu").eval()
