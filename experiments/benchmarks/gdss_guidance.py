"""Fronts out of graph diffusion: every guidance beside unguided samples, best-of-N, Graph-GA and a fragment GFlowNet.

    python experiments/benchmarks/gdss_guidance.py --model gdss-qm9 --objectives qm9_small --budget 500 --seeds 5

Every method may ask for `--budget` different candidates per seed; labels of a predictor and measured predictions of
clean graphs are asked for like any others. Learned guidance spends `--labels` of them on the model's own samples first;
a tenth is kept for one candidate per preference of a lattice, drawn when learning has ended. `hypervolume` is that of
everything asked for; `curve` has it after a quarter, a half, ... with the network evaluations spent until then (of one
graph, a gradient counts as two; those of training are in `training_evaluations`: a forward and a gradient per graph).
`worth` is the mean scalarised utility of the candidates returned for the preferences of the lattice: best-of-N returns
the best of everything unguided sampling asked for, unguided sampling any. GD+ and IGD+ are taken to the front of all
methods and seeds together. `gain` is the hypervolume beyond that of unguided sampling with the same seed, its mean over
seeds and the 95 % interval of a paired t-test.

The sets: qm9_small (QED, SA, logP to 2.5, weight to 105) for QM9, zinc_celecoxib (QED, SA, logP from 2 to 4, similarity
to celecoxib) for ZINC250k.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted, ConfigError, MogenError
from mogen.metric import fingerprints, intdiv, tanimoto
from mogen.metric.comparison import paired
from mogen.objective import ObjectiveSet
from mogen.objective.set_file import load_set
from mogen.oracle import Ledger, Oracle
from mogen.pareto import gd_plus, hypervolume, igd_plus, is_non_dominated
from mogen.preference import Scalarization, Tchebycheff, WeightedLogSum, WeightedSum, simplex_lattice
from samplers.baseline.graph_ga import GraphGA
from samplers.environment.fragment import FragmentEnvironment
from samplers.gdss.learner import Conditioning, Predictor
from samplers.gdss.sampler import GDSSSampler, Steering
from samplers.gflownet.condition import ConstantBeta
from samplers.gflownet.replay import Replay
from samplers.gflownet.sampler import GFlowNetSampler

GUIDANCES = ("predictor", "classifier_free", "particles")
METHODS = ("unguided", "best_of_n", "graph_ga", "gflownet", *GUIDANCES)
SCALARIZATIONS: dict[str, type[Scalarization]] = {
    "sum": WeightedSum,
    "product": WeightedLogSum,
    "tchebycheff": Tchebycheff,
}
"""`product` is the geometric mean: twice a small utility counts as much as twice a large one"""
QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclass
class Trace:
    """What one method did with one seed."""

    method: str
    seed: int
    utility: Float[Tensor, "n m"]
    keys: list[str]
    returned: Float[Tensor, "k m"]
    """utilities of the candidate returned for each preference of the lattice"""
    evaluations: list[tuple[int, int]] = field(default_factory=list)
    """asked so far, network evaluations so far"""
    training: int = 0
    seconds: float = 0.0


def main(argv: list[str] | None = None) -> int:
    """Parses, runs every method and seed, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gdss-qm9", help="a model of molecules: its folder or its name")
    parser.add_argument("--objectives", default="qm9_small", help="a set's name, or a YAML file")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--budget", type=int, default=500, help="candidates each method may ask for, per seed")
    parser.add_argument("--labels", type=int, default=None, help="of them the first labels (default: 40 %%)")
    parser.add_argument("--updates", type=int, default=400, help="gradient steps of the first training")
    parser.add_argument("--batch", type=int, default=64, help="graphs per gradient step")
    parser.add_argument("--more", type=int, default=40, help="gradient steps after every round")
    parser.add_argument("--steps", type=int, default=None, help="of the solver (default: the model's own)")
    parser.add_argument("--strength", type=float, default=100.0, help="of the predictor's push")
    parser.add_argument("--weight", type=float, default=2.0, help="of the classifier-free condition")
    parser.add_argument("--looks", type=int, default=10, help="at the particles, of each round")
    parser.add_argument("--trial", type=int, default=50, help="samples after which particles follow a belief")
    parser.add_argument("--push", type=float, default=30.0, help="strength of the particles' resampling")
    parser.add_argument("--oversample", type=int, default=1, help="guided candidates per one asked for, if learned")
    parser.add_argument("--novelty", type=float, default=0.0, help="lambda of the predictor's guidance")
    parser.add_argument("--scalarization", default="sum", choices=[*SCALARIZATIONS])
    parser.add_argument("--partitions", type=int, default=3, help="of the lattice of preferences")
    parser.add_argument("--fragments", type=int, default=3, help="most fragments of the GFlowNet's molecules")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", default=None)
    options = parser.parse_args(argv)
    try:
        found = measured(options)
    except MogenError as error:
        print(f"gdss_guidance: error: {error}", file=sys.stderr)
        return 2
    print(table(found["rows"]))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every method with every seed, and the rows they make."""
    methods = [name for name in options.methods.split(",") if name]
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or options.seeds < 1 or options.budget < 20:
        raise ConfigError(
            f"expected methods among {', '.join(METHODS)}, at least 1 seed and a budget of at least 20, got "
            f"{options.methods}, {options.seeds} and {options.budget}"
        )
    if options.json and (Path(options.json).is_dir() or not Path(options.json).parent.is_dir()):
        raise ConfigError(f"expected a file in a folder that is there for --json, got {options.json}")
    if not GDSSSampler(model=options.model).trained()[0].kind.types:
        raise ConfigError(f"expected a model of molecules, got one of plain graphs in {options.model}")
    objectives: ObjectiveSet[Molecule] = load_set(options.objectives)
    traces: list[Trace] = []
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        for seed in range(options.seed, options.seed + options.seeds):
            for method in methods:
                drawn = [item for item in traces if item.method == "unguided" and item.seed == seed]
                job = Job(method, seed, objectives, ledger, options)
                traces.append(job.chosen(drawn[0]) if method == "best_of_n" and drawn else job.run())
                last = traces[-1]
                print(
                    f"{method}, seed {seed}: hypervolume {volume(last.utility):.4f} after {len(last.keys)} asked, "
                    f"{last.seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return {**vars(options), "rows": rows(traces, methods, options)}


class Job:
    """One method with one seed: what it asks for is noted with what it has cost until then."""

    def __init__(
        self,
        method: str,
        seed: int,
        objectives: ObjectiveSet[Molecule],
        ledger: Ledger,
        options: argparse.Namespace,
    ) -> None:
        self.method, self.seed, self.options, self.m = method, seed, options, objectives.m
        self.spent: list[tuple[int, int]] = []
        self.sampler: Any = self.made()
        self.oracle: Oracle[Molecule] = Oracle(
            objectives, ledger, budget=options.budget, account=f"{method} {seed}", observer=self.note
        )
        self.lattice = simplex_lattice(objectives.m, options.partitions).float()

    def note(self, *arguments: Any) -> None:
        """How much was asked and evaluated so far."""
        del arguments
        cost = self.sampler.evaluations if isinstance(self.sampler, GDSSSampler) else 0
        self.spent.append((self.oracle.asked, cost))

    def made(self) -> Any:
        """The sampler of the method."""
        options = self.options
        labels = options.labels or int(0.4 * options.budget)
        common: dict[str, Any] = {"labels": labels, "updates": options.updates, "more": options.more, "round": 32}
        common |= {"batch": options.batch, "accelerator": "cpu", "oversample": options.oversample}
        base: GDSSSampler = GDSSSampler(
            model=options.model,
            steps=options.steps,
            guidance=self.method if self.method in GUIDANCES else "particles",  # type: ignore[arg-type]
            steering=Steering(particles=8, round=32, looks=options.looks, trial=options.trial, strength=options.push),
            predictor=Predictor(
                **common, strength_x=options.strength, strength_adj=options.strength, novelty=options.novelty
            ),
            conditioning=Conditioning(**common, weight=options.weight),
            scalarization=self.scalarization(),
            batch=128,
        )
        if self.method == "graph_ga":
            search: GraphGA = GraphGA(base.environment, population=max(10, min(100, options.budget // 8)))
            return search
        return gflownet(options.fragments, 2 * options.budget) if self.method == "gflownet" else base

    def scalarization(self) -> Scalarization:
        """What makes one number of many."""
        return SCALARIZATIONS[self.options.scalarization]()

    def run(self) -> Trace:
        """Asks until the budget ends, then for one candidate per preference of the lattice."""
        generator = torch.Generator().manual_seed(self.seed)
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            final = self.unguided(generator) if self.method in ("unguided", "best_of_n") else self.fitted(generator)
        history = self.oracle.history()
        learner = self.sampler.learner if isinstance(self.sampler, GDSSSampler) else None
        utility = torch.where(history.evaluation.is_valid[:, None], history.evaluation.utility, 0.0)
        return Trace(
            self.method,
            self.seed,
            utility,
            history.keys,
            final if final is not None else self.best(utility),
            self.spent,
            learner.evaluations if learner else 0,
            time.perf_counter() - started,
        )

    def chosen(self, drawn: Trace) -> Trace:
        """The best, for every preference, of what unguided sampling asked for."""
        return replace(drawn, method=self.method, returned=self.best(drawn.utility))

    def unguided(self, generator: torch.Generator) -> Tensor | None:
        """Plain samples until the budget ends; utilities of the first ones, or nothing for the best."""
        try:
            for _ in range(self.options.budget):
                before = self.oracle.asked
                made = self.sampler.sample(torch.zeros(min(128, self.options.budget), 0), generator=generator)
                self.oracle(made.candidates)
                if self.oracle.asked == before:
                    break
        except BudgetExhausted:
            pass
        if self.method == "best_of_n":
            return None
        utility = self.oracle.history().evaluation.utility
        return utility[: len(self.lattice)]

    def fitted(self, generator: torch.Generator) -> Tensor | None:
        """Nine tenths of the budget for `fit`, the rest for the lattice."""
        is_search = isinstance(self.sampler, GraphGA)
        kept = 0 if is_search else min(len(self.lattice), self.options.budget // 10)
        self.sampler.fit(self.oracle.limited(self.options.budget - kept), m=self.m, generator=generator, folder=None)
        if is_search:
            return None
        preference = self.lattice[torch.linspace(0, len(self.lattice) - 1, kept).long()] if kept else self.lattice
        made = self.sampler.sample(preference, generator=generator)
        found = self.oracle(made.candidates, preference=preference)
        self.lattice = preference
        return found.utility

    def best(self, utility: Float[Tensor, "n m"]) -> Float[Tensor, "k m"]:
        """For every preference the candidate worth most."""
        worth = torch.stack(
            [self.scalarization()(utility.float(), wish.expand(len(utility), -1)) for wish in self.lattice]
        )
        return utility[worth.argmax(1)]


def gflownet(fragments: int, steps: int) -> GFlowNetSampler[Molecule]:
    """The fragment GFlowNet with the settings of the demo for few measurements."""
    return GFlowNetSampler(
        environment=FragmentEnvironment(max_fragments=fragments, min_fragments=1),
        beta=ConstantBeta(96.0),
        batch=32,
        updates=8,
        steps=steps,
        replay=Replay(warmup=100, share=2.0, sharpness=16.0, rebuilt=0.5, rebuilt_sharpness=64.0),
        learning_rate=4e-3,
        partition_rate=0.02,
        epsilon=0.02,
        average=0.9,
        floor=-400.0,
        accelerator="cpu",
    )


def volume(utility: Float[Tensor, "n m"]) -> float:
    """The hypervolume from the origin."""
    return hypervolume(utility[is_non_dominated(utility)]) if len(utility) else 0.0


def rows(traces: Sequence[Trace], methods: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per method: means over seeds, and gains over unguided sampling."""
    everything = torch.cat([item.utility for item in traces])
    front = everything[is_non_dominated(everything)].unique(dim=0)
    usual = {item.seed: volume(item.utility) for item in traces if item.method == "unguided"}
    found = []
    for method in methods:
        mine = [item for item in traces if item.method == method]
        volumes = [volume(item.utility) for item in mine]
        shares = [figures(item, front, options) for item in mine]
        row: dict[str, Any] = {"method": method, "seeds": [item.seed for item in mine]}
        row |= {"hypervolume": mean(volumes), "hypervolumes": volumes}
        row |= {name: mean([share[name] for share in shares]) for name in shares[0] if name != "curve"}
        row["curve"] = [
            {name: mean([share["curve"][k][name] for share in shares]) for name in shares[0]["curve"][k]}
            for k in range(len(QUARTERS))
        ]
        if method != "unguided" and usual:
            row["gain"] = paired(volumes, [usual[item.seed] for item in mine]).to_dict(is_interval=True)
        found.append(row)
    return found


