"""The active-learning loop a config names, and a run that waits for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import NonNegativeInt, PositiveInt

from mogen import plugins
from mogen.errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

ACQUISITIONS = ("auto", "hypervolume", "parego", "ucb", "thompson")
SURROGATES = ("process", "multitask", "ensemble")
PROPOSERS = ("library", "genetic", "sampler")
BASELINES = ("random", "nsga2", "graph_ga", "qlognehvi", "best_of_library")
INITIAL = "initial"
"""the account that paid for what was measured before the run"""


@dataclass
class LoopSettings:
    """Active learning: a belief chooses what is measured.

    Args:
        kind: molecule or sequence
        batch: candidates measured together
        start: random candidates of the first batch, unless there is initial data
        rounds: most batches after the first; null for as many as the budget allows
        propose: where candidates come from: library, genetic (mutated incumbents, generation by generation), sampler
        acquisition: hypervolume (qLogNEHVI), parego (qLogNParEGO), ucb, thompson; auto is parego above 6 objectives
        likeness: candidates of a batch are less alike than this (1 for no matter)
        library: a SMILES or CSV file of candidates
        library_column: the CSV's column of candidates
        initial: a CSV, SDF or Parquet file of what has been measured already
        columns: which column of it holds the candidate and each objective, where they are called otherwise
        units: in which unit its columns are; must be the objective's
        variation: arguments of the genetic operators, such as alphabet, min_length and max_length of sequences
        generations: of the genetic search in every round
        children: of a generation of the genetic search
        samples: candidates drawn from the sampler in every round
        train_on: what the sampler learns: bound (of all objectives, by preference) or acquisition
        temper: of the acquisition a sampler is trained on
        fall: by how much the temper falls every round, down to 0.1
        surrogate: process (a Gaussian process per objective), multitask (one over all of them), ensemble (of networks)
        surrogate_args: arguments of the surrogate, such as members, width and steps of an ensemble
        prices: of a measurement of every objective; cheap ones are then asked for first (values from people only)
    """

    kind: str = "molecule"
    batch: PositiveInt = 16
    start: NonNegativeInt = 0
    rounds: PositiveInt | None = None
    propose: list[str] | None = None
    acquisition: str = "auto"
    likeness: float = 1.0
    library: str | None = None
    library_column: str | None = None
    initial: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    variation: dict[str, Any] = field(default_factory=dict)
    generations: PositiveInt = 4
    children: PositiveInt = 200
    samples: PositiveInt = 256
    train_on: str = "bound"
    temper: float = 0.5
    fall: float = 0.0
    surrogate: str = "process"
    surrogate_args: dict[str, Any] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)


class LoopBuilder:
    """Builds loops of one config: the main one and its baselines, on the same data and the same start."""

    def __init__(self, config: Mapping[str, Any], objectives: Any, sampler: Any) -> None:
        from mogen.loop import Library, read_measurements
        from mogen.loop.library import checked_kind

        self.settings = LoopSettings(**config["loop"])
        self.objectives, self.sampler = objectives, sampler
        given = self.settings
        checked_kind(given.kind)
        self.proposers = given.propose or (["library"] if given.library else ["genetic"])
        for name in self.proposers:
            if name not in PROPOSERS:
                raise ConfigError(f"loop.propose has no {name!r}: {plugins.closest(name, PROPOSERS)}")
        if given.acquisition not in ACQUISITIONS:
            raise ConfigError(
                f"loop.acquisition has no {given.acquisition!r}: {plugins.closest(given.acquisition, ACQUISITIONS)}"
            )
        if given.surrogate not in SURROGATES:
            raise ConfigError(
                f"loop.surrogate has no {given.surrogate!r}: {plugins.closest(given.surrogate, SURROGATES)}"
            )
        if given.prices and not needs_people(objectives):
            raise ConfigError("expected loop.prices where values come from people, got objectives that all have code")
        if "library" in self.proposers and given.library is None:
            raise ConfigError("expected loop.library, the file of the library that loop.propose names, got none")
        self.library = None
        if given.library:
            self.library = Library(given.library, given.kind, given.library_column)
        self.initial = None
        if given.initial:
            self.initial = read_measurements(
                given.initial, objectives, kind=given.kind, columns=given.columns, units=given.units
            )

    def source(self) -> Any:
        """Where random candidates come from."""
        from mogen.loop import LibrarySource, SamplerSource

        if self.library is not None:
            return LibrarySource(self.library)
        kind = plugins.load("mogen.baselines", "random")
        try:
            return SamplerSource(kind.beside(self.sampler), self.objectives.m)
        except AttributeError as error:
            raise ConfigError("expected loop.initial, loop.library or a sampler with an environment") from error

    def variation(self) -> Any:
        """The genetic operators; what a sequence needs and is not given is taken from the sampler's environment."""
        arguments = dict(self.settings.variation)
        environment = getattr(self.sampler, "environment", None)
        if self.settings.kind == "sequence":
            for name in ("alphabet", "min_length", "max_length"):
                if name not in arguments and hasattr(environment, name):
                    arguments[name] = getattr(environment, name)
        kind = plugins.load("mogen.variations", self.settings.kind)
        try:
            return kind(**arguments)
        except TypeError as error:
            raise ConfigError(
                f"loop.variation does not fit the operators of a {self.settings.kind}: {error}"
            ) from error

    def acquisition(self, name: str | None = None) -> Any:
        """The acquisition that is named."""
        from mogen.acquisition import HypervolumeImprovement, ScalarizedImprovement, ThompsonSampling, UpperBound
        from mogen.loop.strategy import MOST

        name = name or self.settings.acquisition
        if name == "auto":
            name = "hypervolume" if 2 <= self.objectives.m <= MOST else "parego"
        kinds: dict[str, Any] = {
            "hypervolume": HypervolumeImprovement,
            "parego": ScalarizedImprovement,
            "ucb": UpperBound,
            "thompson": ThompsonSampling,
        }
        return kinds[name](likeness=self.settings.likeness)

    def make(self, seed: int, folder: Path | None) -> Any:
        """The main loop."""
        from mogen.loop import BelieveAndChoose, Genetic, LibraryProposer

        given = self.settings
        parts: list[Any] = []
        for name in self.proposers:
            if self.library is not None and name == "library":
                parts.append(LibraryProposer(self.library))
            elif name == "genetic":
                parts.append(Genetic(self.variation(), children=given.children, generations=given.generations))
            else:
                place = None if folder is None else folder / "sampler"
                parts.append(self._sampled(place))
        return self._loop(BelieveAndChoose(parts, self.acquisition(), self.surrogate()), seed)

    def _sampled(self, folder: Path | None) -> Any:
        from mogen.loop import SamplerProposer

        given = self.settings
        return SamplerProposer(
            self.sampler, folder, given.samples, given.train_on, temper=given.temper, fall=given.fall,
            lowest=min(0.1, given.temper),
        )  # fmt: skip

    def surrogate(self) -> Any:
        """The belief that is named."""
        from mogen import surrogate

        kinds = dict(zip(SURROGATES, ("GaussianProcess", "MultiTaskProcess", "DeepEnsemble"), strict=True))
        try:
            return getattr(surrogate, kinds[self.settings.surrogate])(**self.settings.surrogate_args)
        except TypeError as error:
            raise ConfigError(f"loop.surrogate_args do not fit a {self.settings.surrogate}: {error}") from error

    def baseline(self, name: str, seed: int) -> Any:
        """A baseline's loop: the same data, start and batches."""
        from mogen.acquisition import UpperBound
        from mogen.loop import BelieveAndChoose, Evolve, Genetic, LibraryProposer, PickRandomly

        strategy: Any
        if name == "random":
            strategy = PickRandomly(self.source())
        elif name in ("nsga2", "graph_ga"):
            strategy = Evolve(self.variation(), self.source(), by="rank" if name == "nsga2" else "sum")
        elif name == "qlognehvi":
            mutated: Any = Genetic(self.variation(), children=500, generations=1)
            strategy = BelieveAndChoose([mutated], self.acquisition("hypervolume"))
        elif name == "best_of_library":
            if self.library is None:
                raise ConfigError("expected loop.library for the baseline 'best_of_library', got none")
            strategy = BelieveAndChoose([LibraryProposer(self.library)], UpperBound(kappa=0.0))
        else:
            raise ConfigError(f"a loop has no baseline {name!r}: {plugins.closest(name, BASELINES)}")
        return self._loop(strategy, seed)

    def _loop(self, strategy: Any, seed: int) -> Any:
        from mogen.loop import ActiveLoop

        given = self.settings
        source = None if self.initial is not None else self.source()
        return ActiveLoop(
            self.objectives, strategy, source, batch=given.batch, start=given.start, seed=seed,
            prices=given.prices or None,
        )  # fmt: skip

    def told(self, *, is_mean_first: bool = True) -> tuple[list[Any], dict[str, list[float]], list[Any]]:
        """Initial candidates, each once; the standard errors of their means by key; and rows for the ledger.

        Replicate 0 is the mean, if it is to be, which is what an oracle gives; the measurements themselves follow.
        """
        if self.initial is None:
            return [], {}, []
        from mogen.loop import ActiveLoop, PickRandomly
        from mogen.loop.source import ListSource
        from mogen.objective import Status
        from mogen.oracle import Row

        loop: Any = ActiveLoop(self.objectives, PickRandomly(ListSource([])))
        loop.tell(self.initial.candidates, self.initial.evaluation)
        found, rows = loop.evaluation(), []
        for place, entry in enumerate(loop.entries.values()):
            for i, item in enumerate(self.objectives.objectives):
                state = Status(int(found.status[place, i]))
                if state == Status.MISSING:
                    continue
                key, values = entry.candidate.key, list(entry.values[i])
                if is_mean_first or not values:
                    values = [float(found.raw[place, i])] + (values if len(values) > 1 else [])
                rows += [
                    Row(key, item.identity, value, state, account=INITIAL, replicate=k)
                    for k, value in enumerate(values)
                ]
        candidates = [entry.candidate for entry in loop.entries.values()]
        noise = {item.key: row for item, row in zip(candidates, found.noise.tolist(), strict=True)}
        return candidates, noise, rows


