"""Active learning on known problems: hypervolume against measured candidates, for one method and one seed.

    python experiments/benchmarks/active_learning.py --task bigrams3 --method genetic --seed 0 --json out.json

Tasks: bigrams3, ehrlich2, ehrlich3, ehrlich2_64, ehrlich3_64, gsk3b_jnk3, gsk3b_jnk3_qed_sa, fexofenadine, amlodipine,
perindopril, gb1, rfp_standin, tfbind8 (data from the folder that MOGEN_DATA names). Methods without a belief: random,
nsga2, genetic (parents by random weighted sums; Graph-GA's operators for molecules). With one: loop (genetic search on
the upper bound, then qLogNEHVI), qlognehvi (over mutated incumbents, or over the whole pool), ucb (the same with
scalarised upper bounds), gflownet (a preference-conditioned GFlowNet on the upper bounds, then qLogNEHVI), and, for
pools, ei (expected improvement of the mean of all utilities).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mogen.acquisition import HypervolumeImprovement, UpperBound
from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError, DataError, MogenError
from mogen.loop import (
    ActiveLoop,
    BelieveAndChoose,
    Evolve,
    Genetic,
    Library,
    LibraryProposer,
    LibrarySource,
    ListSource,
    PickRandomly,
    SamplerProposer,
    Strategy,
)
from mogen.objective import Objective, ObjectiveSet, load_set
from mogen.oracle import Ledger, Oracle
from mogen.pareto import hypervolume
from mogen.surrogate import GaussianProcess, Observations
from samplers.baseline.variation import MoleculeVariation, SequenceVariation
from samplers.environment.sequence import PROTEIN

TASKS = (
    "bigrams3", "ehrlich2", "ehrlich3", "ehrlich2_64", "ehrlich3_64", "gsk3b_jnk3", "gsk3b_jnk3_qed_sa", "fexofenadine",
    "amlodipine", "perindopril", "gb1", "rfp_standin", "tfbind8",
)  # fmt: skip
METHODS = ("random", "nsga2", "genetic", "loop", "qlognehvi", "ucb", "gflownet", "ei")
TRIPLES = {
    "a": ("NR1H4_REF_R1", "POU3F4_REF_R1", "ZNF200_REF_R1"),
    "b": ("KLF1_REF_R1", "NR1H4_REF_R1", "PITX2_REF_R1"),
    "c": ("CRX_REF_R1", "EGR2_REF_R1", "HOXD13_REF_R1"),
}
"""transcription factors whose exact fronts are long: 120, 119 and 99 of the 65,536 words"""


@dataclass
class Task:
    """A problem: what is measured, where it starts, how many candidates at a time."""

    objectives: ObjectiveSet[Any]
    start: Callable[[int, torch.Generator], list[Any]]
    count: int
    batch: int
    rounds: int
    kind: str
    variation: Any = None
    pool: Library | None = None
    exact: float | None = None
    lengths: tuple[int, int] | None = None
    alphabet: str = ""
    edits: int = 0
    """most substitutions of a sequence-editing GFlowNet; 0 for one that builds sequences"""
    facts: dict[str, Any] = field(default_factory=dict)


class Column(Objective[Any]):
    """A column of a table by candidate key; NaN for candidates that are not in it."""

    def __init__(self, name: str, values: dict[str, float], worst: float, best: float, source: str) -> None:
        self.name, self.values, self.worst, self.best, self.source = name, values, worst, best, source
        self.parameters = {"entries": len(values), "sum": round(sum(values.values()), 6)}

    def evaluate(self, candidates: Sequence[Any]) -> torch.Tensor:
        return torch.tensor([self.values.get(item.key, float("nan")) for item in candidates], dtype=torch.float64)


class MeanImprovement(Strategy[Any]):
    """Expected improvement of the mean utility over a pool, one Gaussian process of that mean: a plain scalarisation.

    EI = (mu - best) Phi(z) + sd phi(z), z = (mu - best) / sd (Jones et al. 1998).
    """

    def __init__(self, pool: Library) -> None:
        self.pool, self.process = pool, GaussianProcess()

    def choose(self, situation: Any, q: int) -> list[Any]:
        seen = situation.observed
        mean_utility = seen.utility.mean(1, keepdim=True)
        unknown = torch.full_like(mean_utility, torch.nan)
        self.process.fit(Observations(seen.candidates, mean_utility, unknown, seen.is_valid, mean_utility))
        mean, deviation = self.process.marginal(self.pool)
        gap, normal = mean[:, 0] - mean_utility.max(), torch.distributions.Normal(0.0, 1.0)
        z = gap / deviation[:, 0]
        worth = gap * normal.cdf(z) + deviation[:, 0] * normal.log_prob(z).exp()
        order = worth.argsort(descending=True, stable=True).tolist()
        return self.pool.standardised(order, q, situation.taken)


def data(relative: str) -> Path:
    """A file below MOGEN_DATA; raises `DataError` where there is none."""
    folder = os.environ.get("MOGEN_DATA")
    path = Path(folder or "") / relative
    if not folder or not path.is_file():
        raise DataError(f"expected {relative} in the folder that MOGEN_DATA names, got MOGEN_DATA={folder!r}")
    return path


def task_of(name: str, seed: int, *, reduced: bool = False, triple: str = "a") -> Task:
    """A task by its name; a reduced one is a few times smaller, for tests."""
    if name not in TASKS:
        raise ConfigError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    if name == "bigrams3":
        return bigrams(reduced)
    if name.startswith("ehrlich"):
        return ehrlich(name, reduced)
    if name.startswith("gsk3b"):
        return kinases(name, seed, reduced)
    if name == "rfp_standin":
        return rfp_standin(seed, reduced)
    if name == "gb1":
        return gb1(reduced)
    if name == "tfbind8":
        return tfbind8(triple, reduced)
    return guacamol(name, reduced)


def bigrams(reduced: bool) -> Task:
    """Counts of AV, VC and CA / 18 in 32 to 36 amino acids; the exact front is known."""
    from objectives.sequence.ngram import ngram_front

    low, high, alphabet = (8, 10, "AVCKW") if reduced else (32, 36, PROTEIN)
    given = load_set("bigrams3")
    if reduced:
        best = {"worst": 0, "best": 5}
        given = load_set({"objectives": [{"name": "ngram", **best, "init": {"word": w}} for w in ("AV", "VC", "CA")]})

    def start(n: int, generator: torch.Generator) -> list[Any]:
        found: dict[str, TokenSequence] = {}
        while len(found) < n:
            length = int(torch.randint(low, high + 1, (), generator=generator))
            places = torch.randint(len(alphabet), (length,), generator=generator).tolist()
            text = "".join(alphabet[place] for place in places)
            found[text] = TokenSequence(text)
        return list(found.values())

    sizes = {"min_length": low, "max_length": high, "alphabet_size": len(alphabet)}
    front = ngram_front(["AV", "VC", "CA"], **sizes, best=5.0 if reduced else 18.0)
    return Task(
        given, start, 64 if reduced else 512, 16, 2 if reduced else 64, "sequence",
        SequenceVariation(alphabet, low, high), None, hypervolume(front), (low, high), alphabet,
    )  # fmt: skip


def ehrlich(name: str, reduced: bool) -> Task:
    """Ehrlich functions that share their banned transitions; starts from 200 random sequences without one.

    Which transitions are banned is not told: a banned one fails and is paid for.
    """
    given = load_set(name)
    first: Any = given.objectives[0]

    def start(n: int, generator: torch.Generator) -> list[Any]:
        return list({item.text: item for item in first.start(n + 8, generator=generator)}.values())[:n]

    count, batch, rounds = (40, 10, 2) if reduced else (200, 16, 50)
    return Task(
        given, start, count, batch, rounds, "sequence", SequenceVariation(first.alphabet, first.length, first.length),
        None, None, (first.length, first.length), first.alphabet, 4,
    )  # fmt: skip


def zinc(n: int, seed: int) -> list[str]:
    """n rows of ZINC250k, drawn by a seed."""
    with gzip.open(data("molecules/zinc250k.csv.gz"), "rt") as file:
        rows = [row["smiles"] for row in csv.DictReader(file)]
    return random.Random(f"zinc {seed}").sample(rows, n)


def kinases(name: str, seed: int, reduced: bool) -> Task:
    """GSK3b and JNK3 forests; starts from random ZINC molecules, never from known actives."""
    count = 24 if reduced else 200
    known = [Molecule.from_smiles(text) for text in zinc(count + 20, seed)]

    def start(n: int, generator: torch.Generator) -> list[Any]:
        del generator
        return list({item.key: item for item in known}.values())[:n]

    rounds, batch = (1, 10) if reduced else (8, 100)
    return Task(load_set(name), start, count, batch, rounds, "molecule", MoleculeVariation())


def guacamol(name: str, reduced: bool) -> Task:
    """The components of a GuacaMol task over a fixed pool of 10,000 ZINC molecules (drawn once, seed 0)."""
    pool = Library.of(zinc(300 if reduced else 10_000, 0))
    objectives = load_set({"name": name, "objectives": GUACAMOL[name]})
    utility = objectives(pool[:]).utility

    def start(n: int, generator: torch.Generator) -> list[Any]:
        return LibrarySource(pool).draw(n, (), generator=generator)

    facts = {"pool": len(pool), "note": "pool of ZINC250k rows, fixed reference point: compare within this run only"}
    return Task(
        objectives, start, 10, 1, 4 if reduced else 200, "molecule", None, pool, hypervolume(utility), facts=facts
    )


def _similarity(reference: str, fingerprint: str, clip: float | None = None) -> dict[str, Any]:
    init: dict[str, Any] = {"reference": reference, "fingerprint": fingerprint}
    return {"name": "similarity", "init": init if clip is None else init | {"clip": clip}}


def _shaped(name: str, of: str, modifier: str, mu: float, sigma: float) -> dict[str, Any]:
    return {
        "name": "modified_property",
        "init": {"name": name, "property": of, "modifier": modifier, "mu": mu, "sigma": sigma},
    }


GUACAMOL = {
    "fexofenadine": [
        _similarity("CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN1CCC(CC1)C(O)(c1ccccc1)c1ccccc1", "AP", 0.8),
        _shaped("tpsa_score", "tpsa", "max_gaussian", 90, 10),
        _shaped("logp_score", "logp", "min_gaussian", 4, 1),
    ],
    "amlodipine": [
        _similarity("CCOC(=O)C1=C(COCCN)NC(C)=C(C(=O)OC)C1c1ccccc1Cl", "ECFP4"),
        _shaped("rings_score", "rings", "gaussian", 3, 0.5),
    ],
    "perindopril": [
        _similarity("CCC[C@@H](C(=O)OCC)N[C@@H](C)C(=O)N1[C@H]2CCCC[C@H]2C[C@H]1C(=O)O", "ECFP4"),
        _shaped("aromatic_rings_score", "aromatic_rings", "gaussian", 2, 0.5),
    ],
}


def gb1(reduced: bool) -> Task:
    """Four sites of GB1, 149,361 measured variants: fitness (worst 0, best the maximum), and few mutations (4 to 0)."""
    with gzip.open(data("sequences/gb1_four_site.csv.gz"), "rt") as file:
        rows = [(row["Variants"], float(row["Fitness"]), float(row["HD"])) for row in csv.DictReader(file)]
    fitness = {text: value for text, value, _ in rows}
    mutations = {text: value for text, _, value in rows}
    source = "Wu et al. 2016, as FLIP has it"
    objectives: ObjectiveSet[Any] = ObjectiveSet(
        [
            Column("fitness", fitness, 0.0, max(fitness.values()), source),
            Column("mutations", mutations, 4.0, 0.0, source),
        ],
        name="gb1",
    )
    return table_task(objectives, list(fitness), PROTEIN, 4, (24, 8, 1) if reduced else (96, 48, 8))


def tfbind8(triple: str, reduced: bool) -> Task:
    """Binding of all 65,536 DNA 8-mers by three factors: E-scores, worst the lowest and best the highest of each."""
    if triple not in TRIPLES:
        raise ConfigError(f"there is no triple {triple!r} of transcription factors; there are {', '.join(TRIPLES)}")
    with np.load(data("sequences/tfbind8_escores.npz"), allow_pickle=False) as file:
        names = [str(name) for name in file["tf"]]
        kmers, reverse = [str(text) for text in file["kmer"]], [str(text) for text in file["revcomp"]]
        scores = file["escore_1e5"]
    columns = []
    for name in TRIPLES[triple]:
        row = scores[names.index(name)] / 1e5
        values = dict(zip([*kmers, *reverse], np.concatenate([row, row]).tolist(), strict=True))
        columns.append(Column(name, values, float(row.min()), float(row.max()), "Barrera et al. 2016"))
    objectives: ObjectiveSet[Any] = ObjectiveSet(columns, name=f"tfbind8 {triple}")
    texts = ["".join(word) for word in itertools.product("ACGT", repeat=8)]
    task = table_task(objectives, texts, "ACGT", 8, (20, 10, 2) if reduced else (100, 10, 20))
    task.facts["triple"] = list(TRIPLES[triple])
    return task


class SameLength:
    """Crossover and substitutions among sequences of one length, for every length among the parents."""

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet

    def __call__(self, parents: Sequence[Any], n: int, *, generator: torch.Generator) -> list[Any]:
        groups: dict[int, list[Any]] = {}
        for parent in parents:
            groups.setdefault(len(parent), []).append(parent)
        found: dict[str, Any] = {}
        for length, group in sorted(groups.items()):
            vary = SequenceVariation(self.alphabet, length, length)
            share = -(-n * len(group) // len(parents))
            found |= {child.key: child for child in vary(group, share, generator=generator)}
        return list(found.values())[:n]


def rfp_standin(seed: int, reduced: bool) -> Task:
    """Red fluorescent proteins by the stand-in (not FoldX); starts from published seed sequences, drawn by a seed."""
    with gzip.open(data("sequences/lambo_proxy_rfp_seed_data.csv.gz"), "rt") as file:
        texts = sorted({row["foldx_seq"] for row in csv.DictReader(file)})
    objectives = load_set("rfp_standin")
    errors = {item.name: item.held_out for item in objectives.objectives}  # type: ignore[attr-defined]

    count, batch, rounds = (32, 8, 1) if reduced else (512, 16, 64)
    first = random.Random(f"rfp {seed}").sample(texts, count)
    known = set(first)
    rest = ListSource([TokenSequence(text) for text in texts if text not in known])

    def start(n: int, generator: torch.Generator) -> list[Any]:
        return [TokenSequence(text) for text in first] if n == count else rest.draw(n, (), generator=generator)

    lengths = (min(map(len, texts)), max(map(len, texts)))
    return Task(
        objectives, start, count, batch, rounds, "sequence", SameLength(PROTEIN), None, None, lengths, PROTEIN, 6,
        {"held_out": errors, "note": "an ensemble trained on public labels, not FoldX"},
    )  # fmt: skip


def table_task(
    objectives: ObjectiveSet[Any], texts: list[str], alphabet: str, length: int, plan: tuple[int, int, int]
) -> Task:
    """A task whose whole table is known: exact hypervolume, random start."""
    pool = Library.of(texts, "sequence")
    count, batch, rounds = plan
    everything = [TokenSequence(text) for text in texts]

    def start(n: int, generator: torch.Generator) -> list[Any]:
        return ListSource(everything).draw(n, (), generator=generator)

    return Task(
        objectives, start, count, batch, rounds, "sequence",
        SequenceVariation(alphabet, length, length), pool, hypervolume(objectives(everything).utility),
        (length, length), alphabet,
    )  # fmt: skip


def strategy_of(method: str, task: Task, steps: int) -> Strategy[Any]:
    """A method for a task; raises `ConfigError` where it cannot be used."""
    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    source = LibrarySource(task.pool) if task.pool is not None else FreshSource(task)
    if method == "random":
        return PickRandomly(source)
    if method == "ei":
        if task.pool is None:
            raise ConfigError("the method 'ei' needs a task with a pool")
        return MeanImprovement(task.pool)
    if method == "qlognehvi" and task.pool is not None:
        return BelieveAndChoose([LibraryProposer(task.pool)], HypervolumeImprovement(most_pool=2_000))
    if method == "ucb" and task.pool is not None:
        return BelieveAndChoose([LibraryProposer(task.pool)], UpperBound())
    if method == "gflownet":
        return BelieveAndChoose([SamplerProposer(sampler_of(task, steps), samples=256)], HypervolumeImprovement())
    if task.variation is None:
        raise ConfigError(f"the method {method!r} makes molecules, which the fixed pool of this task does not hold")
    if method in ("nsga2", "genetic"):
        return Evolve(task.variation, source, by="rank" if method == "nsga2" else "sum")
    kinds = {"loop": 4, "qlognehvi": 1, "ucb": 4}
    proposer: Any = Genetic(task.variation, children=250 if kinds[method] > 1 else 500, generations=kinds[method])
    return BelieveAndChoose([proposer], UpperBound() if method == "ucb" else HypervolumeImprovement())


class FreshSource:
    """Random candidates of a task: more of its start."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def draw(self, n: int, known: Any, *, generator: torch.Generator) -> list[Any]:
        if self.task.kind == "molecule":
            texts = zinc(n + len(known), int(torch.randint(2**31 - 1, (), generator=generator)))
            return Library.of(texts).standardised(range(len(texts)), n, known)
        return [item for item in self.task.start(n, generator) if item.key not in known]


