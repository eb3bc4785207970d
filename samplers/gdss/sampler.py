"""Graph diffusion as a sampler: plain samples, or a front by steering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, final

import torch
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen import preference as preferences
from mogen.domain.graph import MolecularGraphs, correct_valence, molecules
from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted, CandidateError, ConfigError, RunError
from mogen.objective import Measure
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum
from mogen.sampler import Sampler, Samples
from samplers.diffusion import Fields, ParticleSteering, Solver
from samplers.diffusion.saved import described, rebuilt
from samplers.diffusion.steering import Look, Worth
from samplers.environment.atom import AtomEnvironment
from samplers.gdss.belief import Belief
from samplers.gdss.model import GraphModel, read_facts
from samplers.gdss.training import GraphTraining

PATIENCE = 10
"""rounds of steering without anything new after which `fit` ends"""
GRAPH = ("x", "adj", "mask")
"""the fields a graph is read from"""


@final
class Steering:
    """How particles are steered.

    Args:
        particles: of each preference in `fit`.
        round: particles drawn together in `fit`.
        rounds: at most so many of them; the budget usually ends earlier.
        strength: how much a worth of 1 counts, as a logarithm of a weight.
        looks: how often predictions are measured in the course of a whole reverse process.
        start: the largest time at which they are.
        threshold: share of effective particles below which a group is resampled.
        oversample: particles per candidate in `sample`.
    """

    def __init__(
        self,
        particles: int = 16,
        round: int = 64,
        rounds: int = 10_000,
        strength: float = 20.0,
        looks: int = 10,
        start: float = 0.5,
        threshold: float = 0.5,
        oversample: int = 4,
    ) -> None:
        for name, value in (("particles", particles), ("round", round), ("looks", looks), ("oversample", oversample)):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in steering, got {value}")
        self.particles, self.round, self.rounds, self.strength = particles, round, rounds, strength
        self.looks, self.start, self.threshold, self.oversample = looks, start, threshold, oversample


@final
class GDSSSampler(Sampler[Any]):
    """Graphs and molecules by a system of SDEs (GDSS, Jo et al. 2022).

    Args:
        model: the folder of a trained model.
        training: how a model is trained, where there is none.
        solver: how the reverse process is solved; the model's own way where it is not given.
        steps: steps of the solver; the model's own number where it is not given.
        batch: graphs drawn together.
        is_balanced: whether an N+ or O+ takes the proton of an OH beside it, so that molecules are neutral.
        steering: how particles are steered towards objectives.
        scalarization: how a preference makes one number of many utilities.
        preference: the distribution of preferences in `fit`.
    """

    def __init__(
        self,
        model: str | None = None,
        training: GraphTraining | None = None,
        solver: Solver | None = None,
        steps: int | None = None,
        batch: int = 512,
        is_balanced: bool = False,
        steering: Steering | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
    ) -> None:
        if batch < 1 or (steps is not None and steps < 1):
            raise ConfigError(f"expected batch and steps of at least 1 in the GDSS sampler, got {batch} and {steps}")
        self.batch, self.is_balanced = batch, is_balanced
        self.solver, self.steps = solver, steps
        self.training = training
        self.steering = steering or Steering()
        self.scalarization = scalarization or WeightedSum()
        self.preference = preference or Dirichlet(1.0)
        self.m = 0
        self.record: Record | None = None
        self.belief: Belief | None = None
        self.looks: list[Look] = []
        self.model: GraphModel | None = None
        self.card: dict[str, Any] = {}
        if model is not None:
            self._take(Path(model))

    def _take(self, folder: Path) -> None:
        facts = read_facts(folder)
        self.model = GraphModel.load(folder, facts["model"])
        self.solver = self.solver or rebuilt(facts["solver"])
        self.steps = self.steps or int(facts["steps"])
        self.card = facts.get("card", {})

    @classmethod
    def of(cls, model: GraphModel, solver: Solver, steps: int, card: dict[str, Any] | None = None) -> Self:
        """A sampler around a model that is at hand."""
        self = cls(solver=solver, steps=steps)
        self.model, self.card = model, card or {}
        return self

    def train(self, folder: Path | None, *, seed: int = 0) -> None:
        """Trains a model on data; goes on from the newest checkpoint of the folder."""
        training = self.training or GraphTraining()
        self.model, self.card = training.run(folder, seed)
        self.solver, self.steps = self.solver or training.solver, self.steps or training.steps

    def trained(self) -> tuple[GraphModel, Solver, int]:
        """The model, the solver and the number of its steps; raises `RunError` where there is no model."""
        if self.model is None or self.solver is None or self.steps is None:
            raise RunError("expected a GDSS sampler with a model, got one without: name a trained model's folder")
        return self.model, self.solver, self.steps

    @property
    def environment(self) -> AtomEnvironment:
        """Molecules of the model's atoms and sizes, built atom by atom: what baselines search beside this sampler."""
        kind = self.trained()[0].kind
        if not kind.types:
            raise ConfigError("expected a model of molecules for baselines beside it, got one of plain graphs")
        return AtomEnvironment(kind.types, kind.max_nodes)

    def fit(
        self, measure: Measure[Any], *, m: int, generator: torch.Generator | None = None, folder: Path | None = None
    ) -> None:
        """Rounds of particles steered by what predictions of the clean graph measure, each group by one preference.

        Every prediction that is measured is asked for, so the budget pays for it. What was measured is kept as a belief
        that steers `sample` afterwards, when nothing is measured. Without a model, one is trained first.
        """
        generator = generator if generator is not None else torch.Generator()
        if self.model is None and self.training is not None:
            self.train(folder / "data" if folder is not None else None, seed=generator.initial_seed() % 2**31)
        self.trained()
        self.record, self.m = Record(m), m
        groups, idle = max(1, self.steering.round // self.steering.particles), 0
        try:
            for _ in range(self.steering.rounds):
                before = len(self.record)
                preference = self.preference.sample(groups, m, generator=generator).float()
                group = torch.arange(groups).repeat_interleave(self.steering.particles)
                guide = self.record.measured(measure, self.scalarization, preference, self.candidates)
                self.steered(guide, group, generator)
                idle = idle + 1 if len(self.record) == before else 0
                if idle == PATIENCE:
                    break
        except BudgetExhausted:
            pass
        self.belief = Belief.of(self.record.keys, self.record.utility)

    def steered(self, worth: Worth, group: Tensor, generator: torch.Generator | None) -> Fields:
        """Particles of every group, steered to the end."""
        model, solver, steps = self.trained()
        options = self.steering
        guide = ParticleSteering(
            worth,
            strength=options.strength,
            every=max(1, steps // options.looks),
            start=options.start,
            threshold=options.threshold,
        )
        sizes = model.kind.draw_sizes(len(group), generator=generator)
        try:
            return model.steer(sizes, group, solver, model.grid(steps), guide, generator=generator)
        finally:
            self.looks += guide.looks  # also when the budget ends in the middle

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> list[Fields]:
        """Clean fields of n graphs of sizes as in the training data, before they are rounded."""
        model, solver, steps = self.trained()
        sizes = model.kind.draw_sizes(n, generator=generator)
        return model.draw(sizes, solver, model.grid(steps), batch=self.batch, generator=generator)

    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[Any]:
        if preference.ndim != 2 or preference.shape[1] != self.m:
            raise ConfigError(f"expected preferences of n x {self.m}, got {tuple(preference.shape)}")
        made = self.guided(preference, generator) if self.belief is not None else [None] * len(preference)
        for _ in range(20):
            missing = [row for row, item in enumerate(made) if item is None]
            if not missing:
                return Samples([item for item in made if item is not None], preference)
            found = self.decoded(self.draw(len(missing), generator=generator))
            for row, item in zip(missing, found, strict=False):
                made[row] = item
        raise RunError(f"expected {len(preference)} graphs, got {len(missing)} fewer in 20 rounds that are not empty")

    def guided(self, preference: Float[Tensor, "n m"], generator: torch.Generator | None) -> list[Any]:
        """One candidate per preference: of several particles each, steered by the belief, the ones worth most."""
        assert self.belief is not None
        wanted, place = preference.unique(dim=0, return_inverse=True)
        count = torch.bincount(place) * self.steering.oversample
        made: list[Any] = [None] * len(preference)
        group = torch.arange(len(wanted)).repeat_interleave(count)
        for start in range(0, len(group), self.batch):
            part = group[start : start + self.batch]
            fields = self.steered(self.believed(wanted), part, generator)
            self.place(fields, place, made)
        return made

    def believed(self, wanted: Float[Tensor, "k m"]) -> Worth:
        """What predictions are worth by the belief."""

        def worth(fields: Fields) -> Tensor:
            assert self.belief is not None
            items = self.candidates(fields)
            known = [row for row, item in enumerate(items) if item is not None]
            found = torch.zeros(len(items))
            if known:
                utility = self.belief([items[row].key for row in known]).float()
                rows = wanted[fields["group"].cpu()[known]].float()
                found[known] = self.scalarization(utility, rows)
            return found

        return worth

    def place(self, fields: Fields, place: Tensor, made: list[Any]) -> None:
        """Gives the best different particles of every group to its empty places."""
        items, worth = self.candidates(fields), fields["worth"].cpu()
        free: dict[int, list[int]] = {}
        for row, item in enumerate(made):
            if item is None:
                free.setdefault(int(place[row]), []).append(row)
        seen: set[tuple[int, str]] = set()
        for particle in worth.argsort(descending=True, stable=True).tolist():
            name, item = int(fields["group"][particle]), items[particle]
            if item is None or (name, item.key) in seen or not free.get(name):
                continue
            seen.add((name, item.key))
            made[free[name].pop(0)] = item

    def candidates(self, fields: Fields) -> list[Any]:
        """A candidate, or None, for every graph of a batch."""
        model = self.trained()[0]
        graphs = model.kind.decode({name: value.cpu() for name, value in fields.items() if name in GRAPH})
        return list(graphs) if isinstance(graphs, list) else self.corrected(graphs)

    def decoded(self, drawn: list[Fields]) -> list[Any]:
        """Candidates in the order of `index`; molecules with their valences corrected; empty ones are left out."""
        found: dict[int, Any] = {}
        for fields in drawn:
            items = zip(fields["index"].tolist(), self.candidates(fields), strict=True)
            found |= {row: item for row, item in items if item is not None}
        return [found[row] for row in sorted(found)]

    def corrected(self, graphs: MolecularGraphs) -> list[Molecule | None]:
        """Molecules whose valences were corrected; the fragment with the longest SMILES of each."""
        types = self.trained()[0].kind.types
        texts = molecules(correct_valence(graphs, types), types, is_balanced=self.is_balanced)
        return [_molecule(text) for text in texts]

    def save(self, folder: Path) -> None:
        model, solver, steps = self.trained()
        facts = {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "objectives": self.m,
            "model": model.save(folder),
            "solver": described(solver),
            "steps": steps,
            "is_balanced": self.is_balanced,
            "card": {**self.card, **self.accounts()},
            "steering": described(self.steering),
            "scalarization": type(self.scalarization).__qualname__,
        }
        if self.belief is not None:
            state = {"bits": torch.from_numpy(self.belief.bits), "utility": self.belief.utility.contiguous()}
            save_file(state, folder / "belief.safetensors")
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")

    def accounts(self) -> dict[str, Any]:
        """What `fit` cost, and how many particles were effective (over all groups and looks); nothing without `fit`."""
        if self.record is None:
            return {}
        sizes = [look.size for look in self.looks] or [1.0]
        return {
            "network_evaluations": self.trained()[0].evaluations,
            "measured": len(self.record),
            "looks": len(self.looks),
            "effective_share": sum(sizes) / len(sizes),
            "least_effective_share": min(sizes),
            "resampled_groups": sum(look.resampled for look in self.looks),
        }

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_facts(folder)
        kind = getattr(preferences, str(facts.get("scalarization", "WeightedSum")), WeightedSum)
        self = cls(
            model=str(folder),
            is_balanced=bool(facts.get("is_balanced", False)),
            steering=rebuilt(facts["steering"]) if "steering" in facts else None,
            scalarization=kind() if issubclass(kind, Scalarization) else None,
        )
        self.m = int(facts.get("objectives", 0))
        if (folder / "belief.safetensors").is_file():
            state = load_file(folder / "belief.safetensors")
            self.belief = Belief(state["bits"].numpy(), state["utility"])
        return self


@final
class Record:
    """Everything steering measured, in the order it was first asked for."""

    def __init__(self, m: int) -> None:
        self.m = m
        self.known: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.known)

    @property
    def keys(self) -> list[str]:
        """The candidates."""
        return list(self.known)

    @property
    def utility(self) -> Float[Tensor, "k m"]:
        """Their utilities, 0 for invalid ones."""
        return torch.stack(list(self.known.values())) if self.known else torch.zeros(0, self.m)

    def measured(
        self,
        measure: Measure[Any],
        scalarization: Scalarization,
        wanted: Float[Tensor, "k m"],
        candidates: Callable[[Fields], list[Any]],
    ) -> Worth:
        """What predictions are worth to their group's preference, by measuring them; nothing where they are invalid."""

        def worth(fields: Fields) -> Tensor:
            items = candidates(fields)
            rows = [row for row, item in enumerate(items) if item is not None]
            found = torch.zeros(len(items))
            if not rows:
                return found
            asked = wanted[fields["group"].cpu()[rows]]
            said = measure([items[row] for row in rows], preference=asked)
            utility = torch.where(said.is_valid.unsqueeze(1), said.utility, 0.0).float().cpu()
            for row, value in zip(rows, utility, strict=True):
                self.known.setdefault(items[row].key, value)
            found[rows] = scalarization(utility, asked)
            return found

        return worth


def _molecule(text: str | None) -> Molecule | None:
    if text is None:
        return None
    try:
        return Molecule.from_smiles(text)
    except CandidateError:
        return None