def needs_people(objectives: Any) -> bool:
    """Whether some objective has no code."""
    from mogen.objective import Measured

    return any(isinstance(item, Measured) for item in objectives.objectives)


def loop_experiment(config: Mapping[str, Any], out: Path, seed: int, executor: Any, kept: Mapping[str, Any]) -> Any:
    """The experiment of a config with a loop: the loop as its sampler, its baselines in loops of their own."""
    from mogen.cli.run_command import baseline_name, objectives_of
    from mogen.experiment import Experiment, FinalSampling
    from mogen.loop import LoopSampler

    objectives = objectives_of(config)
    builder = LoopBuilder(config, objectives, built_sampler(config))
    candidates, noise, rows = builder.told()

    def sampler(make: Any, name: str = "") -> Any:
        return LoopSampler(
            make,
            initial=candidates,
            noise=noise,
            rounds=builder.settings.rounds,
            show=config["progress"],
            name=name and f"{name} ",
        )

    def beside(name: str) -> Any:
        return lambda seed, folder: builder.baseline(name, seed)

    for name in config["baselines"]:
        if name not in BASELINES:
            raise ConfigError(f"a loop has no baseline {name!r}: {plugins.closest(name, BASELINES)}")
    baselines = {baseline_name(name): sampler(beside(name), name) for name in config["baselines"]}
    experiment: Any = Experiment(
        objectives,
        sampler(builder.make),
        budget=config["budget"] + len(candidates),
        seed=seed,
        baselines=baselines,
        out=out,
        executor=executor,
        final=FinalSampling(partitions=1, per_preference=0),
        config=kept,
        progress=False,
    )
    return experiment, rows


