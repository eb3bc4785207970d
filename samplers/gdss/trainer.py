"""Training of graph diffusion: the shared loop around the module of scores, and what its checkpoints belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from torch import Tensor

from mogen.domain.graph import MolecularGraphs
from mogen.errors import RunError
from mogen.training.loop import NEWEST, train_steps
from samplers.diffusion import NoisyModel
from samplers.diffusion.module import ScoreModule
from samplers.diffusion.saved import described
from samplers.gdss.data import GraphBatches
from samplers.gdss.network import PublishedNetwork

if TYPE_CHECKING:
    from samplers.gdss.training import GraphTraining


M = TypeVar("M", bound=NoisyModel)
ORIGIN = "training.yaml"
"""the file beside checkpoints that says what they belong to"""
MATTER = (
    *(
        "batch",
        "learning_rate",
        "weight_decay",
        "warmup",
        "epoch_decay",
        "average",
        "clip",
        "edge_weight",
        "least_time",
    ),
    *("times", "optimizer", "precision", "sde_x", "sde_adj"),
)
"""the options that a training cannot go on without; the data and the network are told by themselves"""
BEFORE = {"times": [1.0, 1.0], "optimizer": "adam"}
"""what older trainings had that say nothing of it"""
PRIOR = ("location", "spread")
"""arguments of a process that sampling alone starts from"""


def train(
    training: GraphTraining,
    model: M,
    batches: GraphBatches,
    folder: Path | None,
    seed: int,
    keep: Callable[[M, int], None] | None = None,
) -> M:
    """The model after all updates, with averaged weights where they are wanted.

    `keep` is called with what would be the model, and the updates it has seen, as often as the training wants. Raises
    `RunError` where the checkpoints of the folder belong to another training.
    """

    def made() -> M:
        return module.averaged if training.is_average_kept else module.model  # type: ignore[return-value]

    def watch(done: int) -> None:
        if keep is not None and training.kept_every and done % training.kept_every == 0:
            keep(made(), done)

    if folder is not None:
        claim(folder, origin(training, model, batches, seed))
    is_published = isinstance(getattr(model, "network", None), PublishedNetwork)
    module = ScoreModule(
        model,
        batches.at,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        is_decoupled=not is_published,
        has_muon=training.optimizer == "muon",
        average=training.average,
        least_time=training.least_time,
        times=training.times,
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


def origin(training: GraphTraining, model: NoisyModel, batches: GraphBatches, seed: int) -> dict[str, Any]:
    """What checkpoints belong to: the options that matter, the network, the data's fingerprint and the seed."""
    network: Any = getattr(model, "network", model)
    shapes = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    options = {name: described(getattr(training, name)) for name in MATTER}
    if batches.context:  # the labels of guidance, whose warmup follows from the number of updates
        del options["warmup"]
    return {
        "seed": seed,
        "data": fingerprint(batches),
        "network": {
            **described(getattr(network, "body", network)),
            "weights": hashlib.sha256(repr(shapes).encode()).hexdigest(),
        },
        **{name: without_prior(value) for name, value in options.items()},
    }


def without_prior(value: Any) -> Any:
    """The description of a process, or of anything else, without what only sampling asks for."""
    if not isinstance(value, Mapping):
        return value
    return {name: without_prior(part) for name, part in value.items() if name not in PRIOR}


def fingerprint(batches: GraphBatches) -> str:
    """The SHA-256 of all graphs and of what is known of them."""
    made = hashlib.sha256()
    for name, value in parts(batches):
        made.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        made.update(value.cpu().contiguous().numpy().data)
    return made.hexdigest()


def parts(batches: GraphBatches) -> Iterator[tuple[str, Tensor]]:
    """The tensors of training data by their names."""
    names = ("atoms", "bonds") if isinstance(batches.graphs, MolecularGraphs) else ("x", "adj", "mask")
    yield from ((name, getattr(batches.graphs, name)) for name in names)
    yield from sorted(batches.context.items())


def claim(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes what a folder's checkpoints will belong to, where there is none yet.

    Raises `RunError` where there is one of another training; one of which nothing is known is gone on with.
    """
    path = folder / ORIGIN
    if not (folder / NEWEST).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(yaml.safe_dump(dict(facts), sort_keys=False), encoding="utf-8")
        partial.replace(path)
        return
    if not path.is_file():
        return
    try:
        kept = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"expected a readable {path}, got {' '.join(str(error).split())[:150]}") from error
    if not isinstance(kept, Mapping):
        raise RunError(f"expected what a training's checkpoints belong to in {path}, got {type(kept).__name__}")
    begun = {**BEFORE, **kept}
    others = [name for name in facts if name in begun and differs(begun[name], facts[name])]
    if others:
        raise RunError(
            f"expected the training that the checkpoints in {folder} belong to, got another {', '.join(others)}: "
            "choose another folder, or remove this one to train from the beginning"
        )


def differs(kept: Any, given: Any) -> bool:
    """Whether two descriptions say different things; what only one of them speaks of is left out."""
    if isinstance(kept, Mapping) and isinstance(given, Mapping):
        return any(differs(kept[name], given[name]) for name in kept if name in given)
    return bool(kept != given)
