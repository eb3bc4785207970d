"""Molecules of a graph diffusion model: validity, uniqueness, novelty, NSPDK and FCD, beside their floors.

    python experiments/benchmarks/gdss_molecules.py --model runs/gdss-qm9 --data qm9 --solver pc -n 2000 --json out.json

`valid` is the share of everything generated whose valences fit before any correction (connected or not);
`valid_corrected`, `unique` and `novel` are taken after the correction. FCD and NSPDK compare the corrected molecules
with the published test set; the floor compares as many training molecules with the same test set, as they are and
(`fcd_floor_encoded`) as the model could draw them at best: without stereo and charges. Published for QM9
and ZINC250k (Jo et al. 2022, 10,000 molecules): valid .9572 / .9701, NSPDK .003 / .019, FCD 2.900 / 14.656; FCDs of
different numbers of molecules must not be compared. With --json a run that was killed goes on after its last batch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mogen.dataset.molecules import split
from mogen.domain.graph import MolecularGraphs, correct_valence, encode_molecules, is_valid, molecules
from mogen.errors import MogenError
from mogen.metric.generation import Interval, fcd, fcd_interval, nspdk_interval, nspdk_mmd, share_interval, shares
from samplers.diffusion import (
    S4,
    DPMSolverPlusPlus,
    EulerMaruyama,
    Heun,
    Langevin,
    PredictorCorrector,
    ReverseDiffusion,
    Solver,
)
from samplers.gdss.checkpoint import open_sampler, published_solver
from samplers.gdss.model import GraphKind

PUBLISHED = {
    "qm9": {"valid": 0.9572, "nspdk": 0.003, "fcd": 2.900, "n": 10_000},
    "zinc250k": {"valid": 0.9701, "nspdk": 0.019, "fcd": 14.656, "n": 10_000},
}


def main(argv: list[str] | None = None) -> int:
    """Parses, samples, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder, or a published checkpoint (.pth, .npz)")
    parser.add_argument("--data", default="qm9", help="qm9, zinc250k or a file of SMILES")
    parser.add_argument("--solver", default="pc", choices=["pc", "s4", "em", "reverse", "heun", "dpm", "own"])
    parser.add_argument("--norms", default="batch", choices=["batch", "item"], help="norms of the Langevin corrector")
    parser.add_argument("--steps", type=int, default=1000)
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
        found = measured(options)
    except MogenError as error:
        print(f"gdss_molecules: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
        partial(options).unlink(missing_ok=True)
    return 0


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
        "own": own,
    }[name]


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
    def of(cls, options: argparse.Namespace) -> Drawn:
        """What a killed run of the same settings left, or nothing yet."""
        named = ("model", "data", "solver", "norms", "steps", "n", "batch", "seed")
        made = cls({name: getattr(options, name) for name in named})
        if options.json and partial(options).is_file():
            kept = json.loads(partial(options).read_text(encoding="utf-8"))
            if kept["settings"] == made.settings:
                return cls(**kept)
        return made

    def keep(self, options: argparse.Namespace) -> None:
        """Writes it beside the file of figures, where there will be one."""
        if options.json:
            partial(options).write_text(json.dumps(asdict(self)), encoding="utf-8")


def partial(options: argparse.Namespace) -> Path:
    """Where batches are kept until all are drawn."""
    return Path(f"{options.json}.partial")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure of one run."""
    model, own, _ = open_sampler(options.model, options.data).trained()
    model, types = model.to(options.device), model.kind.types
    solver = solver_of(options.solver, options.data, own, options.norms)
    generator = torch.Generator().manual_seed(options.seed)
    sizes = model.kind.draw_sizes(options.n, generator=generator).sort().values
    made = Drawn.of(options)
    for turn, part in enumerate(sizes.split(options.batch)):
        if turn < made.batches:
            continue
        started, cpu, before = time.perf_counter(), time.process_time(), model.evaluations
        own_draws = torch.Generator().manual_seed(options.seed * 1_000_003 + turn)
        (fields,) = model.draw(part, solver, model.grid(options.steps), batch=options.batch, generator=own_draws)
        graphs = model.kind.decode({name: value.cpu() for name, value in fields.items()})
        assert isinstance(graphs, MolecularGraphs)
        made.valid += int(is_valid(graphs, types).sum())
        made.smiles += molecules(correct_valence(graphs, types), types)
        made.evaluations += model.evaluations - before
        made.seconds += time.perf_counter() - started
        made.processor += time.process_time() - cpu
        made.batches += 1
        made.keep(options)
        print(f"{len(made.smiles)} of {options.n}: {made.valid} valid", file=sys.stderr, flush=True)
    valid, smiles = made.valid, made.smiles
    if options.smiles:
        Path(options.smiles).write_text("\n".join(text or "" for text in smiles) + "\n", encoding="utf-8")
    data = split(options.data)
    found = shares(smiles, data.train)
    whole = [text for text in smiles if text is not None]
    draw = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(options.seed))[: len(whole)]
    floor = [data.train[row] for row in draw.tolist()]
    nspdk = nspdk_interval(whole, data.test, resamples=options.resamples, seed=options.seed)
    apart = None if options.no_fcd else chemnet(whole, data.test, options)
    return {
        "model": str(options.model),
        "data": options.data,
        "solver": options.solver,
        "norms": options.norms,
        "steps": options.steps,
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
        "fcd_floor_encoded": None if options.no_fcd else fcd(drawable(floor, model.kind), data.test),
        "seconds": made.seconds,
        "processor_seconds": made.processor,
        "threads": torch.get_num_threads(),
        "network_evaluations": made.evaluations,
        "evaluations_per_molecule": options.steps * solver.evaluations,
        "published": PUBLISHED.get(options.data),
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
