"""Guides that are learned from labelled graphs: a predictor of values, or a condition of the score network itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mogen.domain.graph import MolecularGraphs
from mogen.errors import ConfigError, RunError
from mogen.preference import Scalarization
from samplers.diffusion import VP, ClassifierFree, Fields, Guidance, PredictorGuidance, Symmetric, asked_values
from samplers.diffusion.guidance import check_push
from samplers.gdss.data import GraphBatches
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.predictor import ValueModel, ValueNetwork
from samplers.gdss.record import Record
from samplers.gdss.training import GraphTraining, Published
from samplers.gdss.transformer import GraphTransformer

FEWEST = 8
"""labelled graphs below which nothing is learned"""
DOUBT = 4.0
"""labelled graphs that a size is thought to have beside its own, worth what all are worth on average"""


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
        oversample: guided candidates drawn for each that is asked for: the best that is new by a belief, a Gaussian
            process of everything measured (as for particles).
        size_strength: how much a worth of 1 counts in the choice of a number of nodes, as a logarithm of a weight.
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
        size_strength: float,
        checkpoint_every: int,
        accelerator: str,
        oversample: int,
    ) -> None:
        counts = {"labels": labels, "updates": updates, "batch": batch, "round": round, "oversample": oversample}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in {type(self).__name__}, got {value}")
        self.labels, self.data, self.updates, self.more, self.batch = labels, data, updates, more, batch
        self.learning_rate, self.round, self.rounds = learning_rate, round, rounds
        self.size_strength, self.checkpoint_every, self.accelerator = size_strength, checkpoint_every, accelerator
        self.oversample = oversample
        self.known, self.nodes = torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)
        """values of the labelled graphs, and how large they are"""
        self.evaluations = 0
        """of one graph in training: a forward and a gradient, three forwards in all, or a half more (see `batches`)"""

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether anything has been learned."""

    @abstractmethod
    def learn(self, model: GraphModel, record: Record, updates: int, folder: Path | None, seed: int) -> GraphModel:
        """Goes on learning from a record; the model to sample from afterwards."""

    def check(self, network: object) -> None:
        """Raises `ConfigError` where a network, or one of a shape, cannot be led by this; before anything is spent."""
        del network

    def too_few(self, record: Record, kind: GraphKind) -> str:
        """Why nothing can be learned from a record yet; nothing where something can."""
        valid = len(record.graphs(kind)[1])
        if valid >= FEWEST:
            return ""
        return (
            f"expected at least {FEWEST} valid labelled graphs that fit the model to learn guidance from, got {valid} "
            f"of {len(record)} that were asked for"
        )

    def to(self, device: torch.device) -> None:
        """Puts what leads where the graphs are."""
        del device

    @abstractmethod
    def context(self, preference: Float[Tensor, "n m"], scalarization: Scalarization) -> Fields:
        """What the fields must hold for samples of these preferences."""

    @abstractmethod
    def guidance(self, scalarization: Scalarization) -> Guidance:
        """What leads the denoising."""

    def save(self, folder: Path) -> None:
        """Writes what was learned, apart from the model itself."""
        if self.is_ready:
            save_file({"value": self.known.contiguous(), "nodes": self.nodes}, folder / "labels.safetensors")

    def load(self, folder: Path, model: GraphModel, m: int) -> None:
        """Reads what `save` wrote."""
        del model, m
        if (folder / "labels.safetensors").is_file():
            state = load_file(folder / "labels.safetensors")
            self.known, self.nodes = state["value"], state.get("nodes", self.nodes)

    def sizes(
        self,
        kind: GraphKind,
        preference: Float[Tensor, "n m"],
        scalarization: Scalarization,
        *,
        least: int = 0,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, " n"]:
        """Numbers of nodes, at least so many, as frequent as in the training data times exp(strength worth).

        A gradient cannot choose them; their worth to a preference is the mean over labelled graphs of that size.
        """
        if not len(self.nodes):
            return kind.draw_sizes(len(preference), least=least, generator=generator)
        weight = size_weights(preference, self.known, self.nodes, kind.sizes, scalarization, self.size_strength)
        weight[:, :least] = 0
        return torch.multinomial(weight, 1, replacement=True, generator=generator).squeeze(1)

    def times(self, model: GraphModel) -> tuple[float, float] | None:
        """The distribution of times to train on beside a model; nothing for that of new models."""
        del model
        return (1.0, 1.0)

    def training(self, updates: int, model: GraphModel) -> GraphTraining:
        """The schedule of a training of so many updates beside a model."""
        return GraphTraining(
            updates=updates,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup=min(50, updates // 10),
            average=0.99,
            checkpoint_every=self.checkpoint_every,
            accelerator=self.accelerator,
            times=self.times(model),
        )

    def batches(self, model: GraphModel, record: Record, seed: int, updates: int, cost: float = 3.0) -> GraphBatches:
        """Labelled graphs in batches, which are known from then on; training on them is counted.

        `cost` is that of one graph in one update, in forwards: one and a gradient, unless there are more.
        """
        graphs, value = record.graphs(model.kind)
        self.known = value
        self.nodes = graphs.sizes if isinstance(graphs, MolecularGraphs) else graphs.mask.sum(1).long()
        rows = min(self.batch, len(value))
        self.evaluations += round(cost * rows * updates)
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
        oversample: guided candidates drawn for each that is asked for: the best that is new by a belief, a Gaussian
            process of everything measured (as for particles).
        strength_x: how hard nodes are pushed: how much a worth of 1 counts, as a logarithm of a density.
        strength_adj: how hard edges are pushed.
        is_relative: whether strengths are shares of the score's norm at t = 0 instead (MOOD).
        decay: such a push shrinks towards t = 1 by decay^t.
        novelty: MOOD's lambda in [0, 1): how far to leave the distribution of the training data.
        width: of the network's node states; this and the next two are for models that are not graph transformers.
        edge_width: of its edge states.
        depth: its blocks.
        size_strength: how much a worth of 1 counts in the choice of a number of nodes, as a logarithm of a weight.
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
        strength_x: float = 100.0,
        strength_adj: float = 100.0,
        is_relative: bool = False,
        decay: float = 0.1,
        novelty: float = 0.0,
        width: int = 64,
        edge_width: int = 16,
        depth: int = 3,
        size_strength: float = 20.0,
        checkpoint_every: int = 500,
        accelerator: str = "auto",
        oversample: int = 1,
    ) -> None:
        super().__init__(
            labels,
            data,
            updates,
            more,
            batch,
            learning_rate,
            round,
            rounds,
            size_strength,
            checkpoint_every,
            accelerator,
            oversample,
        )
        check_push(decay, novelty)
        self.strength_x, self.strength_adj, self.is_relative = strength_x, strength_adj, is_relative
        self.decay, self.novelty = decay, novelty
        self.width, self.edge_width, self.depth = width, edge_width, depth
        self.values: ValueModel | None = None

    @property
    def is_ready(self) -> bool:
        return self.values is not None

    def build(self, model: GraphModel, m: int) -> ValueModel:
        """A new network for the graphs of a model; it begins as the model's own where that is a transformer."""
        if isinstance(model.network, GraphTransformer):
            body = GraphTransformer(**{**model.network.options, "conditions": 0})
            body.load_state_dict(model.network.state_dict(), strict=False)
        else:
            classes = model.kind.edge_classes if model.kind.encoding == "classes" else 2
            body = GraphTransformer(model.kind.features, classes, self.width, self.edge_width, self.depth, heads=4)
        return ValueModel(ValueNetwork(body, m), model.process)

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
        self.values = train(self.training(updates, model), self.values.requires_grad_(True), batches, folder, seed)
        return model

    def to(self, device: torch.device) -> None:
        if self.values is not None:
            self.values.to(device)

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
            is_relative=self.is_relative,
            decay=self.decay,
            novelty=self.novelty,
        )

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.values is not None:
            state = {name: item.detach().cpu().contiguous() for name, item in self.values.network.state_dict().items()}
            save_file(state, folder / "predictor.safetensors")

    def load(self, folder: Path, model: GraphModel, m: int) -> None:
        super().load(folder, model, m)
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
        oversample: guided candidates drawn for each that is asked for: the best that is new by a belief, a Gaussian
            process of everything measured (as for particles).
        weight: of the condition: 1 is the conditional score, more exaggerates it.
        drop: how often training does not tell the condition.
        share: of the labelled graphs, the best by a preference, whose mean is asked for.
        reach: standard deviations of the labels by which more is asked for, along the preference.
        size_strength: how much a worth of 1 counts in the choice of a number of nodes, as a logarithm of a weight.
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
        size_strength: float = 20.0,
        checkpoint_every: int = 500,
        accelerator: str = "auto",
        oversample: int = 1,
    ) -> None:
        super().__init__(
            labels,
            data,
            updates,
            more,
            batch,
            learning_rate,
            round,
            rounds,
            size_strength,
            checkpoint_every,
            accelerator,
            oversample,
        )
        if not 0 < drop < 1 or not 0 < share <= 1:
            raise ConfigError(f"expected drop in (0, 1) and share in (0, 1] in Conditioning, got {drop} and {share}")
        self.weight, self.drop, self.share, self.reach = weight, drop, share, reach

    @property
    def is_ready(self) -> bool:
        return len(self.known) > 0

    def check(self, network: object) -> None:
        if isinstance(network, Published) or (
            isinstance(network, nn.Module) and not isinstance(network, GraphTransformer)
        ):
            raise ConfigError(
                "expected a graph transformer for guidance classifier_free, got a network that is not told the time: "
                "use predictor or particles"
            )

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
        model.drop = self.drop
        cost = 3.5 if model.is_self_conditioned else 3.0  # half of the graphs are told what the network says of them
        batches = self.batches(model, record, seed, updates, cost)
        model = train(self.training(updates, model), model.requires_grad_(True), batches, folder, seed)
        model.evaluations = evaluations
        return model.requires_grad_(False)

    def times(self, model: GraphModel) -> tuple[float, float] | None:
        return None if is_usual(model) else (1.0, 1.0)

    def context(self, preference: Float[Tensor, "n m"], scalarization: Scalarization) -> Fields:
        return {"value": asked_values(preference, self.known, scalarization, share=self.share, reach=self.reach)}

    def guidance(self, scalarization: Scalarization) -> Guidance:
        del scalarization
        return ClassifierFree(self.weight)


