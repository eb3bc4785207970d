"""Graph diffusion as a sampler: plain samples, or a front by steering."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
import yaml
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from mogen.dataset.models import model_folder
from mogen.domain.graph import Core, MolecularGraphs, core_of, correct_valence, encode_molecules, molecules
from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted, CandidateError, ConfigError, DataError, RunError
from mogen.objective import Measure
from mogen.preference import Dirichlet, PreferenceDistribution, Scalarization, WeightedSum
from mogen.sampler import Sampler, Samples
from samplers.diffusion import Fields, ParticleSteering, Solver, Spacing, is_spacing
from samplers.diffusion.saved import described, described_scalarization, rebuilt, rebuilt_scalarization
from samplers.diffusion.steering import Look, Worth
from samplers.environment.atom import AtomEnvironment
from samplers.gdss.belief import Belief
from samplers.gdss.card import card_text
from samplers.gdss.data import training_plain, training_smiles
from samplers.gdss.learner import Conditioning, Learner, Predictor, is_usual
from samplers.gdss.model import GraphKind, GraphModel, Precision, read_facts
from samplers.gdss.record import Record
from samplers.gdss.training import GraphTraining

PATIENCE = 10
"""rounds of steering without anything new after which `fit` ends"""
PAIRS = 2**15
"""pairs of nodes that a processor's cache holds the states of"""
DECIDED = 0.25
"""time under the process of new models from which graphs take shape"""
GRAPH = ("x", "adj", "mask")
"""the fields a graph is read from"""


@final
class Steering:
    """How particles are steered.

    Args:
        particles: of each preference in `fit`; once belief leads, candidates asked for of each preference.
        round: candidates or particles of a round of `fit`, over all its preferences.
        rounds: at most so many of them; the budget usually ends earlier.
        strength: how much a worth of 1 counts, as a logarithm of a weight.
        looks: how often predictions are measured, or judged, in the course of a whole reverse process.
        start: the largest time at which they are. Where it is not given, .25 under the process of new models, before
            which next to nothing is decided, and .5 under any other.
        threshold: share of effective particles below which a group is resampled.
        oversample: particles per candidate in `sample`, and in `fit` once belief leads.
        trial: candidates asked for first, which are samples of the model as it is. After them `oversample` times as
            many particles are judged by a belief, a Gaussian process of everything measured until then, and only the
            best that are new are asked for. Null for predictions that are all measured, from the first.
    """

    def __init__(
        self,
        particles: int = 16,
        round: int = 64,
        rounds: int = 10_000,
        strength: float = 20.0,
        looks: int = 10,
        start: float | None = None,
        threshold: float = 0.5,
        oversample: int = 4,
        trial: int | None = 50,
    ) -> None:
        for name, value in (("particles", particles), ("round", round), ("looks", looks), ("oversample", oversample)):
            if value < 1:
                raise ConfigError(f"expected {name} of at least 1 in steering, got {value}")
        self.particles, self.round, self.rounds, self.strength = particles, round, rounds, strength
        if trial is not None and trial < 2:
            raise ConfigError(f"expected trial of at least 2 in steering, got {trial}")
        self.looks, self.start, self.threshold, self.oversample = looks, start, threshold, oversample
        self.trial = trial


COUNTS = ("network_evaluations", "training_evaluations", "measured", "looks", "resampled_groups")
ACCOUNTS = (*COUNTS[:4], "effective_share", "least_effective_share", *COUNTS[4:])
"""what a card keeps of what was spent"""


