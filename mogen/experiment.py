"""The one way through, as a function of objects: what both Python users and the command line call."""

from __future__ import annotations

import errno
import importlib
import logging
import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, final

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted, ConfigError, MogenError, RunError
from mogen.metric import alignment, fingerprints, front_metrics, intdiv, molecule_diversity, tanimoto
from mogen.objective import Evaluation, ObjectiveSet, Status
from mogen.oracle import Executor, History, Ledger, Oracle
from mogen.pareto import ParetoArchive, hypervolume_curve
from mogen.preference import simplex_lattice
from mogen.run import Progress, RunFolder, read_json, seeded, versions, write_json, write_text
from mogen.sampler.sampler import Sampler
from mogen.types import C

MAIN = "mogen"
"""the account of the main method; baselines have their own names"""
BASELINE = "baseline"
"""what all baselines are seeded by, so that those that start from random candidates start from the same ones"""
CHUNK, FEWEST = 256, 16
"""most and fewest candidates drawn together in the final sampling"""
HEARTBEAT = 5.0
"""seconds between notes of the time spent, so that a killed session's time is not lost"""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""what the system says when nothing more can be written"""
LOGS = ("events.out.*", "metrics.csv", "hparams.yaml", "training.yaml", "*.part")
"""what a sampler's folder may hold without there being a (whole) checkpoint"""

log = logging.getLogger("mogen")