def is_usual(model: GraphModel) -> bool:
    """Whether the processes of a model are those new models have, wherever sampling starts from."""
    usual = VP(0.1, 20.0)
    flat = [sde.sde if isinstance(sde, Symmetric) else sde for sde in (model.sde_x, model.sde_adj)]
    ends = usual.beta_min, usual.beta_max
    return all(isinstance(sde, VP) and (sde.beta_min, sde.beta_max) == ends for sde in flat)


def size_weights(
    preference: Float[Tensor, "n m"],
    known: Float[Tensor, "k m"],
    nodes: Int[Tensor, " k"],
    counts: Sequence[int],
    scalarization: Scalarization,
    strength: float,
) -> Float[Tensor, "n s"]:
    """For every preference, weights of the numbers of nodes 0, 1, ...: counts times exp(strength mean worth).

    The mean over a size's labelled graphs, and over `DOUBT` more that are worth the mean of all; the largest weight
    is 1.
    """
    total = torch.zeros(len(preference), len(counts))
    worth = torch.stack([scalarization(known.clamp(0, 1), wish.expand_as(known)) for wish in preference.float()])
    total.index_add_(1, nodes, worth.float())
    many = torch.bincount(nodes, minlength=len(counts))
    mean = (total + DOUBT * worth.mean(1, keepdim=True)) / (many + DOUBT)
    log_weight = strength * mean + torch.tensor(counts, dtype=torch.float32).log()
    return (log_weight - log_weight.amax(1, keepdim=True)).exp()
