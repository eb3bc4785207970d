"""What is trained, on what, and for how long."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import nn

from mogen.dataset.molecules import fingerprint
from mogen.errors import ConfigError
from samplers.diffusion import SDE, VP, DPMSolverPlusPlus, Solver, Spacing, is_spacing
from samplers.gdss.data import GraphBatches, training_graphs
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.network import PublishedNetwork
from samplers.gdss.transformer import GraphTransformer

PRIOR_GRAPHS = 4096
"""training graphs that a matched prior is taken from, at most"""
Keep = Callable[[GraphModel, dict[str, Any], Path], None]


class NetworkShape(ABC):
    """A network whose sizes of input and output are the data's."""

    encoding: Literal["order", "classes"]
    prediction: Literal["published", "data"]
    optimizer: Literal["adam", "muon"] = "adam"
    times: tuple[float, float] = (1.0, 1.0)
    spacing: Spacing = 1.0
    """what it is trained with, and sampled from, where nothing else is wanted"""

    @abstractmethod
    def build(self, kind: GraphKind) -> nn.Module:
        """The network for graphs of a kind."""


@final
class Transformer(NetworkShape):
    """The graph transformer: told the time, edges as classes, says what the clean graph is.

    Args:
        width: of node states.
        edge_width: of edge states.
        depth: blocks.
        heads: attention heads.
        walks: random-walk features of nodes.
        hops: random-walk features of edges.
        is_self_conditioned: whether it is told what it said the step before (Chen et al. 2023).
        paths: steps of the walks by which nodes and edges hear which rings are likely; 0 for none.
    """

    encoding = "classes"
    prediction = "data"
    optimizer = "muon"
    times = (2.0, 6.0)
    spacing = (4.0, 16.0)

    def __init__(
        self,
        width: int = 128,
        edge_width: int = 48,
        depth: int = 6,
        heads: int = 8,
        walks: int = 6,
        hops: int = 6,
        is_self_conditioned: bool = False,
        paths: int = 8,
    ) -> None:
        if width % heads:
            raise ConfigError(f"expected a width that {heads} heads divide, got {width}")
        if paths < 0 or paths == 1:
            raise ConfigError(f"expected paths of 0 or at least 2, got {paths}")
        self.width, self.edge_width, self.depth, self.heads, self.walks = width, edge_width, depth, heads, walks
        self.hops, self.is_self_conditioned, self.paths = hops, is_self_conditioned, paths

    def build(self, kind: GraphKind) -> nn.Module:
        return GraphTransformer(
            kind.features,
            kind.edge_classes,
            self.width,
            self.edge_width,
            self.depth,
            self.heads,
            self.walks,
            hops=self.hops,
            is_self_conditioned=self.is_self_conditioned,
            paths=self.paths,
        )


@final
class Published(NetworkShape):
    """The two networks of GDSS (Jo et al. 2022), with the sizes of QM9 by default.

    Args:
        x: convolution, or attention for the second network of ZINC250k.
        depth_x: layers for nodes.
        hidden: width of nodes.
        depth_adj: attention layers for edges.
        layers: linear layers of the edge perceptrons.
        attention: width of queries and keys after the first layer.
    """

    encoding = "order"
    prediction = "published"

    def __init__(
        self,
        x: Literal["convolution", "attention"] = "convolution",
        depth_x: int = 2,
        hidden: int = 16,
        depth_adj: int = 3,
        layers: int = 3,
        attention: int = 16,
    ) -> None:
        self.x, self.depth_x, self.hidden = x, depth_x, hidden
        self.depth_adj, self.layers, self.attention = depth_adj, layers, attention

    def build(self, kind: GraphKind) -> nn.Module:
        adj = {"depth": self.depth_adj, "hidden": self.hidden, "attention": self.attention, "layers": self.layers}
        nodes: dict[str, Any] = {"kind": self.x, "depth": self.depth_x, "hidden": self.hidden}
        if self.x == "attention":
            nodes |= {"attention": self.attention, "layers": self.layers}
        return PublishedNetwork(kind.features, nodes, adj)