def sampler_of(task: Task, steps: int) -> Any:
    """A GFlowNet for a task's candidates."""
    from samplers.gflownet.sampler import GFlowNetSampler

    if task.kind == "molecule":
        if task.pool is not None:
            raise ConfigError("the method 'gflownet' makes molecules, which the fixed pool of this task does not hold")
        return GFlowNetSampler(steps=steps, batch=32, accelerator="cpu", checkpoint_every=steps)
    from samplers.environment.edit import SequenceEdit
    from samplers.environment.sequence import SequenceEnvironment
    from samplers.gflownet.networks.sequence import CausalTransformer, EditTransformer

    assert task.lengths is not None
    if task.edits:
        first = task.start(1, torch.Generator().manual_seed(0))[0].text
        return GFlowNetSampler(
            environment=SequenceEdit([first], task.alphabet, task.edits, slots=16, length=task.lengths[1]),
            network=EditTransformer(), steps=steps, batch=32, accelerator="cpu", checkpoint_every=steps,
        )  # fmt: skip
    environment = SequenceEnvironment(task.alphabet, *task.lengths)
    return GFlowNetSampler(
        environment=environment, network=CausalTransformer(), steps=steps, batch=32, accelerator="cpu",
        checkpoint_every=steps,
    )  # fmt: skip