@final
class GDSSSampler(Sampler[Any]):
    """Graphs and molecules by a system of SDEs (GDSS, Jo et al. 2022).

    Args:
        model: the folder of a trained model, or the name of one that is shipped or in a data folder.
        training: how a model is trained, where there is none.
        solver: how the reverse process is solved; the model's own way where it is not given.
        steps: steps of the solver; the model's own number where it is not given.
        spacing: of the times they look at: 1 for evenly spaced ones, 2 for squares of such, [a, b] for quantiles of
            Beta(a, b); the model's own where it is not given.
        batch: graphs drawn together; on a processor fewer where they are large.
        device: where graphs are drawn: cpu, cuda, ... (training has its own accelerator).
        precision: of the network's products while drawing: float32 or bf16.
        compile: whether the network is compiled for drawing (CUDA graphs on a GPU); worth it for many graphs.
        is_balanced: whether an N+ or O+ takes the proton of an OH beside it, so that molecules are neutral.
        guidance: what leads towards objectives: particles (any objectives), predictor or classifier_free (learned from
            labels, which are candidates asked for).
        steering: how particles are steered.
        predictor: how a predictor is learned, and how it leads.
        conditioning: how the model learns to be told values, and what it is told.
        scalarization: how a preference makes one number of many utilities.
        preference: the distribution of preferences in `fit`.
        core: a SMILES that every molecule is to contain; `*` marks where it may be extended (everywhere without one).
        keep: whether the core's bonds are kept, or only its atoms.
    """

    def __init__(
        self,
        model: str | None = None,
        training: GraphTraining | None = None,
        solver: Solver | None = None,
        steps: int | None = None,
        spacing: Spacing | None = None,
        batch: int = 512,
        device: str = "cpu",
        precision: Precision = "float32",
        compile: bool = False,
        is_balanced: bool = False,
        guidance: Literal["particles", "predictor", "classifier_free"] = "particles",
        steering: Steering | None = None,
        predictor: Predictor | None = None,
        conditioning: Conditioning | None = None,
        scalarization: Scalarization | None = None,
        preference: PreferenceDistribution | None = None,
        core: str | None = None,
        keep: Literal["core", "atoms"] = "core",
    ) -> None:
        if batch < 1 or (steps is not None and steps < 1):
            raise ConfigError(f"expected batch and steps of at least 1 in the GDSS sampler, got {batch} and {steps}")
        if spacing is not None and not is_spacing(spacing):
            raise ConfigError(f"expected a spacing above 0, or two such numbers, in the GDSS sampler, got {spacing}")
        if guidance not in ("particles", "predictor", "classifier_free") or keep not in ("core", "atoms"):
            raise ConfigError(
                "expected guidance particles, predictor or classifier_free and keep core or atoms, got "
                f"{guidance!r} and {keep!r}"
            )
        if precision not in ("float32", "bf16"):
            raise ConfigError(f"expected precision float32 or bf16 in the GDSS sampler, got {precision!r}")
        self.batch, self.device, self.is_balanced = batch, device, is_balanced
        self.precision, self.compile = precision, compile
        self.solver, self.steps, self.spacing = solver, steps, spacing
        self.training = training
        self.guidance = guidance
        self.steering = steering or Steering()
        self.predictor, self.conditioning = predictor or Predictor(), conditioning or Conditioning()
        self.scalarization = scalarization or WeightedSum()
        self.preference = preference or Dirichlet(1.0)
        self.core_text, self.keep = core, keep
        self.core: Core | None = None
        self.m, self.guided_cost, self.labelled = 0, 0, ""
        self.record: Record | None = None
        self.belief: Belief | None = None
        self.looks: list[Look] = []
        self.is_told = False  # that labels are too few
        self.model: GraphModel | None = None
        self.card: dict[str, Any] = {}
        if model is not None:
            self._take(model_folder(model))

    def _take(self, folder: Path) -> None:
        facts = read_facts(folder)
        self.model = self._placed(GraphModel.load(folder, facts["model"]))
        self.solver = self.solver or rebuilt(facts["solver"])
        self.steps = self.steps or int(facts["steps"])
        self.card = facts.get("card", {})
        known = int(facts.get("objectives", 0))
        if known and facts.get("guidance") == self.guidance and self.learner is not None:
            self.m, self.labelled = known, str(facts.get("labelled", ""))
            self.learner.load(folder, self.model, known)
        self._set_core()

    def _placed(self, model: GraphModel) -> GraphModel:
        """The model on the device graphs are drawn on, with the times this sampler wants."""
        model.spacing = self.spacing or model.spacing
        model.hasten(self.precision, self.compile)
        try:
            return model.to(self.device)
        except (RuntimeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:150]
            raise ConfigError(f"expected a device that is there, got {self.device!r}: {reason}") from error

    def draw_on(self, device: str) -> None:
        """Draws graphs on this device from now on."""
        self.device = device
        self.model = self._placed(self.trained()[0])

    def _set_core(self) -> None:
        """Reads the core; raises a sentence where the model cannot have it."""
        if self.core_text is None or self.model is None:
            return
        kind = self.model.kind
        if not kind.types:
            raise ConfigError("expected a model of molecules for a core, got one of plain graphs")
        core = core_of(self.core_text, kind.types, has_bonds=self.keep == "core")
        largest = max(size for size, count in enumerate(kind.sizes) if count)
        if len(core) > largest:
            raise ConfigError(f"expected a core of at most {largest} atoms for this model, got {len(core)}")
        self.core = core

    def contain(self, smiles: str, keep: Literal["core", "atoms"] = "core") -> None:
        """Every molecule is to contain this core from now on."""
        self.core_text, self.keep = smiles, keep
        self._set_core()

    @property
    def learner(self) -> Learner | None:
        """What is learned from labels, where the guidance is."""
        return {"predictor": self.predictor, "classifier_free": self.conditioning}.get(self.guidance)

    @classmethod
    def of(cls, model: GraphModel, solver: Solver, steps: int, card: dict[str, Any] | None = None) -> Self:
        """A sampler around a model that is at hand."""
        self = cls(solver=solver, steps=steps)
        self.model, self.card = model, card or {}
        return self

    def train(self, folder: Path | None, *, seed: int = 0, measure: Measure[Any] | None = None, m: int = 0) -> None:
        """Trains a model on data, where there is none; goes on from the newest checkpoint of the folder.

        With a measure of m objectives the guidance is then learned from labels, without rounds of guided samples.
        """
        described_scalarization(self.scalarization)  # what cannot be saved is said before anything is spent
        if measure is not None:
            if self.learner is None:
                raise ConfigError("expected guidance predictor or classifier_free to be trained, got particles")
            self.learner.check(self._network())
        if self.model is None:
            training = self.training or GraphTraining()

            def keep(model: GraphModel, card: dict[str, Any], where: Path) -> None:
                type(self).of(model, self.solver or training.solver, self.steps or training.steps, card).save(where)

            made, self.card = training.run(folder / "data" if folder and measure else folder, seed, keep)
            self.model = self._placed(made)
            self.solver, self.steps = self.solver or training.solver, self.steps or training.steps
            self._set_core()
        elif measure is None:
            raise ConfigError("expected objectives to train the guidance of a model that is trained already, got none")
        if measure is not None and self.learner is not None:
            self.record, self.m = Record(m), m
            self._label(measure, torch.Generator().manual_seed(seed))
            if reason := self.learner.too_few(self.record, self.trained()[0].kind):
                raise DataError(reason)
            self._learn(self.learner.updates, folder / self.guidance if folder else None, seed)
            print(f"gdss: {self._account_line()}", file=sys.stderr)

    def _network(self) -> object:
        """The network there is, or the shape of the one that is to be trained."""
        return self.model.network if self.model is not None else (self.training or GraphTraining()).network

    def trained(self) -> tuple[GraphModel, Solver, int]:
        """The model, the solver and the number of its steps; raises `RunError` where there is no model."""
        if self.model is None or self.solver is None or self.steps is None:
            raise RunError("expected a GDSS sampler with a model, got one without: name a trained model's folder")
        return self.model, self.solver, self.steps

    @property
    def environment(self) -> AtomEnvironment:
        """Molecules of the model's atoms and sizes, built atom by atom: what baselines search beside this sampler."""
        if self.model is None:
            raise ConfigError("expected a model that is trained already for baselines beside it, got none")
        kind = self.model.kind
        if not kind.types:
            raise ConfigError("expected a model of molecules for baselines beside it, got one of plain graphs")
        return AtomEnvironment(kind.types, kind.max_nodes)

    def fit(
        self, measure: Measure[Any], *, m: int, generator: torch.Generator | None = None, folder: Path | None = None
    ) -> None:
        """Asks for candidates until the budget ends, and keeps what was learned for `sample`, when nothing is measured.

        Particles: samples for a trial, then rounds of particles steered by what is believed of their predicted clean
        graphs, each group by one preference; without a trial by what these measure, each of them asked for. Learned
        guidance: labels first, then rounds of guided samples that are labels as well. Without a model, one is trained
        first.
        """
        described_scalarization(self.scalarization)  # what cannot be saved is said before anything is spent
        generator = generator if generator is not None else torch.Generator()
        seed = generator.initial_seed() % 2**31
        if self.learner is not None and (self.model is not None or self.training is not None):
            self.learner.check(self._network())
        if self.model is None and self.training is not None:
            self.train(folder / "data" if folder is not None else None, seed=seed)
        self.trained()
        self.record, self.is_told = Record(m), False
        if self.learner is None:
            self._fit_particles(measure, m, generator)
        else:
            self._fit_learner(self.learner, measure, m, generator, seed)
        self.m = m
        print(f"gdss: {self._account_line()}", file=sys.stderr)

    def _fit_particles(self, measure: Measure[Any], m: int, generator: torch.Generator) -> None:
        assert self.record is not None
        self.m = m
        groups, idle = max(1, self.steering.round // self.steering.particles), 0
        try:
            for _ in range(self.steering.rounds):
                before = len(self.record)
                preference = self.preference.sample(groups, m, generator=generator).float()
                trial = None if idle else self.steering.trial  # predictions are measured where nothing new is found
                self.belief = self._belief() if trial is not None and before >= trial else None
                if trial is not None and before < trial:
                    made = self.draw(min(self.steering.round, trial - before), generator=generator)
                    self.record.ask(measure, self.decoded(made))
                elif self.belief is not None:
                    self._ask_believed(measure, preference, generator)
                else:
                    group = torch.arange(groups).repeat_interleave(self.steering.particles)
                    guide = self.record.measured(measure, self.scalarization, preference, self.candidates)
                    self.steered(guide, group, generator)
                idle = idle + 1 if len(self.record) == before else 0
                if idle == PATIENCE:
                    break
        except BudgetExhausted:
            pass
        self.belief = self._belief()

    def _belief(self) -> Belief | None:
        """What is believed after everything measured so far."""
        assert self.record is not None
        return Belief.of(self.record.keys, self.record.utility, is_plain=not self.trained()[0].kind.types)

    def _ask_believed(
        self, measure: Measure[Any], preference: Float[Tensor, "k m"], generator: torch.Generator | None
    ) -> None:
        """Measures, of particles steered by the belief, those of every group that are new and thought best."""
        assert self.record is not None
        wanted, known = self.steering.particles, set(self.record.keys)
        place = torch.arange(len(preference)).repeat_interleave(wanted)
        made: list[Any] = [None] * len(place)
        together = max(1, self.batch // (wanted * self.steering.oversample))
        for part in torch.arange(len(preference)).split(together):
            group = part.repeat_interleave(wanted * self.steering.oversample)
            self.place(self.steered(self.believed(preference), group, generator), place, made, known)
        rows = [row for row, item in enumerate(made) if item is not None]
        self.record.ask(measure, [made[row] for row in rows], preference[place[rows]])

    def _fit_learner(
        self, learner: Learner, measure: Measure[Any], m: int, generator: torch.Generator, seed: int
    ) -> None:
        assert self.record is not None
        name = identity_of(measure)
        if learner.is_ready and (self.m != m or (name and self.labelled and name != self.labelled)):
            raise ConfigError(
                "expected the objectives the model's guidance was trained with, got others: train it for these, or "
                "start from the model without guidance"
            )
        self.m, idle = m, 0
        try:
            if not learner.is_ready:
                self._label(measure, generator)
                self._learn(learner.updates, None, seed)
                self._say_too_few(learner)
            for turn in range(learner.rounds):
                before = len(self.record)
                if learner.is_ready:
                    preference = self.preference.sample(learner.round, m, generator=generator).float()
                    self.belief = self._belief() if learner.oversample > 1 else None
                    items = self.led_best(preference, generator, set(self.record.keys))
                    rows = [row for row, item in enumerate(items) if item is not None]
                    self.record.ask(measure, [items[row] for row in rows], preference[rows])
                else:
                    self.record.ask(measure, self.decoded(self.draw(learner.round, generator=generator)))
                self._learn(learner.more if learner.is_ready else learner.updates, None, seed + turn + 1)
                idle = idle + 1 if len(self.record) == before else 0
                if idle == PATIENCE:
                    break
        except BudgetExhausted:
            self._learn(learner.more if learner.is_ready else learner.updates, None, seed)
            self._say_too_few(learner)

    def _say_too_few(self, learner: Learner) -> None:
        """Says once that labels are too few, after which the sampler goes on unguided."""
        assert self.record is not None
        reason = "" if learner.is_ready or self.is_told else learner.too_few(self.record, self.trained()[0].kind)
        if reason:
            self.is_told = True
            print(f"gdss: {reason}; going on without guidance", file=sys.stderr)

    def _label(self, measure: Measure[Any], generator: torch.Generator) -> None:
        """Asks for the first candidates a learner learns from; those of data, or the model's own samples."""
        assert self.record is not None and self.learner is not None
        self.labelled = identity_of(measure)
        wanted, data = self.learner.labels, self.learner.data
        kind = self.trained()[0].kind
        if data is not None:
            self.record.ask(measure, labelled_candidates(data, kind, wanted, generator))
            return
        for _ in range(PATIENCE):
            if len(self.record) >= wanted:
                break
            made = self.decoded(self.draw(min(self.batch, wanted - len(self.record)), generator=generator))
            self.record.ask(measure, made)

    def _learn(self, updates: int, folder: Path | None, seed: int) -> None:
        assert self.record is not None and self.learner is not None
        self.model = self._placed(self.learner.learn(self.trained()[0], self.record, updates, folder, seed))

    def led_best(
        self, preference: Float[Tensor, "n m"], generator: torch.Generator | None, known: set[str]
    ) -> list[Any]:
        """One candidate (or None) per preference: of several that were led, the one believed to be worth most.

        None of those that are known, and no two the same.
        """
        assert self.learner is not None
        if self.belief is None:
            return self.led(preference, generator)
        many = preference.repeat_interleave(self.learner.oversample, 0)
        items = self.led(many, generator)
        rows = torch.tensor([row for row, item in enumerate(items) if item is not None], dtype=torch.long)
        utility = self.belief([items[row].key for row in rows.tolist()]).float()
        worth = self.scalarization(utility, many[rows].float())
        made: list[Any] = [None] * len(preference)
        taken = set(known)
        for place in worth.argsort(descending=True, stable=True).tolist():
            row = int(rows[place])
            wish, item = row // self.learner.oversample, items[row]
            if made[wish] is None and item.key not in taken:
                taken.add(item.key)
                made[wish] = item
        return made

    def led(self, preference: Float[Tensor, "n m"], generator: torch.Generator | None) -> list[Any]:
        """One candidate (or None) per preference, led by what was learned."""
        model, solver, steps = self.trained()
        assert self.learner is not None
        self.learner.to(torch.device(self.device))
        guide = self.learner.guidance(self.scalarization)
        least = len(self.core) if self.core else 0
        sizes = self.learner.sizes(model.kind, preference, self.scalarization, least=least, generator=generator)
        drawn = model.draw(
            sizes,
            solver,
            model.grid(steps),
            batch=self.together(sizes),
            guidance=guide,
            context=self.learner.context(preference, self.scalarization),
            core=self.core,
            generator=generator,
        )
        self.guided_cost += guide.cost
        made: list[Any] = [None] * len(preference)
        for fields in drawn:
            for row, item in zip(fields["index"].tolist(), self.candidates(fields), strict=True):
                made[row] = item
        return made

    def sizes(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Numbers of nodes with the frequencies of the training data, none smaller than the core."""
        return self.trained()[0].kind.draw_sizes(n, least=len(self.core) if self.core else 0, generator=generator)

    def steered(self, worth: Worth, group: Tensor, generator: torch.Generator | None) -> Fields:
        """Particles of every group, steered to the end."""
        model, solver, steps = self.trained()
        options = self.steering
        guide = ParticleSteering(
            worth,
            strength=options.strength,
            every=max(1, steps // options.looks),
            start=options.start if options.start is not None else DECIDED if is_usual(model) else 0.5,
            threshold=options.threshold,
        )
        sizes = self.sizes(len(group), generator)
        try:
            return model.steer(sizes, group, solver, model.grid(steps), guide, core=self.core, generator=generator)
        finally:
            self.looks += guide.looks  # also when the budget ends in the middle

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> list[Fields]:
        """Clean fields of n graphs of sizes as in the training data, before they are rounded."""
        model, solver, steps = self.trained()
        sizes = self.sizes(n, generator)
        batch = self.together(sizes)
        return model.draw(sizes, solver, model.grid(steps), batch=batch, core=self.core, generator=generator)

    def together(self, sizes: Int[Tensor, " n"]) -> int:
        """How many graphs of these sizes are drawn together."""
        if self.device != "cpu":
            return self.batch
        return max(1, min(self.batch, PAIRS // int(sizes.max()) ** 2))

    def sample(self, preference: Float[Tensor, "n m"], *, generator: torch.Generator | None = None) -> Samples[Any]:
        if preference.ndim != 2 or preference.shape[1] != self.m:
            raise ConfigError(f"expected preferences of n x {self.m}, got {tuple(preference.shape)}")
        made: list[Any] = [None] * len(preference)
        if self.m and self.learner is not None and self.learner.is_ready:
            made = self.led_best(preference, generator, set())
        elif self.belief is not None:
            made = self.guided(preference, generator)
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

    def place(self, fields: Fields, place: Tensor, made: list[Any], known: set[str] | None = None) -> None:
        """Gives the best different particles of every group to its empty places.

        Where it is told which are known, none of these, which those it gives are added to; otherwise two groups may
        have the same.
        """
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
            if known is not None:
                if item.key in known:
                    continue
                known.add(item.key)
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
        types, core = self.trained()[0].kind.types, self.core
        kept = core.kept_bonds(graphs.atoms.shape[1]) if core else None
        whole = correct_valence(graphs, types, kept)
        texts = molecules(whole, types, is_balanced=self.is_balanced, core=len(core) if core else 0)
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
            "guidance": self.guidance,
            "labelled": self.labelled,
            "steering": described(self.steering),
            "predictor": described(self.predictor),
            "conditioning": described(self.conditioning),
            "core": self.core_text,
            "keep": self.keep,
            "scalarization": described_scalarization(self.scalarization),
        }
        if self.belief is not None:
            state = {"bits": torch.from_numpy(self.belief.bits), "utility": self.belief.utility.contiguous()}
            save_file(state, folder / "belief.safetensors")
        if self.learner is not None:
            self.learner.save(folder)
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
        weights = sum(value.numel() for value in model.parameters())
        (folder / "card.md").write_text(card_text(facts, weights), encoding="utf-8")

    def accounts(self) -> dict[str, Any]:
        """What was spent, and how many particles were effective (null without a look); nothing before `fit`.

        `effective_share` is the mean over looks of the mean over their groups, `least_effective_share` the least of any
        group. A saved model goes on from what its card says.
        """
        kept = {key: self.card.get(key) for key in ACCOUNTS} if self.record is None else {}
        before = {key: value for key, value in kept.items() if isinstance(value, int | float)}
        if self.record is None and not before:
            return {}
        found: dict[str, Any] = {
            "network_evaluations": self.evaluations,
            "training_evaluations": self.learner.evaluations if self.learner else 0,
            "measured": len(self.record) if self.record is not None else 0,
        }
        if self.learner is None:
            found |= self._effect(before)
        return found | {key: before[key] + found.get(key, 0) for key in COUNTS if key in before}

    def _effect(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """How the looks at particles went, those before included."""
        count = int(before.get("looks", 0))
        sizes, least = [look.size for look in self.looks], [look.least for look in self.looks]
        if count:
            sizes.append(count * float(before["effective_share"]))
            least.append(float(before["least_effective_share"]))
        return {
            "looks": len(self.looks),
            "effective_share": sum(sizes) / (count + len(self.looks)) if sizes else None,
            "least_effective_share": min(least) if least else None,
            "resampled_groups": sum(look.resampled for look in self.looks),
        }

    @property
    def evaluations(self) -> int:
        """Evaluations of one graph by a network while sampling, a gradient counted as two."""
        return self.trained()[0].evaluations + self.guided_cost

    def _account_line(self) -> str:
        """What was spent, in words."""
        found = self.accounts()
        line = (
            f"{found['measured']} different candidates asked for (labels and predictions included), "
            f"{found['network_evaluations']} network evaluations of a graph (a gradient counts as two), "
            f"{found['training_evaluations']} more in training"
        )
        if not found.get("looks"):
            return line if self.learner is not None else f"{line}, no look at particles"
        return (
            f"{line}, {found['looks']} looks at particles, {found['effective_share']:.0%} of them effective on average "
            f"(of a group at least {found['least_effective_share']:.0%}), {found['resampled_groups']} groups resampled"
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        facts = read_facts(folder)
        self = cls(
            model=str(folder),
            is_balanced=bool(facts.get("is_balanced", False)),
            guidance=facts.get("guidance", "particles"),
            steering=rebuilt(facts["steering"]) if "steering" in facts else None,
            predictor=rebuilt(facts["predictor"]) if "predictor" in facts else None,
            conditioning=rebuilt(facts["conditioning"]) if "conditioning" in facts else None,
            core=facts.get("core"),
            keep=facts.get("keep", "core"),
            scalarization=rebuilt_scalarization(facts.get("scalarization", "WeightedSum")),
        )
        self.m = int(facts.get("objectives", 0))
        if (folder / "belief.safetensors").is_file():
            state = load_file(folder / "belief.safetensors")
            self.belief = Belief(state["bits"].numpy(), state["utility"], not self.trained()[0].kind.types)
        return self


def identity_of(measure: Any) -> str:
    """What a measure's objectives are known by, or nothing where it cannot tell."""
    known = getattr(measure, "identity", None) or getattr(getattr(measure, "objectives", None), "identity", "")
    return str(known)


def labelled_candidates(data: str, kind: GraphKind, n: int, generator: torch.Generator) -> list[Any]:
    """n random training candidates of a data set that fit a kind of graphs; says how many were left out for that."""
    whole: list[Any] = training_smiles(data) if kind.types else training_plain(data)
    order = torch.randperm(len(whole), generator=generator).tolist()
    found: list[Any] = []
    seen = 0
    for start in range(0, len(order), n):
        part = [whole[row] for row in order[start : start + n]]
        made = fitting_molecules(part, kind) if kind.types else [item for item in part if kind.fits(item)]
        found, seen = found + made, seen + len(part)
        if len(found) >= n:
            break
    if left := seen - len(found):
        what = "molecules" if kind.types else "graphs"
        print(f"left out {left} {what} of {data} that cannot be read or do not fit", file=sys.stderr)
    if not found and kind.types:
        raise DataError(f"expected molecules of at most {kind.max_nodes} atoms among {', '.join(kind.types)} in {data}")
    if not found:
        raise DataError(f"expected graphs of at most {kind.max_nodes} nodes with features the model knows in {data}")
    return found[:n]


def fitting_molecules(smiles: list[str], kind: GraphKind) -> list[Molecule]:
    """The molecules that fit a kind of graphs."""
    made = [item for text in smiles if (item := _molecule(text)) is not None]
    _, rows = encode_molecules([item.smiles for item in made], kind.types, kind.max_nodes, skip=True)
    return [made[row] for row in rows]


def _molecule(text: str | None) -> Molecule | None:
    if text is None:
        return None
    try:
        return Molecule.from_smiles(text)
    except CandidateError:
        return None
