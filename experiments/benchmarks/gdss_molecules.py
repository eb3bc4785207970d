"""Molecules of a graph diffusion model: validity, uniqueness, novelty, NSPDK and FCD, beside their floors.

    python experiments/benchmarks/gdss_molecules.py --model runs/gdss-qm9 --data qm9 --solver pc -n 2000 --json out.json

`valid` is the share of everything generated whose valences fit before any correction (connected or not);
`valid_corrected`, `unique` and `novel` are taken after the correction. FCD and NSPDK compare the corrected molecules
with the published test set (`split` is `published`), or with a random tenth where there is none here (`random`; a model
of a file has learned that tenth as well). The floor compares as many training molecules with the same test set, as they
are and (`fcd_floor_encoded`) as the model could draw them at best: without stereo and charges. Published for QM9
and ZINC250k (Jo et al. 2022, 10,000 molecules): valid .9572 / .9701, NSPDK .003 / .019, FCD 2.900 / 14.656; FCDs of
different numbers of molecules must not be compared. With --json a run that was killed goes on after its last batch.

Several models give a list of results: `--model models/X/checkpoints/at-* models/X` is the curve of a training that kept
models on its way (`updates` says how far each was).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mogen.dataset.molecules import Split, split
from mogen.domain.graph import MolecularGraphs, correct_valence, encode_molecules, is_valid, molecules
from mogen.errors import ConfigError, MogenError
from mogen.metric.generation import (
    Interval,
    canonical_smiles,
    fcd,
    fcd_interval,
    nspdk_interval,
    nspdk_mmd,
    share_interval,
    shares,
)
from samplers.diffusion import (
    S4,
    DPMSolverPlusPlus,
    EulerMaruyama,
    Heun,
    Langevin,
    PredictorCorrector,
    ReverseDiffusion,
    Solver,
    is_spacing,
)
from samplers.gdss.checkpoint import open_sampler, published_solver
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.network import PublishedNetwork

PUBLISHED = {
    "qm9": {"valid": 0.9572, "nspdk": 0.003, "fcd": 2.900, "n": 10_000},
    "zinc250k": {"valid": 0.9701, "nspdk": 0.019, "fcd": 14.656, "n": 10_000},
}


def main(argv: list[str] | None = None) -> int:
    """Parses, samples, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", required=True, nargs="+", help="model folders or names, or published checkpoints (.pth, .npz)"
    )
    parser.add_argument("--data", default="qm9", help="qm9, zinc250k or a file of SMILES")
    solvers = ["pc", "s4", "em", "reverse", "heun", "dpm", "dpm_sde", "own"]
    parser.add_argument("--solver", default="pc", choices=solvers)
    parser.add_argument("--norms", default="batch", choices=["batch", "item"], help="norms of the Langevin corrector")
    parser.add_argument("--steps", type=int, default=None, help="default: the model's own with own, 1000 otherwise")
    parser.add_argument(
        "--spacing",
        type=float,
        nargs="+",
        help="of the times looked at: a power, or a and b (default: the model's own)",
    )
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-fcd", action="store_true", help="without FCD, which says little below 1,000 molecules")
    parser.add_argument("--resamples", type=int, default=50, help="of the bootstrap behind the intervals")
    parser.add_argument("--smiles", default=None, help="a file for the corrected molecules, one a line")
    parser.add_argument("--json", default=None)
    options = parser.parse_args(argv)
    try:
        check(options)
        jobs = [Job.of(options, place) for place in range(len(options.model))]
        rows = measured(options, jobs)
    except MogenError as error:
        print(f"gdss_molecules: error: {error}", file=sys.stderr)
        return 2
    found = rows[0] if len(rows) == 1 else rows
    print(json.dumps(found, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
        for job in jobs:
            job.partial.unlink(missing_ok=True)
    return 0


def check(options: argparse.Namespace) -> None:
    """Whether everything that is asked for can be done; before any of it."""
    least = 1 if options.no_fcd else 2  # FCD is of distributions
    steps = 1 if options.steps is None else options.steps
    if options.n < least or min(options.batch, steps) < 1 or options.resamples < 0:
        raise ConfigError(
            f"expected -n of at least {least}, --batch and --steps of at least 1 and --resamples of at least 0, got "
            f"{options.n}, {options.batch}, {options.steps} and {options.resamples}"
        )
    if options.spacing is not None:
        options.spacing = options.spacing[0] if len(options.spacing) == 1 else tuple(options.spacing)
        if not is_spacing(options.spacing):
            raise ConfigError(f"expected a spacing above 0, or two such numbers, got {options.spacing}")
    for name in ("json", "smiles"):
        file = getattr(options, name)
        if file and (Path(file).is_dir() or not Path(file).parent.is_dir()):
            raise ConfigError(f"expected a file in a folder that is there for --{name}, got {file}")
    if options.smiles and len(options.model) > 1:
        raise ConfigError(f"expected one model with --smiles, got {len(options.model)}")
    if not options.no_fcd and importlib.util.find_spec("fcd") is None:
        raise ConfigError(
            "expected the package fcd for FCD, it is not installed: pip install 'mogen[fcd]', or --no-fcd"
        )
    try:
        torch.zeros(1, device=options.device)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ConfigError(f"expected a device that is there, got {options.device!r}: {reason}") from error


def solver_of(name: str, data: str, own: Solver, norms: Any) -> Solver:
    """A solver by its short name, with the corrector published for the data set."""
    published = published_solver(data)
    corrector = published.corrector if isinstance(published, PredictorCorrector) else Langevin()
    corrector = Langevin(corrector.snr, corrector.scale, corrector.steps, norms)
    return {
        "pc": PredictorCorrector(ReverseDiffusion(), corrector),
        "s4": S4(corrector),
        "em": EulerMaruyama(),
        "reverse": ReverseDiffusion(),
        "heun": Heun(),
        "dpm": DPMSolverPlusPlus(),
        "dpm_sde": DPMSolverPlusPlus(noise=1.0),
        "own": own,
    }[name]


@dataclass
class Job:
    """One model, and how it is drawn from."""

    name: str
    model: GraphModel
    solver: Solver
    steps: int
    card: dict[str, Any]
    partial: Path
    """where batches are kept until all are drawn"""

    @classmethod
    def of(cls, options: argparse.Namespace, place: int) -> Job:
        """The model at a place of the list; raises a sentence where it cannot be drawn from as is wanted."""
        name = str(options.model[place])
        sampler = open_sampler(name, options.data)
        model, own, own_steps = sampler.trained()
        if not model.kind.types:
            raise ConfigError(f"expected a model of molecules, got one of plain graphs in {name}: try gdss_graphs.py")
        solver = solver_of(options.solver, options.data, own, options.norms)
        if isinstance(solver, DPMSolverPlusPlus) and isinstance(model.network, PublishedNetwork):
            raise ConfigError(
                f"expected a network that is told the time for DPM-Solver++, got a published one in {name}: try "
                "--solver pc or s4"
            )
        steps = options.steps or (own_steps if options.solver == "own" else 1000)
        model.spacing = options.spacing or model.spacing
        ending = f".{place}.partial" if len(options.model) > 1 else ".partial"
        return cls(name, model, solver, steps, sampler.card, Path(f"{options.json}{ending}"))


@dataclass
class Drawn:
    """What was drawn so far; every batch has its own seed, so that a run that was killed goes on where it was."""

    settings: dict[str, Any]
    batches: int = 0
    valid: int = 0
    smiles: list[str | None] = field(default_factory=list)
    evaluations: int = 0
    seconds: float = 0.0
    processor: float = 0.0

    @classmethod
    def of(cls, options: argparse.Namespace, job: Job) -> Drawn:
        """What a killed run of the same settings left, or nothing yet."""
        named = ("data", "solver", "norms", "n", "batch", "seed")
        own = {"model": job.name, "steps": job.steps, "spacing": job.model.facts()["spacing"]}
        made = cls(own | {name: getattr(options, name) for name in named})
        if options.json and job.partial.is_file():
            try:
                kept = cls(**json.loads(job.partial.read_text(encoding="utf-8")))
            except (ValueError, TypeError):  # killed while it was written
                return made
            if kept.settings == made.settings:
                return kept
        return made

    def keep(self, options: argparse.Namespace, job: Job) -> None:
        """Writes it beside the file of figures, where there will be one."""
        if options.json:
            job.partial.write_text(json.dumps(asdict(self)), encoding="utf-8")


def measured(options: argparse.Namespace, jobs: list[Job]) -> list[dict[str, Any]]:
    """A row of figures for every model."""
    data = reference(options.data)
    rows = []
    for job in jobs:
        if len(jobs) > 1:
            print(job.name, file=sys.stderr, flush=True)
        row = figures(options, job, drawn(options, job), data)
        rows.append(row if len(jobs) == 1 else {**row, "updates": job.card.get("updates")})
    return rows


def reference(name: str) -> Split:
    """Training and test molecules; says where their parting is random, and leaves out tests that cannot be read."""
    data = split(name)
    if data.reason:
        print(f"warning: the test set is a random tenth of {name}: {data.reason}", file=sys.stderr)
    test = readable(data.test)
    if len(test) < len(data.test):
        print(f"left out {len(data.test) - len(test)} test molecules that cannot be read", file=sys.stderr)
    if not test:
        raise ConfigError(f"expected test molecules that can be read in {name}, got none")
    return replace(data, test=test)


def readable(smiles: list[str]) -> list[str]:
    """The texts that are molecules."""
    return [text for text, known in zip(smiles, canonical_smiles(smiles), strict=True) if known]


def drawn(options: argparse.Namespace, job: Job) -> Drawn:
    """Everything drawn from a model, batch by batch."""
    model, types = job.model.to(options.device), job.model.kind.types
    generator = torch.Generator().manual_seed(options.seed)
    sizes = model.kind.draw_sizes(options.n, generator=generator).sort().values
    made = Drawn.of(options, job)
    for turn, part in enumerate(sizes.split(options.batch)):
        if turn < made.batches:
            continue
        started, cpu, before = time.perf_counter(), time.process_time(), model.evaluations
        own_draws = torch.Generator().manual_seed(options.seed * 1_000_003 + turn)
        (fields,) = model.draw(part, job.solver, model.grid(job.steps), batch=options.batch, generator=own_draws)
        graphs = model.kind.decode({name: value.cpu() for name, value in fields.items()})
        assert isinstance(graphs, MolecularGraphs)
        made.valid += int(is_valid(graphs, types).sum())
        made.smiles += molecules(correct_valence(graphs, types), types)
        made.evaluations += model.evaluations - before
        made.seconds += time.perf_counter() - started
        made.processor += time.process_time() - cpu
        made.batches += 1
        made.keep(options, job)
        print(f"{len(made.smiles)} of {options.n}: {made.valid} valid", file=sys.stderr, flush=True)
    return made


def figures(options: argparse.Namespace, job: Job, made: Drawn, data: Split) -> dict[str, Any]:
    """Every figure of what was drawn from one model."""
    valid, smiles = made.valid, made.smiles
    if options.smiles:
        Path(options.smiles).write_text("\n".join(text or "" for text in smiles) + "\n", encoding="utf-8")
    found = shares(smiles, data.train)
    whole = [text for text in smiles if text is not None]
    draw = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(options.seed))[: len(whole)]
    floor = readable([data.train[row] for row in draw.tolist()])
    nspdk = nspdk_interval(whole, data.test, resamples=options.resamples, seed=options.seed)
    apart = None if options.no_fcd else chemnet(whole, data.test, options)
    return {
        "model": job.name,
        "data": options.data,
        "split": "random" if data.reason else "published",
        "solver": options.solver,
        "norms": options.norms,
        "steps": job.steps,
        "spacing": job.model.spacing,
        "n": options.n,
        "seed": options.seed,
        "valid": valid / options.n,
        "valid_interval": ends(share_interval(valid / options.n, options.n)),
        "valid_corrected": found.valid,
        "unique": found.unique,
        "novel": found.novel,
        "nspdk": nspdk.value,
        "nspdk_interval": ends(nspdk),
        "nspdk_floor": nspdk_mmd(floor, data.test),
        "fcd": None if apart is None else apart.value,
        "fcd_interval": None if apart is None else ends(apart),
        "fcd_floor": None if options.no_fcd else fcd(floor, data.test),
        "fcd_floor_encoded": None if options.no_fcd else fcd(drawable(floor, job.model.kind), data.test),
        "seconds": made.seconds,
        "processor_seconds": made.processor,
        "threads": torch.get_num_threads(),
        "network_evaluations": made.evaluations,
        "evaluations_per_molecule": job.steps * job.solver.evaluations,
        "published": None if data.reason else PUBLISHED.get(options.data),
    }


def chemnet(smiles: list[str], test: list[str], options: argparse.Namespace) -> Interval:
    """FCD, with an interval where resamples are wanted."""
    if not options.resamples:
        value = fcd(smiles, test)
        return Interval(value, value, value)
    return fcd_interval(smiles, test, resamples=min(options.resamples, 50), seed=options.seed)


def drawable(smiles: list[str], kind: GraphKind) -> list[str]:
    """Molecules after a way through the graphs of a model."""
    graphs, _ = encode_molecules(smiles, kind.types, kind.max_nodes, skip=True)
    return [text for text in molecules(correct_valence(graphs, kind.types), kind.types) if text is not None]


def ends(item: Interval) -> list[float]:
    """The ends of an interval."""
    return [item.low, item.high]


if __name__ == "__main__":
    sys.exit(main())