def run(task: Task, method: str, seed: int, rounds: int | None = None, steps: int = 100) -> dict[str, Any]:
    """One run: hypervolume after the start and after every batch."""
    began = time.perf_counter()
    rounds = task.rounds if rounds is None else rounds
    budget = task.count + rounds * task.batch
    strategy = strategy_of(method, task, steps)
    loop: ActiveLoop[Any] = ActiveLoop(task.objectives, strategy, batch=task.batch, seed=seed)
    start = task.start(task.count, torch.Generator().manual_seed(seed))
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        oracle = Oracle(task.objectives, ledger, budget=budget, account=method)
        curve = [point(loop.tell(start, oracle(start)), began)]

        def watch(found: Any) -> None:
            curve.append(point(found, began))
            print(found.line(), file=sys.stderr, flush=True)

        loop.run(oracle, rounds, watch=watch)
        asked, utility = oracle.asked, loop.observed.utility
    random_volume = random_hypervolume(task, asked) if task.pool is not None else None
    final = curve[-1]["hypervolume"]
    result: dict[str, Any] = {
        "method": method,
        "seed": seed,
        "budget": budget,
        "asked": asked,
        "start": task.count,
        "batch": task.batch,
        "reference_point": [0.0] * task.objectives.m,
        "objectives": list(task.objectives.names),
        "oracle": task.objectives.identity,
        "hypervolume": final,
        "regret": (1 - utility.amax(0)).tolist(),
        "auc": area(curve),
        "curve": curve,
        "exact": task.exact,
        "ratio": None if not task.exact else final / task.exact,
        "random": random_volume,
        "gap_closed": None,
        "seconds": time.perf_counter() - began,
        "threads": torch.get_num_threads(),
        **task.facts,
    }
    if task.exact is not None and random_volume is not None and task.exact > random_volume:
        result["gap_closed"] = (final - random_volume) / (task.exact - random_volume)
    return result