def figures(item: Trace, front: Float[Tensor, "k m"], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one method with one seed."""
    n, m = item.utility.shape
    own = item.utility[is_non_dominated(item.utility)]
    keys = [key for key, kept in zip(item.keys, is_non_dominated(item.utility).tolist(), strict=True) if kept]
    lattice = simplex_lattice(m, options.partitions).float()
    if len(item.returned) < len(lattice):
        lattice = lattice[torch.linspace(0, len(lattice) - 1, len(item.returned)).long()]
    scalar = SCALARIZATIONS[options.scalarization]()
    cost = dict(item.evaluations)
    curve = []
    for quarter in QUARTERS:
        asked = max(1, round(quarter * n))
        spent = max((value for count, value in cost.items() if count <= asked), default=0)
        curve.append({"asked": asked, "network_evaluations": spent, "hypervolume": volume(item.utility[:asked])})
    return {
        "asked": n,
        "network_evaluations": max(cost.values(), default=0),
        "training_evaluations": item.training,
        "worth": float(scalar(item.returned.float(), lattice).mean()),
        "gd_plus": gd_plus(own, front),
        "igd_plus": igd_plus(own, front),
        "diversity": intdiv(tanimoto(fingerprints(keys)[1])) if len(keys) > 1 else 0.0,
        "front_size": len(own),
        "seconds": item.seconds,
        "curve": curve,
    }


def mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return statistics.fmean(values) if values else 0.0


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = ["method           hypervolume  gain over unguided      worth  GD+    IGD+   diversity  asked  evaluations"]
    for row in found:
        gain, told = row.get("gain"), ""
        if gain is not None:
            told = f"{gain['mean']:+.4f}"
            told += f" [{gain['low']:+.4f}, {gain['high']:+.4f}]" if "low" in gain else ""
        lines.append(
            f"{row['method']:<16} {row['hypervolume']:<12.4f} {told:<26} {row['worth']:.3f}  {row['gd_plus']:.3f}  "
            f"{row['igd_plus']:.3f}  {row['diversity']:.3f}      {row['asked']:<6.0f} {row['network_evaluations']:.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