@final
class GraphTraining:
    """How a graph diffusion model is trained.

    Args:
        data: qm9, zinc250k, ego_small, community_small, enzymes, grid, planar, sbm, community, grid_generated, a file
            of SMILES, or a .json file of graphs.
        network: the network; the graph transformer where none is given.
        sde_x: the process of nodes; VP from .1 to 20 where none is given.
        sde_adj: the process of edges; the same.
        prior: what sampling starts from: `given`, as the processes say (mean 0 and spread 1, as published), or
            `matched`, the mean and spread that training graphs have at t = 1.
        atoms: the atoms of the molecules of a file; all that occur where none are given.
        max_nodes: the largest graph; the largest that occurs where it is not given.
        has_labels: whether labels of nodes are learned and drawn, where plain graphs have them, instead of degrees.
        skip_broken: whether molecules of a file that cannot be read or do not fit are left out (they are counted).
        updates: gradient steps.
        batch: graphs per step.
        learning_rate: the largest one.
        weight_decay: of AdamW (of Adam for the published networks).
        optimizer: `adam`, which the published networks have, or `muon` for the matrices of a transformer's blocks (with
            AdamW for the rest), which transformers have where nothing is given.
        warmup: steps in which the learning rate rises.
        epoch_decay: what it is multiplied by after every epoch; null for a linear fall.
        average: largest decay of the averaged weights.
        is_average_kept: whether the averaged weights are the model, or the last ones.
        clip: largest norm of a network's gradient.
        edge_weight: of the edges' loss.
        least_time: the smallest time trained on.
        times: parameters of the Beta distribution that nine tenths of the times trained on follow, 1 and 1 for uniform
            ones. Where nothing is given these, but 2 and 6 for transformers whose processes are not given either: then
            most are between .05 and .4, where graphs take shape.
        solver: how the model is sampled from; DPM-Solver++ where none is given, with the reverse process' noise.
        steps: its steps.
        spacing: of the times it looks at: 1 for evenly spaced ones, 2 for squares of such, [a, b] for quantiles of
            Beta(a, b), 4 and 16 for transformers whose processes are not given either.
        checkpoint_every: updates between checkpoints.
        kept_every: updates after which the model as it is then is kept, in `at-<updates>` beside the checkpoints; 0 for
            never.
        accelerator: Lightning's: auto, cpu, gpu, ...
        precision: Lightning's: 32-true, bf16-mixed, ...
    """

    def __init__(
        self,
        data: str = "qm9",
        network: NetworkShape | None = None,
        sde_x: SDE | None = None,
        sde_adj: SDE | None = None,
        atoms: list[str] | None = None,
        max_nodes: int | None = None,
        updates: int = 100_000,
        batch: int = 512,
        learning_rate: float = 3e-4,
        weight_decay: float = 1e-4,
        warmup: int = 1_000,
        epoch_decay: float | None = None,
        average: float = 0.999,
        is_average_kept: bool = True,
        clip: float = 1.0,
        edge_weight: float = 2.0,
        least_time: float = 1e-3,
        solver: Solver | None = None,
        steps: int = 200,
        spacing: Spacing | None = None,
        checkpoint_every: int = 500,
        accelerator: str = "auto",
        precision: str = "32-true",
        skip_broken: bool = False,
        has_labels: bool = True,
        kept_every: int = 0,
        prior: Literal["given", "matched"] = "given",
        times: tuple[float, float] | None = None,
        optimizer: Literal["adam", "muon"] | None = None,
    ) -> None:
        for name, value in (("updates", updates), ("batch", batch), ("checkpoint_every", checkpoint_every)):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in training, got {value}")
        if not 0 < least_time < 1:
            raise ConfigError(f"expected least_time between 0 and 1 in training, got {least_time}")
        if prior not in ("given", "matched"):
            raise ConfigError(f"expected prior given or matched in training, got {prior!r}")
        self.data, self.network, self.prior = data, network or Transformer(), prior
        self.sde_x, self.sde_adj = sde_x or VP(0.1, 20.0), sde_adj or VP(0.1, 20.0)
        self.atoms, self.max_nodes, self.updates, self.batch = atoms, max_nodes, updates, batch
        self.learning_rate, self.weight_decay, self.warmup = learning_rate, weight_decay, warmup
        self.epoch_decay, self.average, self.is_average_kept = epoch_decay, average, is_average_kept
        self.clip, self.edge_weight = clip, edge_weight
        self.least_time = least_time
        is_usual = sde_x is None and sde_adj is None
        usual = self.network.times if is_usual else (1.0, 1.0)
        self.times, self.optimizer = times or usual, optimizer or self.network.optimizer
        if len(self.times) != 2 or not min(self.times) > 0 or not all(map(math.isfinite, self.times)):
            raise ConfigError(f"expected times of two finite numbers above 0 in training, got {times}")
        if self.optimizer not in ("adam", "muon"):
            raise ConfigError(f"expected optimizer adam or muon in training, got {optimizer!r}")
        self.spacing = spacing if spacing is not None else self.network.spacing if is_usual else 1.0
        if not is_spacing(self.spacing):
            raise ConfigError(f"expected a spacing above 0, or two such numbers, in training, got {spacing}")
        self.solver, self.steps = solver or DPMSolverPlusPlus(noise=1.0), steps
        self.checkpoint_every, self.accelerator, self.precision = checkpoint_every, accelerator, precision
        self.skip_broken, self.has_labels, self.kept_every = skip_broken, has_labels, kept_every

    def run(self, folder: Path | None, seed: int = 0, keep: Keep | None = None) -> tuple[GraphModel, dict[str, Any]]:
        """The trained model and its card; goes on from the newest checkpoint of the folder.

        `keep` is called with the model, its card and a folder wherever the model is kept on the way.
        """
        from samplers.gdss.trainer import train

        graphs, kind, skipped = training_graphs(
            self.data, self.atoms, self.max_nodes, is_lenient=self.skip_broken, has_labels=self.has_labels
        )
        if skipped:
            print(f"left out {skipped} molecules of {self.data} that cannot be read or do not fit", file=sys.stderr)
        kind = replace(kind, encoding=self.network.encoding)
        batches = GraphBatches(graphs, kind, self.batch, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.network.build(kind)
        model = GraphModel(network, kind, self.sde_x, self.sde_adj, self.network.prediction, self.spacing)
        if self.prior == "matched":
            some = torch.randperm(sum(kind.sizes), generator=torch.Generator().manual_seed(seed))[:PRIOR_GRAPHS]
            model.match_prior(batches.clean(kind.max_nodes, some))
        card = {
            "data": self.data,
            "data_sha256": fingerprint(self.data),
            "graphs": sum(kind.sizes),
            "left_out": skipped,
            "updates": self.updates,
            "optimizer": self.optimizer,
            "times": list(self.times),
            "seed": seed,
        }

        def kept(made: GraphModel, updates: int) -> None:
            if keep is not None and folder is not None:
                keep(made, {**card, "updates": updates}, folder / f"at-{updates}")

        return train(self, model, batches, folder, seed, kept), card
