"""Guides that are learned from labelled graphs: a predictor of values, or a condition of the score network itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen.errors import ConfigError, RunError
from mogen.preference import Scalarization
from samplers.diffusion import ClassifierFree, Fields, Guidance, PredictorGuidance, asked_values
from samplers.gdss.data import GraphBatches
from samplers.gdss.model import GraphModel
from samplers.gdss.predictor import ValueModel, ValueNetwork
from samplers.gdss.record import Record
from samplers.gdss.training import GraphTraining

FEWEST = 8
"""labelled graphs below which nothing is learned"""


class Learner(ABC):
    """What is learned from labelled graphs, and how it then leads the denoising.

    Every label is a candidate asked for. First `labels` of them are: molecules of `data`, or the model's own samples;
    then rounds of guided samples, which are labels as well, until the budget ends.

    Args:
        labels: candidates labelled before the first training.
        data: what they are: a data set or a file of SMILES; the model's own samples where it is not given.
        updates: gradient steps of the first training.
        more: gradient steps after every round.
        batch: graphs per step.
        learning_rate: the largest one.
        round: guided candidates per round.
        rounds: at most so many of them; the budget usually ends earlier.
        checkpoint_every: updates between checkpoints.
        accelerator: Lightning's: auto, cpu, gpu, ...
    """

    def __init__(
        self,
        labels: int,
        data: str | None,
        updates: int,
        more: int,
        batch: int,
        learning_rate: float,
        round: int,
        rounds: int,
        checkpoint_every: int,
        accelerator: str,
    ) -> None:
        for name, value in (("labels", labels), ("updates", updates), ("batch", batch), ("round", round)):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in {type(self).__name__}, got {value}")
        self.labels, self.data, self.updates, self.more, self.batch = labels, data, updates, more, batch
        self.learning_rate, self.round, self.rounds = learning_rate, round, rounds
        self.checkpoint_every, self.accelerator = checkpoint_every, accelerator
        self.evaluations = 0
        """of one graph in training: a forward and a gradient, three forwards in all"""

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether anything has been learned."""

    @abstractmethod
    def learn(self, model: GraphModel, record: Record, updates: int, folder: Path | None, seed: int) -> GraphModel:
        """Goes on learning from a record; the model to sample from afterwards."""

    @abstractmethod
    def context(self, preference: Float[Tensor, "n m"], scalarization: Scalarization) -> Fields:
        """What the fields must hold for samples of these preferences."""

    @abstractmethod
    def guidance(self, scalarization: Scalarization) -> Guidance:
        """What leads the denoising."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes what was learned, apart from the model itself."""

    @abstractmethod
    def load(self, folder: Path, model: GraphModel, m: int) -> None:
        """Reads what `save` wrote."""

    def training(self, updates: int) -> GraphTraining:
        """The schedule of a training of so many updates."""
        return GraphTraining(
            updates=updates,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup=min(50, updates // 10),
            average=0.99,
            checkpoint_every=self.checkpoint_every,
            accelerator=self.accelerator,
        )

    def batches(self, model: GraphModel, record: Record, seed: int, updates: int) -> GraphBatches:
        """Labelled graphs in batches; training on them is counted."""
        graphs, value = record.graphs(model.kind)
        rows = min(self.batch, len(value))
        self.evaluations += 3 * rows * updates
        return GraphBatches(graphs, model.kind, self.batch, seed, context={"value": value})


@final
class Predictor(Learner):
    """A network with a head per objective, trained on noisy graphs; its gradient on nodes and edges leads.

    Args:
        labels: candidates labelled before the first training.
        data: what they are: a data set or a file of SMILES; the model's own samples where it is not given.
        updates: gradient steps of the first training.
        more: gradient steps after every round.
        batch: graphs per step.
        learning_rate: the largest one.
        round: guided candidates per round.
        rounds: at most so many of them; the budget usually ends earlier.
        strength_x: how hard nodes are pushed, as a share of the score's norm at t = 0.
        strength_adj: how hard edges are pushed.
        decay: the push shrinks towards t = 1 by decay^t.
        novelty: MOOD's lambda in [0, 1): how far to leave the distribution of the training data.
        width: of the network's node states.
        edge_width: of its edge states.
        depth: its blocks.
        checkpoint_every: updates between checkpoints.
        accelerator: Lightning's: auto, cpu, gpu, ...
    """

    def __init__(
        self,
        labels: int = 500,
        data: str | None = None,
        updates: int = 500,
        more: int = 100,
        batch: int = 128,
        learning_rate: float = 2e-3,
        round: int = 64,
        rounds: int = 10_000,
        strength_x: float = 0.5,
        strength_adj: float = 0.5,
        decay: float = 0.1,
        novelty: float = 0.0,
        width: int = 64,
        edge_width: int = 16,
        depth: int = 3,
        checkpoint_every: int = 500,
        accelerator: str = "auto",
    ) -> None:
        super().__init__(
            labels, data, updates, more, batch, learning_rate, round, rounds, checkpoint_every, accelerator
        )
        PredictorGuidance(lambda fields, t: t, lambda u, w: u, decay=decay, novelty=novelty)  # type: ignore[arg-type]
        self.strength_x, self.strength_adj, self.decay, self.novelty = strength_x, strength_adj, decay, novelty
        self.width, self.edge_width, self.depth = width, edge_width, depth
        self.values: ValueModel | None = None

    @property
    def is_ready(self) -> bool:
        return self.values is not None

    def build(self, model: GraphModel, m: int) -> ValueModel:
        """A new network for the graphs of a model."""
        channels = model.kind.edge_classes if model.kind.encoding == "classes" else 1
        network = ValueNetwork(model.kind.features, channels, m, self.width, self.edge_width, self.depth)
        return ValueModel(network, model.process)

    def learn(self, model: GraphModel, record: Record, updates: int, folder: Path | None, seed: int) -> GraphModel:
        from samplers.gdss.trainer import train

        _, value = record.graphs(model.kind)
        if len(value) < FEWEST or not updates:
            return model
        if self.values is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.values = self.build(model, record.m)
            self.values.network.scale(value)
        batches = self.batches(model, record, seed, updates)
        self.values = train(self.training(updates), self.values.requires_grad_(True), batches, folder, seed)
        return model

    def context(self, preference: Float[Tensor, "n m"], scalarization: Scalarization) -> Fields:
        del scalarization
        return {"preference": preference.float()}

    def guidance(self, scalarization: Scalarization) -> Guidance:
        if self.values is None:
            raise RunError("expected a predictor that was trained, got one that has seen no label")
        return PredictorGuidance(
            self.values.network.requires_grad_(False),
            scalarization,
            strength={"x": self.strength_x, "adj": self.strength_adj},
            decay=self.decay,
            novelty=self.novelty,
        )

    def save(self, folder: Path) -> None:
        if self.values is not None:
            state = {name: item.detach().contiguous() for name, item in self.values.network.state_dict().items()}
            save_file(state, folder / "predictor.safetensors")

    def load(self, folder: Path, model: GraphModel, m: int) -> None:
        if (folder / "predictor.safetensors").is_file():
            self.values = self.build(model, m)
            self.values.network.load_state_dict(load_file(folder / "predictor.safetensors"))
            self.values.eval()


@final
class Conditioning(Learner):
    """The score network itself, told the values of the clean graph (or nothing, now and then) in a short training.

    Sampling asks for values that the best labelled graphs for a preference have, and for a step beyond them.

    Args:
        labels: candidates labelled before the first training.
        data: what they are: a data set or a file of SMILES; the model's own samples where it is not given.
        updates: gradient steps of the first training, from the model without a condition.
        more: gradient steps after every round.
        batch: graphs per step.
        learning_rate: the largest one.
        round: guided candidates per round.
        rounds: at most so many of them; the budget usually ends earlier.
        weight: of the condition: 1 is the conditional score, more exaggerates it.
        drop: how often training does not tell the condition.
        share: of the labelled graphs, the best by a preference, whose mean is asked for.
        reach: standard deviations of the labels by which more is asked for, along the preference.
        checkpoint_every: updates between checkpoints.
        accelerator: Lightning's: auto, cpu, gpu, ...
    """

    def __init__(
        self,
        labels: int = 500,
        data: str | None = None,
        updates: int = 500,
        more: int = 100,
        batch: int = 128,
        learning_rate: float = 5e-4,
        round: int = 64,
        rounds: int = 10_000,
        weight: float = 2.0,
        drop: float = 0.2,
        share: float = 0.02,
        reach: float = 0.2,
        checkpoint_every: int = 500,
        accelerator: str = "auto",
    ) -> None:
        super().__init__(
            labels, data, updates, more, batch, learning_rate, round, rounds, checkpoint_every, accelerator
        )
        if not 0 < drop < 1 or not 0 < share <= 1:
            raise ConfigError(f"expected drop in (0, 1) and share in (0, 1] in Conditioning, got {drop} and {share}")
        self.weight, self.drop, self.share, self.reach = weight, drop, share, reach
        self.known = torch.zeros(0, 0)

    @property
    def is_ready(self) -> bool:
        return len(self.known) > 0

    def learn(self, model: GraphModel, record: Record, updates: int, folder: Path | None, seed: int) -> GraphModel:
        from samplers.gdss.trainer import train

        _, value = record.graphs(model.kind)
        if len(value) < FEWEST or not updates:
            return model
        evaluations = model.evaluations
        if not model.conditions:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = model.conditional(value)
        model.drop, self.known = self.drop, value
        batches = self.batches(model, record, seed, updates)
        model = train(self.training(updates), model.requires_grad_(True), batches, folder, seed)
        model.evaluations = evaluations
        return model.requires_grad_(False)

    def context(self, preference: Float[Tensor, "n m"], scalarization: Scalarization) -> Fields:
        return {"value": asked_values(preference, self.known, scalarization, share=self.share, reach=self.reach)}

    def guidance(self, scalarization: Scalarization) -> Guidance:
        del scalarization
        return ClassifierFree(self.weight)

    def save(self, folder: Path) -> None:
        if self.is_ready:
            save_file({"value": self.known.contiguous()}, folder / "labels.safetensors")

    def load(self, folder: Path, model: GraphModel, m: int) -> None:
        del model, m
        if (folder / "labels.safetensors").is_file():
            self.known = load_file(folder / "labels.safetensors")["value"]