def point(found: Any, began: float) -> dict[str, Any]:
    """One point of the curve, with how well the batch was foreseen."""
    told = found.calibration
    return {
        "asked": found.asked,
        "hypervolume": found.hypervolume,
        "seconds": round(time.perf_counter() - began, 3),
        "coverage": None if told is None else told.coverage.tolist(),
        "nlpd": None if told is None else told.nlpd.tolist(),
    }


def area(curve: list[dict[str, Any]]) -> float:
    """Mean hypervolume from the start to the end, by trapezoids over measured candidates."""
    if len(curve) < 2:
        return float(curve[-1]["hypervolume"])
    asked = torch.tensor([float(item["asked"]) for item in curve], dtype=torch.float64)
    volume = torch.tensor([float(item["hypervolume"]) for item in curve], dtype=torch.float64)
    return float(torch.trapezoid(volume, asked) / (asked[-1] - asked[0]))


def random_hypervolume(task: Task, count: int, repeats: int = 20) -> float:
    """Mean hypervolume of `count` random members of the pool."""
    assert task.pool is not None
    utility = task.objectives(task.pool[:]).utility
    made = torch.Generator().manual_seed(0)
    picks = [torch.randperm(len(utility), generator=made)[:count] for _ in range(repeats)]
    return sum(hypervolume(utility[pick]) for pick in picks) / repeats


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--steps", type=int, default=100, help="gradient steps of the GFlowNet in every round")
    parser.add_argument("--triple", default="a", help="of transcription factors: a, b or c")
    parser.add_argument("--reduced", action="store_true", help="a small form of the task")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args(argv)
    try:
        task = task_of(given.task, given.seed, reduced=given.reduced, triple=given.triple)
        result = {"task": given.task, "reduced": given.reduced}
        result |= run(task, given.method, given.seed, given.rounds, given.steps)
    except MogenError as error:
        print(f"active_learning: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=2)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(text + "\n")
    shown = {key: value for key, value in result.items() if key != "curve"}
    print(json.dumps(shown, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