@dataclass(frozen=True)
class FinalSampling:
    """What is drawn from the trained sampler: `per_preference` candidates for every point of a simplex lattice.

    The lattice has C(partitions + m - 1, m - 1) points. At most a tenth of the budget is kept back for it.
    """

    partitions: int = 10
    per_preference: int = 4

    def preferences(self, m: int, generator: torch.Generator) -> Float[Tensor, "n m"]:
        """Every preference as often as it is drawn, shuffled, so that an early end favours none."""
        rows = simplex_lattice(m, self.partitions).to(torch.float32).repeat_interleave(self.per_preference, 0)
        return rows[torch.randperm(len(rows), generator=generator)]

    def reserve(self, m: int, budget: int) -> int:
        """Candidates of the budget that training leaves for the final sampling."""
        rows = math.comb(self.partitions + m - 1, m - 1)
        return min(budget // 10, rows * self.per_preference)


@dataclass(frozen=True)
class Result(Generic[C]):
    """What a run leaves: the front, the figures of `summary.json`, the run folder and the trained sampler."""

    archive: ParetoArchive[C]
    summary: dict[str, Any]
    folder: Path
    sampler: Sampler[C]


@dataclass(frozen=True)
class TextCandidate:
    """A candidate of which only the key is known."""

    key: str


@dataclass
class Account:
    """What one method asked for: its history, what it paid, and where training ended."""

    name: str
    history: History
    asked: int
    paid: int
    trained: int
    pairs: tuple[Tensor, Tensor] | None = None
    """preference and utility (n x m each) of the samples that alignment is computed on"""


@final
class Experiment(Generic[C]):
    """A sampler against objectives under a budget, beside its baselines, in a folder that survives a crash.

    Training may ask for all but the part of the budget kept for the final sampling; every baseline may then ask for as
    many unique candidates as the main method really did. `run` continues an unfinished run of the same config.
    """

    def __init__(
        self,
        objectives: ObjectiveSet[C],
        sampler: Sampler[C],
        *,
        budget: int,
        seed: int = 0,
        baselines: Mapping[str, Sampler[C]] | None = None,
        out: Path | str = "runs/run",
        executor: Executor | None = None,
        final: FinalSampling | None = None,
        config: Mapping[str, Any] | None = None,
        progress: bool = True,
        render: bool = True,
    ) -> None:
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 1:
            raise ConfigError(f"expected a budget of at least 1 candidate, got {budget!r}")
        self.objectives, self.sampler, self.budget, self.seed = objectives, sampler, budget, int(seed)
        self.baselines = dict(baselines or {})
        if MAIN in self.baselines:
            raise ConfigError(f"expected a baseline of another name, got {MAIN!r}, which is the main method's own")
        self.final = final or FinalSampling()
        if self.final.partitions < 1 or self.final.per_preference < 0:
            raise ConfigError(f"expected at least 1 partition and no negative number per preference, got {self.final}")
        self.folder = RunFolder(out)
        self.executor, self.progress, self.render = executor, progress, render
        self.config = dict(config) if config is not None else self.facts()
        self.clock = Clock(self.folder)

    def facts(self) -> dict[str, Any]:
        """What makes two runs the same run, whatever their config is called."""
        return {
            "objective_set": {"name": self.objectives.name, "identity": self.objectives.identity},
            "sampler": type(self.sampler).__qualname__,
            "baselines": {name: type(baseline).__qualname__ for name, baseline in self.baselines.items()},
            "budget": self.budget,
            "seed": self.seed,
            "final": asdict(self.final),
        }

    def run(self, *, overwrite: bool = False) -> Result[C]:
        """Goes through every stage that is not finished yet, and returns the result.

        Raises `RunError` where the folder holds a finished run or one of another config (unless `overwrite`). After
        Ctrl-C it says how to go on and raises `KeyboardInterrupt`; the run can be taken up where it stopped.
        """
        is_resumed = self.folder.open(self.config, self.facts(), overwrite=overwrite)
        handler, before = self.listen(), signal.getsignal(signal.SIGINT)
        log.info("run %s in %s", "resumed" if is_resumed else "started", self.folder.path)
        try:
            return self.stages()
        except (KeyboardInterrupt, SystemExit) as stop:
            if not is_interrupt(stop):
                raise
            log.warning("interrupted")
            print(f"\nstopped; continue with: mogen resume {self.folder.path}", file=sys.stderr, flush=True)
            if isinstance(stop, KeyboardInterrupt):
                raise
            raise KeyboardInterrupt from stop
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            log.error("stopped: %s", error)
            raise RunError(
                f"expected room to write the run, got {error.strerror} in {self.folder.path}; make some, then "
                f"continue with: mogen resume {self.folder.path}"
            ) from error
        finally:
            if before is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)  # Lightning's trainer ignores Ctrl-C for good after the first
            log.removeHandler(handler)
            handler.close()
            self.folder.release()

    def stages(self) -> Result[C]:
        """Train, sample, baselines, figures, report."""
        if not (self.folder / "versions.json").exists():
            write_json(self.folder / "versions.json", versions())
        ledger = Ledger(self.folder / "ledger.sqlite")
        try:
            main = Run(self, ledger, MAIN, self.budget)
            sampler = main.train(self.sampler)
            accounts = [main.sample(sampler)]
            for name, baseline in self.baselines.items():
                accounts.append(Run(self, ledger, name, accounts[0].asked).baseline(baseline))
        finally:
            ledger.close()
        with self.clock("report"):
            archive = self.archive(accounts[0].history)
            self.tables(accounts, archive)
            summary = self.summarise(accounts, main.spent(sampler))
            if self.render:
                self.report()
        summary["seconds"] = self.clock.seconds(self.baselines)
        write_json(self.folder / "summary.json", summary)
        self.folder.finish("report")
        log.info("run finished: hypervolume %s", summary["hypervolume"])
        told = {name: value for name, value in summary["sampler"].items() if value is not None}
        return Result(archive, summary | {"sampler": told}, self.folder.path, sampler)

    def report(self) -> None:
        """The page and the figures beside it."""
        from mogen.report import write_report

        write_report(self.folder.path)

    def listen(self) -> logging.Handler:
        """Sends the log to log.txt."""
        handler = logging.FileHandler(self.folder / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        return handler

    def notice(self, candidate: C) -> None:
        """Notes once what candidates are made of, so that a later session can build them from their keys."""
        if "candidate" not in self.folder.state:
            self.folder.state["candidate"] = spelled(type(candidate))
            self.folder.save()

    @property
    def is_molecular(self) -> bool:
        """Whether candidates are molecules."""
        return self.folder.state.get("candidate") == spelled(Molecule)

    def archive(self, history: History) -> ParetoArchive[C]:
        """The front of everything an account asked for, in the order it was asked."""
        archive: ParetoArchive[C] = ParetoArchive(self.objectives.m)
        rows = history.evaluation.is_valid.nonzero().flatten()
        if len(rows):
            kind = self.folder.state.get("candidate")
            archive.add([rebuilt(kind, history.keys[row]) for row in rows.tolist()], history.evaluation[rows])
        return archive

    def tables(self, accounts: list[Account], archive: ParetoArchive[C]) -> None:
        """Writes candidates.parquet, front.csv and hypervolume.csv."""
        names = self.objectives.names
        parts = [candidate_table(account, names) for account in accounts]
        part = self.folder / "candidates.parquet.part"
        pd.concat(parts, ignore_index=True).to_parquet(part, index=False)
        part.replace(self.folder / "candidates.parquet")
        write_text(self.folder / "front.csv", front_table(archive, names).to_csv(index=False))
        curves = pd.concat([curve_table(account) for account in accounts], ignore_index=True)
        write_text(self.folder / "hypervolume.csv", curves.to_csv(index=False))

    def summarise(self, accounts: list[Account], spent: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The content of summary.json, what the sampler spent included; written before the report, which reads it."""
        main, *others = [(account, self.figures(account)) for account in accounts]
        summary = {
            **main[1],
            "budget": self.budget,
            "seconds": self.clock.seconds(self.baselines),
            "seed": self.seed,
            "sampler": dict(spent or {}),
            "versions": read_json(self.folder / "versions.json"),
            "objective_set": {"name": self.objectives.name, "identity": self.objectives.identity},
            "objectives": [
                {"name": item.name, "unit": item.unit, "worst": item.worst, "best": item.best}
                for item in self.objectives.objectives
            ],
            "baselines": {
                account.name: found | {"seconds": self.clock.spent(account.name)} for account, found in others
            },
        }
        summary = finite(summary)
        write_json(self.folder / "summary.json", summary)
        return summary

    def figures(self, account: Account) -> dict[str, Any]:
        """Every figure of one account, the same for the main method and for baselines."""
        evaluation = account.history.evaluation
        utility = evaluation.utility[evaluation.is_valid]
        keys = [key for key, valid in zip(account.history.keys, evaluation.is_valid.tolist(), strict=True) if valid]
        pairs = account.pairs
        return {
            **front_metrics(utility),
            "diversity": molecule_diversity(keys, utility) if self.is_molecular and keys else None,
            "alignment": alignment(*pairs) if pairs is not None and len(pairs[0]) > 1 else None,
            "asked": account.asked,
            "paid": account.paid,
        }


@final
class Run(Generic[C]):
    """One method at work under one account."""

    def __init__(self, experiment: Experiment[C], ledger: Ledger, name: str, budget: int) -> None:
        self.experiment, self.folder, self.name, self.budget = experiment, experiment.folder, name, budget
        self.follower: Progress | None = None
        self.is_fresh = True
        self.oracle: Oracle[C] = Oracle(
            experiment.objectives,
            ledger,
            budget=budget,
            account=name,
            executor=experiment.executor,
            observer=self.observe,
        )

    @property
    def m(self) -> int:
        return self.experiment.objectives.m

    def train(self, sampler: Sampler[C]) -> Sampler[C]:
        """Fits the main sampler, or goes on fitting it, and saves it; a finished one is loaded.

        The sampler is always taken from what was saved, so that a resumed run samples from the same one.
        """
        if self.finished("train") is None:
            folder = self.folder / "checkpoints"
            folder.mkdir(exist_ok=True)
            if not has_checkpoint(folder):
                self.oracle.truncate(0)
            budget = self.budget - self.experiment.final.reserve(self.m, self.budget)
            with self.stage("train", "train", budget) as generator, self.taking_up(folder):
                sampler.fit(self.oracle.limited(budget), m=self.m, generator=generator, folder=folder)
            shutil.rmtree(self.folder / "model", ignore_errors=True)
            sampler.save(self.folder / "model")
            self.folder.finish("train", asked=self.oracle.asked)
        return type(sampler).load(self.folder / "model")

    @contextmanager
    def taking_up(self, folder: Path) -> Iterator[None]:
        """Says so where a sampler fails over its checkpoint, that is before it asks for anything."""
        is_there = has_checkpoint(folder)
        try:
            yield
        except MogenError:
            raise
        except Exception as error:
            if not (is_there and self.is_fresh):
                raise
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise RunError(
                f"expected a whole checkpoint in {folder}, got one that cannot be taken up ({reason[:200]}); remove "
                "that folder and resume to train again, with what was measured already for free"
            ) from error

    def sample(self, sampler: Sampler[C]) -> Account:
        """Draws from the trained sampler over the lattice until its end or the budget's."""
        trained = self.finished("train")
        assert trained is not None
        if self.finished("final") is None:
            self.oracle.truncate(trained)
            with self.stage("final", "final", self.budget) as generator:
                keys, preference = self.draw(sampler, generator)
            drawn = {"keys": keys, "preference": preference.tolist(), "spent": finite(sampler.accounts())}
            write_json(self.folder / "final.json", drawn)
            self.folder.finish("final", asked=self.oracle.asked)
        drawn = read_json(self.folder / "final.json")
        history = self.oracle.history()
        wanted = torch.tensor(drawn["preference"], dtype=torch.float64).reshape(-1, self.m)
        return self.account(history, trained, known_pairs(drawn["keys"], wanted, history))

    def spent(self, sampler: Sampler[C]) -> dict[str, Any]:
        """What the sampler had spent when the final sampling ended, in whichever session that was."""
        drawn = read_json(self.folder / "final.json")
        return dict(drawn["spent"]) if "spent" in drawn else sampler.accounts()

    def draw(self, sampler: Sampler[C], generator: torch.Generator) -> tuple[list[str], Float[Tensor, "n m"]]:
        """The keys of the final samples and the preference each was made for, asked for chunk by chunk.

        Where little may be asked for, little is drawn: twice as many as are left, since known ones cost nothing.
        """
        keys: list[str] = []
        wanted = [torch.zeros(0, self.m)]
        rows = self.experiment.final.preferences(self.m, generator)
        while len(rows):
            count = min(CHUNK, max(FEWEST, 2 * self.oracle.remaining))
            preference, rows = rows[:count], rows[count:]
            samples = sampler.sample(preference, generator=generator)
            keys += [candidate.key for candidate in samples.candidates]
            wanted.append(samples.preference)
            try:
                self.oracle(samples.candidates, preference=samples.preference)
            except BudgetExhausted:
                break
        return keys, torch.cat(wanted)

    def baseline(self, sampler: Sampler[C]) -> Account:
        """Fits a baseline from its start, values already in the ledger coming from there."""
        stage = f"baseline {self.name}"
        if self.finished(stage) is None:
            folder = self.folder / "baselines" / self.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.oracle.truncate(0)
            with self.stage(stage, BASELINE, self.budget) as generator:
                sampler.fit(self.oracle, m=self.m, generator=generator, folder=folder)
            self.folder.finish(stage, asked=self.oracle.asked)
        history = self.oracle.history()
        return self.account(history, self.oracle.asked, asked_pairs(history))

    def finished(self, stage: str) -> int | None:
        """How many candidates had been asked for when a stage ended, or None where it has not; all must be known."""
        left = self.folder.finished(stage)
        if left is None:
            return None
        if self.oracle.asked < left["asked"]:
            raise RunError(
                f"expected the {left['asked']} candidates that {self.name} had asked for when the stage {stage!r} "
                f"ended, got {self.oracle.asked} in {self.oracle.ledger.path}, which is not this run's ledger"
            )
        return left["asked"]

    def account(self, history: History, trained: int, pairs: tuple[Tensor, Tensor] | None) -> Account:
        """What this method asked for, as the figures need it."""
        return Account(self.name, history, self.oracle.asked, self.oracle.paid, trained, pairs)

    @contextmanager
    def stage(self, name: str, seed: str, budget: int) -> Iterator[torch.Generator]:
        """One stage: its own seed, its clock, its progress. A budget that ends inside it just ends it."""
        log.info("stage %s: up to %d candidates, %d asked so far", name, budget, self.oracle.asked)
        path = self.folder / "metrics.csv"
        self.follower = Progress(
            name, budget, path, show=self.experiment.progress, start=self.oracle.asked, diversity=self.diversity
        )
        self.is_fresh = True
        try:
            with self.experiment.clock(name), seeded(self.experiment.seed, seed) as generator:
                try:
                    yield generator
                except BudgetExhausted:
                    log.info("stage %s: budget spent", name)
        finally:
            self.follower.close()
            self.follower = None
        log.info("stage %s: %d asked, %d paid", name, self.oracle.asked, self.oracle.paid)

    def observe(self, candidates: list[C], evaluation: Evaluation, preference: Tensor | None) -> None:
        """Passes on what was measured to the progress of the stage."""
        del preference
        if not candidates or self.follower is None:
            return
        self.experiment.notice(candidates[0])
        if self.is_fresh:
            history = self.oracle.history()
            self.follower.begin(history.keys, history.evaluation.utility, max(0, len(history.keys) - len(candidates)))
            self.is_fresh = False
        self.follower.update([item.key for item in candidates], evaluation.utility, self.oracle.asked)
        self.experiment.clock.beat()

    def diversity(self, keys: list[str]) -> float | None:
        """IntDiv of (at most 100 of) the front, for the live line."""
        if not self.experiment.is_molecular:
            return None
        return intdiv(tanimoto(fingerprints(keys[:100])[1]))


@final
@dataclass
class Clock:
    """Seconds by stage, added up over sessions in the run's state."""

    folder: RunFolder
    stage: str | None = None
    since: float = field(default_factory=time.perf_counter)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Times a stage."""
        self.stage, self.since = stage, time.perf_counter()
        try:
            yield
        finally:
            self.note()
            self.stage = None

    def beat(self) -> None:
        """Notes the time spent so far, now and then."""
        if self.stage is not None and time.perf_counter() - self.since > HEARTBEAT:
            self.note()

    def note(self) -> None:
        now = time.perf_counter()
        if self.stage is not None:
            self.folder.spend(self.stage, now - self.since)
        self.since = now

    def spent(self, baseline: str) -> float:
        """Seconds a baseline took."""
        return self.folder.state["seconds"].get(f"baseline {baseline}", 0.0)

    def seconds(self, baselines: Mapping[str, Any]) -> dict[str, Any]:
        """Seconds split by stage, as in summary.json."""
        spent = self.folder.state["seconds"]
        return {
            "train": spent.get("train", 0.0),
            "final": spent.get("final", 0.0),
            "baselines": {name: self.spent(name) for name in baselines},
            "report": spent.get("report", 0.0),
            "total": sum(spent.values()),
        }


def known_pairs(keys: list[str], preference: Float[Tensor, "n m"], history: History) -> tuple[Tensor, Tensor]:
    """Preference and utility of every final sample whose value is known, repeats included."""
    rows = {key: row for row, key in enumerate(history.keys)}
    known = [place for place, key in enumerate(keys) if key in rows and bool(history.evaluation.is_valid[rows[key]])]
    utility = history.evaluation.utility[[rows[keys[place]] for place in known]]
    return preference[known], utility


def asked_pairs(history: History) -> tuple[Tensor, Tensor] | None:
    """Preference and utility of every candidate that was asked for with a preference, or None where none was."""
    if history.preference is None:
        return None
    known = history.preference.isfinite().all(1) & history.evaluation.is_valid
    return history.preference[known].to(torch.float64), history.evaluation.utility[known]


def candidate_table(account: Account, names: tuple[str, ...]) -> pd.DataFrame:
    """One row per candidate an account asked for, in order."""
    history, evaluation = account.history, account.history.evaluation
    n = len(history.keys)
    preference = history.preference if history.preference is not None else torch.full((n, len(names)), torch.nan)
    table: dict[str, Any] = {"method": [account.name] * n, "position": range(n), "candidate": history.keys}
    table |= columns("raw", names, evaluation.raw) | columns("utility", names, evaluation.utility)
    table |= columns("preference", names, preference)
    table["valid"] = evaluation.is_valid.tolist()
    table["stage"] = ["train" if position < account.trained else "final" for position in range(n)]
    worst = evaluation.status.amax(1).tolist() if n else []
    table["status"] = [Status(status).name.lower() for status in worst]
    return pd.DataFrame(table)


def front_table(archive: ParetoArchive[Any], names: tuple[str, ...]) -> pd.DataFrame:
    """One row per member of the front."""
    table: dict[str, Any] = {"candidate": [candidate.key for candidate in archive.candidates]}
    if len(archive):
        table |= columns("raw", names, archive.evaluation.raw) | columns("utility", names, archive.evaluation.utility)
    else:
        table |= {f"{kind}_{name}": [] for kind in ("raw", "utility") for name in names}
    return pd.DataFrame(table)


def curve_table(account: Account, points: int = 100) -> pd.DataFrame:
    """Hypervolume after about a hundred evenly spaced numbers of asked candidates, the last one included."""
    n = len(account.history.keys)
    counts = sorted({max(1, round(n * step / points)) for step in range(1, points + 1)}) if n else []
    volumes = hypervolume_curve(account.history.evaluation.utility, counts) if counts else []
    return pd.DataFrame({"method": [account.name] * len(counts), "asked": counts, "hypervolume": volumes})


def columns(kind: str, names: tuple[str, ...], values: Float[Tensor, "n m"]) -> dict[str, Any]:
    """One column per objective, named kind_objective."""
    return {f"{kind}_{name}": values[:, place].to(torch.float64).numpy() for place, name in enumerate(names)}


def has_checkpoint(folder: Path) -> bool:
    """Whether a sampler's folder holds more than logs."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return any(not any(path.match(pattern) for pattern in LOGS) for path in files)


def is_interrupt(stop: BaseException) -> bool:
    """Whether this is Ctrl-C, also where Lightning's trainer has turned it into an exit."""
    return isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt)


def spelled(kind: type) -> str:
    """A class as "module:name"."""
    return f"{kind.__module__}:{kind.__qualname__}"


def rebuilt(kind: str | None, key: str) -> Any:
    """A candidate from its key: `kind(key)` where the class takes its key alone, else the key by itself."""
    try:
        module, _, name = (kind or ":").partition(":")
        candidate = getattr(importlib.import_module(module), name)(key)
    except (ImportError, AttributeError, TypeError, ValueError):
        return TextCandidate(key)
    return candidate if getattr(candidate, "key", None) == key else TextCandidate(key)


def finite(content: Any) -> Any:
    """Content for JSON: tensors become lists; NaN and infinities become null."""
    if isinstance(content, Tensor):
        content = content.tolist()
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if hasattr(content, "item"):
        content = content.item()
    return None if isinstance(content, float) and not math.isfinite(content) else content
