"""A network, its process and what its graphs are: everything that draws graphs from noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
import yaml
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mogen.domain.graph import Core, Graph, GraphBatch, MolecularGraphs, quantise_graphs, quantise_molecules
from mogen.errors import ConfigError, RunError
from samplers.diffusion import (
    SDE,
    VE,
    Fields,
    Guidance,
    Kept,
    ParticleSteering,
    ProductSDE,
    Repeated,
    ScoreModel,
    SelfConditioned,
    Solver,
    Spacing,
    Symmetric,
    Together,
    integrate,
    is_spacing,
    matching,
    times,
)
from samplers.diffusion.product import Score, rows
from samplers.diffusion.saved import described, rebuilt
from samplers.diffusion.sde import over
from samplers.gdss.network import PublishedNetwork
from samplers.gdss.transformer import GraphTransformer, pair_mask

Prediction = Literal["published", "noise", "data"]
Precision = Literal["float32", "bf16"]
REPEATS = 4
"""how often each step is taken around a core, so that the rest comes to fit it"""


@dataclass(frozen=True)
class GraphKind:
    """What the graphs of a model are.

    `types` are the atoms of molecules, or empty for plain graphs whose `features` are one-hot degrees. With `encoding`
    "order" an edge is one number (bond order, or 1); with "classes" it is a one-hot vector of `edge_classes`.
    `sizes[k]` counts the training graphs of k nodes. Where nodes of plain graphs have `labels`, `features` are these.
    """

    types: tuple[str, ...]
    features: int
    max_nodes: int
    sizes: tuple[int, ...]
    encoding: Literal["order", "classes"] = "order"
    labels: tuple[int, ...] = ()

    @property
    def edge_classes(self) -> int:
        """Kinds of edges, no edge included."""
        return 4 if self.types else 2

    def draw_sizes(self, n: int, *, least: int = 0, generator: torch.Generator | None = None) -> Int[Tensor, " n"]:
        """Numbers of nodes, at least so many, with the frequencies of the training data."""
        weight = torch.tensor(self.sizes, dtype=torch.float64)
        weight[:least] = 0
        return torch.multinomial(weight, n, replacement=True, generator=generator)

    def fits(self, graph: Graph) -> bool:
        """Whether a plain graph is no larger, and its nodes have features that are known."""
        if graph.nodes > self.max_nodes:
            return False
        if self.labels:
            return bool(graph.labels) and set(graph.labels) <= set(self.labels)
        return int(graph.adjacency.sum(1).max()) < self.features

    def fields(self, graphs: GraphBatch) -> Fields:
        """Clean fields of dense graphs whose edges are numbers."""
        adj = graphs.adj
        if self.encoding == "classes":
            adj = torch.nn.functional.one_hot(adj.long(), self.edge_classes).to(adj.dtype)
            adj = adj * pair_mask(graphs.mask).unsqueeze(-1)
        return {"x": graphs.x, "adj": adj, "mask": graphs.mask}

    def blank(self, sizes: Int[Tensor, " n"], dtype: torch.dtype = torch.float32) -> Fields:
        """Empty fields for graphs of given sizes, no wider than the largest needs."""
        v = max(int(sizes.max()), 2)
        mask = (torch.arange(v, device=sizes.device) < sizes.unsqueeze(1)).to(dtype)
        shape = (len(sizes), v, v, self.edge_classes) if self.encoding == "classes" else (len(sizes), v, v)
        return {"x": mask.new_zeros(len(sizes), v, self.features), "adj": mask.new_zeros(shape), "mask": mask}

    def decode(self, fields: Fields) -> MolecularGraphs | list[Graph]:
        """What clean fields are: molecules as integers, or plain graphs."""
        x, adj = fields["x"], fields["adj"]
        if self.encoding == "classes":
            exists = fields["mask"].unsqueeze(-1)
            adj = adj.argmax(-1).to(x.dtype) * pair_mask(fields["mask"])
            x = torch.nn.functional.one_hot(x.argmax(-1), self.features).to(x.dtype) * exists
        return quantise_molecules(x, adj) if self.types else quantise_graphs(adj, x, self.labels)


def graph_mask(fields: Fields) -> Fields:
    """What exists of nodes and edges."""
    mask = {"x": fields["mask"].unsqueeze(-1), "adj": pair_mask(fields["mask"])}
    if fields["adj"].ndim == 4:
        mask["adj"] = mask["adj"].unsqueeze(-1)
    return mask


def known_fields(core: Core, fields: Fields) -> dict[str, Tensor]:
    """What a core fixes: its atoms; its bonds; and that its closed atoms have no others.

    The core's atoms are the first nodes. `keep_x` and `keep_adj` are 1 where `known_x` and `known_adj` are known.
    """
    x, adj = fields["x"], fields["adj"]
    k, v = len(core), x.shape[1]
    known_x, keep_x = torch.zeros_like(x), torch.zeros_like(x)
    known_x[:, :k] = torch.nn.functional.one_hot(core.atoms.long(), x.shape[-1]).to(x)
    keep_x[:, :k] = 1
    order, keep = torch.zeros(v, v), torch.zeros(v, v)
    if core.has_bonds:
        order[:k, :k] = core.bonds.to(order)
        keep[:k, :k] = 1
        closed = ~torch.cat([core.is_open, torch.ones(v - k, dtype=torch.bool)])
        keep = torch.where(closed[:, None] | closed[None], 1.0, keep)
    if adj.ndim == 4:
        known_adj = torch.nn.functional.one_hot(order.long(), adj.shape[-1]).to(adj)
        keep = keep.unsqueeze(-1).expand_as(known_adj)
    else:
        known_adj = order
    pairs = pair_mask(fields["mask"])
    pairs = pairs.unsqueeze(-1) if adj.ndim == 4 else pairs
    return {
        "known_x": known_x,
        "keep_x": keep_x,
        "known_adj": known_adj.expand_as(adj) * pairs,
        "keep_adj": keep.expand_as(adj) * pairs,
    }


def graph_process(x: SDE, adj: SDE) -> ProductSDE:
    """Independent noise on nodes and edges, symmetric and only where nodes exist."""
    return ProductSDE({"x": x, "adj": adj if isinstance(adj, Symmetric) else Symmetric(adj)}, graph_mask)


@final
class GraphModel(ScoreModel):
    """A score for noisy graphs.

    Args:
        network: (fields, t) -> one tensor per field.
        kind: what the graphs are.
        sde_x: the process of node features.
        sde_adj: the process of edges.
        prediction: what the network says. `published`: the score itself under VE, minus std times the score under VP
            (Jo et al. 2022); `noise`: minus std times the score; `data`: the expected clean graph.
        spacing: of the times sampling looks at: 1 for evenly spaced ones, 2 for squares of such, two numbers for
            quantiles of a Beta distribution (see `times`).
    """

    def __init__(
        self,
        network: nn.Module,
        kind: GraphKind,
        sde_x: SDE,
        sde_adj: SDE,
        prediction: Prediction = "data",
        spacing: Spacing = 1.0,
    ) -> None:
        super().__init__()
        if prediction not in ("published", "noise", "data"):
            raise ConfigError(f"expected prediction published, noise or data, got {prediction!r}")
        self.network, self.kind, self.prediction, self.spacing = network, kind, prediction, spacing
        self.sde_x, self.sde_adj = sde_x, sde_adj
        self.process = graph_process(sde_x, sde_adj)
        self.drop = 0.2  # how often training leaves out the condition
        self.precision: Precision = "float32"
        self.compiled: Callable[[Fields, Tensor], Fields] | None = None
        self.evaluations = 0  # of one graph by the network

    def match_prior(self, clean: Fields) -> None:
        """Gives the priors the mean and spread that clean graphs have at t = 1, over all entries that exist.

        x_1 = scale x_0 + std z has the mean scale E[x_0] and the variance scale^2 Var[x_0] + std^2; under the processes
        of Jo et al. (2022) these are not 0 and 1, from where the published samplers start.
        """
        mask, last = graph_mask(clean), torch.ones(1)
        for name, sde in (("x", self.sde_x), ("adj", self.sde_adj)):
            value = clean[name][mask[name].expand_as(clean[name]) > 0]
            scale, std = (float(part) for part in sde.marginal(last))
            flat: Any = sde.sde if isinstance(sde, Symmetric) else sde
            flat.location = scale * float(value.mean())
            flat.spread = math.hypot(scale * float(value.std(unbiased=False)), std)

    @property
    def conditions(self) -> int:
        """Numbers in the condition the network takes; 0 for none."""
        return int(getattr(self.network, "conditions", 0))

    @property
    def is_self_conditioned(self) -> bool:
        """Whether the network is told what it said the step before."""
        return bool(getattr(self.network, "is_self_conditioned", False))

    def conditional(self, value: Float[Tensor, "n m"]) -> GraphModel:
        """A copy that also takes a condition, scaled by the values it will be trained with; at first it says the same.

        Raises `ConfigError` for networks that have no place for one.
        """
        if not isinstance(self.network, GraphTransformer):
            raise ConfigError("expected a graph transformer to condition, got a network that is not told the time")
        network = GraphTransformer(**{**self.network.options, "conditions": value.shape[1]})
        network.load_state_dict(self.network.state_dict(), strict=False)
        network.condition.mean.copy_(value.mean(0))
        network.condition.spread.copy_(value.std(0, unbiased=False).clamp(min=1e-6))
        return GraphModel(network, self.kind, self.sde_x, self.sde_adj, self.prediction, self.spacing)

    def hasten(self, precision: Precision, is_compiled: bool) -> None:
        """Products of the network in half the digits (the state keeps all), and the network through torch.compile.

        On a GPU compiled networks are replayed as CUDA graphs. Neither is for training.
        """
        self.precision = precision
        self.compiled = torch.compile(self.network.forward, mode="reduce-overhead") if is_compiled else None

    def said(self, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        """What the network says, in full precision again."""
        if self.precision == "float32" and self.compiled is None:
            return self.network(fields, t)  # type: ignore[no-any-return]
        with torch.autocast(t.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            said = (self.compiled or self.network)(fields, t)
        # copies, for the next replay of a CUDA graph writes where this one did
        return {name: value.to(t.dtype, copy=True) for name, value in said.items()}

    def score(self, fields: Fields, t: Float[Tensor, " b"]) -> Fields:
        """The gradient of the log-density of noisy graphs."""
        self.evaluations += len(t)
        said = self.said(fields, t)
        made = {}
        for name, sde in (("x", self.sde_x), ("adj", self.sde_adj)):
            scale, std = (over(part, said[name]) for part in sde.marginal(t))
            if self.prediction == "data":
                made[name] = (scale * said[name] - fields[name]) / std**2
            elif self.prediction == "published" and isinstance(sde, VE):
                made[name] = said[name]
            else:
                made[name] = -said[name] / std
        return self.process.masked(fields, made)

    def losses(
        self, clean: Fields, t: Float[Tensor, " b"], *, generator: torch.Generator | None = None
    ) -> Mapping[str, Float[Tensor, " b"]]:
        """Score matching; or, for classes, the cross-entropy of the clean graph, whose best answer is the same score.

        Cross-entropies are summed over nodes and over pairs i < j, and divided by the largest number of nodes.
        Self-conditioned networks are told what they say of half the graphs.
        """
        if self.conditions and "value" in clean:
            heard = torch.rand(len(t), generator=generator).to(t) >= self.drop
            clean = {**clean, "told": heard.to(t)}
        noisy = self.process.perturb(clean, t, generator=generator)
        if self.kind.encoding == "order":
            return matching(self.process, self.score(noisy.fields, t), noisy.score, t)
        assert isinstance(self.network, GraphTransformer)
        fields = self.told_itself(noisy.fields, t, generator) if self.is_self_conditioned else noisy.fields
        logits = dict(zip(("x", "adj"), self.network.logits(fields, t), strict=True))
        found = {}
        for name, share in (("x", 1.0), ("adj", 0.5)):
            entropy = -(clean[name] * logits[name].log_softmax(-1)).flatten(1).sum(1)
            found[name] = share * entropy / self.kind.max_nodes
        return found

    @torch.no_grad()
    def told_itself(self, fields: Fields, t: Float[Tensor, " b"], generator: torch.Generator | None) -> Fields:
        """Fields with what the network says of a random half of them, and nothing of the others."""
        told = (torch.rand(len(t), generator=generator) < 0.5).to(t.device).nonzero().flatten()
        made = {f"last_{name}": torch.zeros_like(fields[name]) for name in ("x", "adj")}
        if len(told):
            for name, value in self.network(rows(fields, told), t[told]).items():
                made[f"last_{name}"][told] = value.to(made[f"last_{name}"])
        return {**fields, **made}

    def groups(self) -> Iterable[Iterable[nn.Parameter]]:
        """The published networks are clipped one by one."""
        if isinstance(self.network, PublishedNetwork):
            return [self.network.x.parameters(), self.network.adj.parameters()]
        return [self.network.parameters()]

    def grid(self, steps: int) -> Float[Tensor, " s"]:
        """Times from 1, spaced as the model wants; a network that is told the time has seen none below 1e-3."""
        return times(steps, end=1e-4 if isinstance(self.network, PublishedNetwork) else 1e-3, spacing=self.spacing)

    @torch.no_grad()
    def draw(
        self,
        sizes: Int[Tensor, " n"],
        solver: Solver,
        grid: Float[Tensor, " s"],
        *,
        batch: int = 512,
        guidance: Guidance | None = None,
        context: Fields | None = None,
        core: Core | None = None,
        generator: torch.Generator | None = None,
    ) -> list[Fields]:
        """Clean fields of graphs of these sizes, in batches of similar sizes; `index` says which row each is.

        `context` has a row per graph (a preference, asked values). The atoms of a core come first and stay.
        """
        order = sizes.argsort(stable=True)
        made = []
        for part in order.split(batch):
            told = rows(context or {}, part)
            fields = self.blank(sizes[part], {**told, "index": part}, core)
            made.append(self.denoised(fields, solver, grid, guidance, core is not None, generator))
        return made

    @torch.no_grad()
    def steer(
        self,
        sizes: Int[Tensor, " n"],
        group: Int[Tensor, " n"],
        solver: Solver,
        grid: Float[Tensor, " s"],
        steering: ParticleSteering,
        *,
        core: Core | None = None,
        generator: torch.Generator | None = None,
    ) -> Fields:
        """Clean fields of steered particles, all in one batch, with `group`, `worth` and `log_weight` beside them."""
        fields = steering.begin(self.blank(sizes, {"group": group}, core))
        return self.denoised(fields, solver, grid, steering, core is not None, generator)

    def blank(self, sizes: Int[Tensor, " n"], context: Fields, core: Core | None) -> Fields:
        """Empty fields on the model's device, with context and what is known of them."""
        fields = {**self.kind.blank(sizes), **context}
        if core is not None:
            fields |= known_fields(core, fields)
        device = next(self.parameters()).device
        return {name: value.to(device) for name, value in fields.items()}

    def denoised(
        self,
        fields: Fields,
        solver: Solver,
        grid: Float[Tensor, " s"],
        guidance: Guidance | None,
        has_core: bool,
        generator: torch.Generator | None,
    ) -> Fields:
        """From noise in the shape of fields to clean ones."""
        if has_core:
            kept = Kept(("x", "adj"))
            guidance = kept if guidance is None else Together((guidance, kept))
            solver = Repeated(solver, REPEATS)
        generator = beside(generator, fields["mask"].device)
        noise = self.process.prior(fields, generator=generator)
        score: Score = SelfConditioned(self.process, self.score) if self.is_self_conditioned else self.score
        return integrate(self.process, score, solver, noise, grid, guidance=guidance, generator=generator)

    def facts(self) -> dict[str, Any]:
        """Everything but the weights."""
        kind = asdict(self.kind)
        return {
            "network": described(self.network),
            "kind": {key: list(value) if isinstance(value, tuple) else value for key, value in kind.items()},
            "sde_x": described(self.sde_x),
            "sde_adj": described(self.sde_adj),
            "prediction": self.prediction,
            "spacing": list(self.spacing) if isinstance(self.spacing, tuple) else self.spacing,
        }

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the weights and returns the facts that `load` needs beside them."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        save_file(state, folder / "weights.safetensors")
        return self.facts()

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Self:
        """The model whose weights lie in a folder."""
        self = cls.build(facts)
        try:
            self.network.load_state_dict(load_file(folder / "weights.safetensors"))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"expected the weights of a graph model in {folder}, got {reason}") from error
        return self.eval()

    @classmethod
    def build(cls, facts: Mapping[str, Any]) -> Self:
        """The model with new weights."""
        kind: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["kind"].items()}
        made = GraphKind(**kind)
        parts = {name: rebuilt(facts[name]) for name in ("network", "sde_x", "sde_adj")}
        return cls(**parts, kind=made, prediction=facts["prediction"], spacing=spacing_of(facts.get("spacing", 1.0)))


def spacing_of(value: Any) -> Spacing:
    """A spacing as a file has it; raises `RunError` where it is none."""
    if not is_spacing(value):
        raise RunError(f"expected a spacing above 0, or two numbers above 0, in a saved model, got {value!r}")
    return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) else float(value)


def beside(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """A generator of a device whose seed is drawn from one elsewhere, so that no noise travels; or that very one."""
    if generator is None or generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts in the sampler.yaml of a folder."""
    path = folder / "sampler.yaml"
    if not path.is_file():
        raise RunError(f"expected a saved model with a sampler.yaml, got nothing of the kind in {folder}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"expected a readable sampler.yaml in {folder}, got {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise RunError(f"expected a graph diffusion model in {folder}, got a sampler.yaml of something else")
    wanted = {"network", "kind", "sde_x", "sde_adj", "prediction"}
    missing = sorted(({"solver", "steps"} - set(content)) | (wanted - set(content["model"])))
    if missing:
        raise RunError(f"expected a whole sampler.yaml in {folder}, got one without {', '.join(missing)}")
    return content