def built_sampler(config: Mapping[str, Any]) -> Any:
    """The sampler of a config."""
    from mogen.cli import config as settings

    return settings.instantiate(*settings.parse(config))


def prepare(config: Mapping[str, Any], out: Path, kept: Mapping[str, Any]) -> None:
    """A run folder that waits to be asked: its config, and a ledger with the initial data."""
    with waiting(out, kept, overwrite=bool(config.get("overwrite"))) as run:
        if run.state["told"] or run.builder.initial is None:
            run.folder.save()
            return
        candidates, _, rows = run.builder.told(is_mean_first=False)
        run.note_noise(run.builder.initial)
        run.store(candidates, [*rows, *run.computed(candidates)])


@contextmanager
def waiting(out: Path, kept: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[WaitingRun]:
    """A run that is told values, ours alone as long as it is open."""
    from mogen.cli.run_command import objectives_of
    from mogen.oracle import Ledger
    from mogen.run import RunFolder, versions, write_json

    folder = RunFolder(out)
    objectives = objectives_of(kept)
    folder.open(kept, {"objective_set": objectives.identity, "seed": kept["seed"]}, overwrite=overwrite)
    try:
        if not (folder / "versions.json").exists():
            write_json(folder / "versions.json", versions())
        ledger = Ledger(folder / "ledger.sqlite")
        try:
            yield WaitingRun(folder, ledger, LoopBuilder(kept, objectives, built_sampler(kept)), int(kept["seed"]))
        finally:
            ledger.close()
    finally:
        folder.release()


class WaitingRun:
    """A loop whose values come from people: what was asked is in the run's state, what was told in its ledger."""

    def __init__(self, folder: Any, ledger: Any, builder: LoopBuilder, seed: int) -> None:
        self.folder, self.ledger, self.builder, self.seed = folder, ledger, builder, seed
        self.state: dict[str, Any] = folder.state.setdefault("loop", {"batches": [], "told": [], "rows": []})

    @property
    def objectives(self) -> Any:
        """The objective set."""
        return self.builder.objectives

    def loop(self) -> Any:
        """The loop with everything asked and told so far."""
        from mogen.loop.runner import Mute, rebuilt

        made = self.builder.make(self.seed, self.folder / "checkpoints")
        for batch in self.state["batches"]:
            made.expect([rebuilt(batch["kind"], key) for key in batch["keys"]], batch.get("wanted"))
        kind = str(self.state.get("kind"))
        keys = list(self.state["told"])
        candidates = [rebuilt(kind, key) for key in keys]
        strategy, made.strategy = made.strategy, Mute()
        for part in self._replicates(keys, candidates) if keys else ():
            made.tell(candidates, part)
        made.strategy = strategy
        return made

    def note_noise(self, found: Any, first: Mapping[tuple[str, str], int] | None = None) -> None:
        """Keeps the known standard deviations of measurements, by candidate, objective and replicate."""
        from mogen.objective import Status

        levels, used = self.state.setdefault("noise", {}), dict(first or {})
        for row, candidate in enumerate(found.candidates):
            for i, item in enumerate(self.objectives.objectives):
                if int(found.evaluation.status[row, i]) != Status.MEASURED:
                    continue
                slot = (candidate.key, item.identity)
                number = used.get(slot, 0)
                used[slot] = number + 1
                level = math.nan if found.evaluation.noise is None else float(found.evaluation.noise[row, i])
                if level == level:
                    levels["\t".join((*slot, str(number)))] = level

    def _noise(self, keys: list[str], number: int) -> Any:
        """The known standard deviations of one replicate; None where none is known."""
        import torch

        levels = self.state.get("noise")
        if not levels:
            return None
        rows = [
            [levels.get(f"{key}\t{item.identity}\t{number}", math.nan) for item in self.objectives.objectives]
            for key in keys
        ]
        return torch.tensor(rows, dtype=torch.float64)

    def _replicates(self, keys: list[str], candidates: list[Any]) -> Iterator[Any]:
        """What the ledger knows, replicate by replicate."""
        import torch

        from mogen.objective import Status

        absent, number = (float("nan"), Status.MISSING), 0
        passed = torch.ones(len(keys), 1, dtype=torch.bool)
        for constraint in self.objectives.constraints:
            passed &= constraint.passes(candidates)[:, None]
        while True:
            columns = [self.ledger.get(keys, item.identity, number) for item in self.objectives.objectives]
            if number and not any(columns):
                return
            raw = torch.tensor([[c.get(key, absent)[0] for c in columns] for key in keys], dtype=torch.float64)
            status = torch.tensor([[int(c.get(key, absent)[1]) for c in columns] for key in keys])
            yield replace(self.objectives.evaluation(raw, passed, status), noise=self._noise(keys, number))
            number += 1

    def computed(self, candidates: list[Any]) -> list[Any]:
        """Rows of the objectives that have code, for candidates without a value of theirs."""
        from mogen.objective import Measured
        from mogen.oracle import Row, SerialExecutor

        rows = []
        for item in self.objectives.objectives:
            known = self.ledger.get([candidate.key for candidate in candidates], item.identity)
            new = [candidate for candidate in candidates if candidate.key not in known]
            if isinstance(item, Measured) or not new:
                continue
            for (out,) in SerialExecutor().run([item], new):
                key = new[out.position].key
                rows.append(Row(key, item.identity, out.value, out.status, out.seconds, out.message, "mogen"))
        return rows

    def asked(self, batch: list[Any], wanted: Mapping[str, list[int]] | None = None) -> None:
        """Writes a batch down, and which objectives are wanted where that is not all of them."""
        from mogen.loop.runner import spelled

        if batch:
            part = {} if wanted is None else {"wanted": dict(wanted)}
            self.state["batches"].append({"kind": spelled(batch[0]), "keys": [item.key for item in batch]} | part)
            self.state.setdefault("kind", spelled(batch[0]))
            self.folder.save()

    def store(self, candidates: list[Any], rows: list[Any], row: dict[str, Any] | None = None) -> None:
        """Writes values down, then that they were told and what they came to."""
        from mogen.loop.runner import spelled, table_of
        from mogen.run.directory import write_text

        if candidates:
            self.ledger.put(rows)
            self.state.setdefault("kind", spelled(candidates[0]))
            self.folder.state["candidate"] = self.state["kind"]
            known = set(self.state["told"])
            self.state["told"] += [key for key in dict.fromkeys(item.key for item in candidates) if key not in known]
        if row is not None:
            self.state["rows"].append(row)
            write_text(self.folder / "rounds.csv", table_of(self.state["rows"]))
        self.folder.save()


def check_is_waiting(folder: Path) -> dict[str, Any]:
    """The config of a run that waits to be asked and told; raises `RunError` where it is none."""
    from mogen.cli.run_command import config_of

    config = config_of(folder)
    if not config.get("loop"):
        raise RunError(f"expected a run with a loop, got one without any in {folder}")
    return config
