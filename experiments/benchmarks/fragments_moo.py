"""The flagship task: fragments against sEH, with QED, synthetic accessibility and weight, beside published numbers.

Trains one GFlowNet over the published fragments (72 with 127 sites, from 105 entries; at most 9 in a molecule) that is
asked by preference or by goal, samples it, and prints the figures of Roy et al. 2023 with those of a random policy.

    python experiments/benchmarks/fragments_moo.py --objectives seh,qed --asking preference --seed 0 --json moo.json

It needs the sEH proxy and the fragments (`mogen data import seh_proxy_bengio2021 FILE`, `mogen data import
seh_blocks_PDB_105 FILE`). The default budget takes minutes on two cores and uses replay; `--paper` uses the published
settings and 2.56 million trajectories, and goes on where it was stopped if `--folder` is given.

How the figures are computed, on n = 15 x `--repeats` samples of the trained policy: 15 preferences are centres of
normalised |N(0, I)| draws (k-means); `igd` is the mean distance from the reference grid (upper faces of the unit cube,
10 points an axis) to the nearest sample; `avg_pcc` the mean over objectives of the correlation of what was asked and
what came; `pc_ent` the entropy of samples over nearest grid points, never above the logarithm of n or of the size of
the grid; hypervolume from the origin; `r2` the mean over the simplex lattice; diversity is 1 - mean Tanimoto
similarity of the 10 best samples of a preference. Utilities end at 1; the papers' sEH term value / 8 does not.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted, MogenError
from mogen.metric import alignment, fingerprints, front_metrics, pc_entropy, tanimoto, top_k_diversity
from mogen.objective import Evaluation, ObjectiveSet
from mogen.objective.set_file import load_set
from mogen.oracle import Executor, ProcessExecutor
from mogen.pareto.indicator import igd
from mogen.preference import WeightedLogSum, WeightedSum, cube_faces
from mogen.preference.goal import TabularGoals, goal_of
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.rollout import UniformActor, rollout
from samplers.gflownet.condition import Asking, ConstantBeta, Goals, Preferences
from samplers.gflownet.networks.fragment import HistoryTransformer
from samplers.gflownet.replay import Replay
from samplers.gflownet.sampler import GFlowNetSampler

SETS = {"seh,qed": "seh_qed", "seh,qed,sa": "seh_qed_sa", "seh,qed,sa,mw": "seh_qed_sa_mw"}
PUBLISHED = {
    ("preference", 2): (0.088, 0.904, 2.166),
    ("goal", 2): (0.094, 0.961, 2.471),
    ("preference", 3): (0.218, 0.775, 3.775),
    ("goal", 3): (0.199, 0.909, 4.571),
    ("preference", 4): (0.370, 0.612, 4.734),
    ("goal", 4): (0.303, 0.893, 6.320),
}
"""IGD, Avg-PCC, PC-ent of Roy et al. 2023 after 40,000 steps of 64 trajectories"""
PAPER_TRAJECTORIES = 2_560_000
PREFERENCES, TOP = 15, 10


class Counted:
    """A measure that counts trajectories, ends with a budget, remembers molecules, and says how it goes."""

    def __init__(self, objectives: ObjectiveSet[Molecule], budget: int, executor: Executor | None) -> None:
        self.objectives, self.budget, self.executor = objectives, budget, executor
        self.asked = 0
        self.known: dict[str, Tensor] = {}
        self.started = time.perf_counter()
        self.noted = self.resumed = 0

    def __call__(self, candidates: Sequence[Molecule], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        del preference
        if self.asked >= self.budget:
            raise BudgetExhausted(f"the budget of {self.budget} trajectories is spent")
        self.asked += len(candidates)
        found = self.measured(candidates)
        if self.asked - self.noted >= self.budget / 10:
            self.noted = self.asked
            utility = ", ".join(f"{value:.3f}" for value in found.utility.mean(0))
            seconds = time.perf_counter() - self.started
            print(f"{self.asked} trajectories, {seconds:.0f} s, mean utilities {utility}", file=sys.stderr, flush=True)
        return found

    def measured(self, candidates: Sequence[Molecule]) -> Evaluation:
        """Raw values, those of new molecules from the objectives."""
        new = list({item.key: item for item in candidates if item.key not in self.known}.values())
        if new and self.executor is None:
            self.known.update(zip((item.key for item in new), self.objectives(new).raw, strict=True))
        elif new and self.executor is not None:
            rows = self.executor.run(self.objectives.objectives, new)
            for item, row in zip(new, rows, strict=True):
                self.known[item.key] = torch.tensor([out.value for out in row], dtype=torch.float64)
        return self.objectives.evaluation(torch.stack([self.known[item.key] for item in candidates]))

    def truncate(self, count: int) -> None:
        """Goes on counting from a checkpoint's number."""
        self.asked = self.noted = self.resumed = count


def sampler(arguments: argparse.Namespace) -> GFlowNetSampler[Molecule]:
    """The published settings, or ours for few trajectories: many updates on replayed ones, a high learning rate."""
    environment = FragmentEnvironment(arguments.vocabulary, max_fragments=9, min_fragments=1)
    is_goal = arguments.asking == "goal"
    common: dict[str, Any] = {"environment": environment, "accelerator": arguments.accelerator, "steps": 10**7}
    common["checkpoint_every"] = arguments.checkpoint_every
    asking: Asking
    if arguments.paper:
        asking = Goals(TabularGoals(), cosine=0.98, limit=0.2, hindsight=0.3) if is_goal else Preferences()
        return GFlowNetSampler(
            **common,
            asking=asking,
            network=HistoryTransformer(width=256, depth=2, heads=4),
            scalarization=WeightedSum(),
            beta=ConstantBeta(60.0),
            replay=Replay(100_000, 1_000, share=1.0, sharpness=0.0, condition="own") if is_goal else None,
            batch=arguments.batch or 64,
            learning_rate=1e-4,
            partition_rate=1e-3,
            epsilon=0.01,
            average=0.95,
        )
    asking = Goals(TabularGoals(), cosine=0.98, limit=0.2, hindsight=0.3) if is_goal else Preferences()
    return GFlowNetSampler(
        **common,
        asking=asking,
        network=HistoryTransformer(width=128, depth=2, heads=4),
        scalarization=WeightedSum() if arguments.scalarization == "sum" else WeightedLogSum(floor=0.05),
        beta=ConstantBeta(arguments.beta),
        replay=Replay(warmup=500, share=2.0, sharpness=16.0, rebuilt=0.5, rebuilt_sharpness=64.0),
        batch=arguments.batch or 64,
        updates=arguments.updates,
        learning_rate=arguments.learning_rate,
        partition_rate=0.02,
        epsilon=0.02,
        average=0.9,
        floor=-400.0,
    )


def asked_preferences(m: int, repeats: int, generator: torch.Generator) -> Float[Tensor, "n m"]:
    """15 centres of |N(0, I)| draws that were normalised to sum 1 (k-means, Lloyd), each so many times."""
    points = torch.randn(4096, m, generator=generator).abs()
    points = points / points.sum(1, keepdim=True)
    centres = points[:PREFERENCES].clone()
    for _ in range(100):
        nearest = torch.cdist(points, centres).argmin(1)
        centres = torch.stack([points[nearest == row].mean(0) for row in range(PREFERENCES)])
    return centres.repeat_interleave(repeats, 0)


def figures(
    preference: Float[Tensor, "n m"], candidates: Sequence[Molecule], evaluation: Evaluation, asking: str
) -> dict[str, Any]:
    """Everything the report card says of samples that were made for preferences."""
    utility, m = evaluation.utility, preference.shape[1]
    asked = goal_of(preference) if asking == "goal" else preference
    reference = cube_faces(m)
    front = front_metrics(utility[evaluation.is_valid])
    score = WeightedSum()(utility.float(), preference)
    groups = torch.arange(len(preference)).split(len(preference) // PREFERENCES)
    return {
        "igd": igd(utility[evaluation.is_valid], reference),
        "avg_pcc": alignment(asked, utility.float()),
        "pc_ent": pc_entropy(utility[evaluation.is_valid]),
        "pc_ent_bound": math.log(min(len(candidates), len(reference))),
        "samples": len(candidates),
        "hypervolume": front["hypervolume"],
        "r2": front["r2"]["mean"],
        "r2_sum_norm": front["r2"]["sum_norm"],
        "zero_share": front["zero_share"],
        "front_size": front["front_size"],
        "diversity": sum(diversity(candidates, score, rows) for rows in groups) / len(groups),
        "top_10_reward": sum(score[rows].topk(min(TOP, len(rows))).values.mean().item() for rows in groups)
        / len(groups),
        "mean_utility": utility.mean(0).tolist(),
        "best_raw": evaluation.raw.max(0).values.tolist(),
        "unique": len({item.key for item in candidates}),
    }


def diversity(candidates: Sequence[Molecule], score: Float[Tensor, " n"], rows: Tensor) -> float:
    """1 - mean Tanimoto similarity among the 10 best different molecules of one preference."""
    kept, bits = fingerprints([candidates[row].smiles for row in rows.tolist()])
    return top_k_diversity(tanimoto(bits), score[rows[kept]], TOP)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains, samples, measures; the random policy's samples are made and judged alike."""
    objectives: ObjectiveSet[Molecule] = load_set(SETS[arguments.objectives])
    budget = PAPER_TRAJECTORIES if arguments.paper and not arguments.trajectories else arguments.trajectories or 10_000
    generator = torch.Generator().manual_seed(arguments.seed)
    made = sampler(arguments)
    executor = ProcessExecutor(workers=arguments.workers) if arguments.workers else None
    try:
        measure = Counted(objectives, budget, executor)
        started, cpu = time.perf_counter(), time.process_time()
        made.fit(measure, m=objectives.m, generator=generator, folder=arguments.folder)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        preference = asked_preferences(objectives.m, arguments.repeats, torch.Generator().manual_seed(0))
        candidates = made.sample(preference, generator=torch.Generator().manual_seed(arguments.seed + 1)).candidates
        found = figures(preference, candidates, measure.measured(candidates), arguments.asking)
        drawn = rollout(
            made.environment,
            UniformActor(made.environment),
            len(preference),
            generator=torch.Generator().manual_seed(arguments.seed + 2),
        )
        others = made.environment.decode(drawn.final)
        random = figures(preference, others, measure.measured(others), arguments.asking)
    finally:
        if executor is not None:
            executor.close()
    published = dict(zip(("igd", "avg_pcc", "pc_ent"), PUBLISHED[arguments.asking, objectives.m], strict=True))
    return {
        **found,
        "task": f"{objectives.name}, published fragments, at most 9",
        "asking": arguments.asking,
        "seed": arguments.seed,
        "trajectories": measure.asked,
        "resumed_at": measure.resumed,
        "molecules": len(measure.known),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "settings": "published" if arguments.paper else "ours",
        "options": {name: str(value) for name, value in vars(arguments).items()},
        "objective_set": objectives.identity,
        "reference_point": [0.0] * objectives.m,
        "random": random,
        "published": {**published, "trajectories": PAPER_TRAJECTORIES},
    }


def table(result: dict[str, Any]) -> str:
    """One row per source of samples."""
    columns = ("igd", "avg_pcc", "pc_ent", "hypervolume", "r2", "diversity", "top_10_reward")
    rows = {"ours": result, "random policy": result["random"], "published": result["published"]}
    head = f"{'':<16}" + "".join(f"{name:>15}" for name in columns)
    lines = [
        f"{name:<16}" + "".join(f"{row[key]:>15.3f}" if row.get(key) is not None else f"{'-':>15}" for key in columns)
        for name, row in rows.items()
    ]
    return "\n".join(
        [
            f"{result['task']}, asked by {result['asking']}, seed {result['seed']}",
            f"{result['trajectories']} trajectories in {result['seconds']:.0f} s, {result['cpu_seconds']:.0f} s of "
            f"this process's CPU time ({result['settings']} settings), "
            f"published: {PAPER_TRAJECTORIES}",
            f"{result['samples']} samples; PC-ent is at most {result['pc_ent_bound']:.3f} "
            "(reference grid and number of samples)",
            "our utilities end at 1 (the published sEH term, value / 8, does not); hypervolume from the origin",
            head,
            *lines,
        ]
    )


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", choices=sorted(SETS), default="seh,qed")
    parser.add_argument("--asking", choices=["preference", "goal"], default="preference")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="where the figures go")
    parser.add_argument("--trajectories", type=int, default=None, help="10,000 unless given; 2,560,000 with --paper")
    parser.add_argument("--paper", action="store_true", help="the published settings and budget")
    parser.add_argument("--repeats", type=int, default=128, help="samples for each of the 15 preferences")
    parser.add_argument("--vocabulary", default="seh_blocks_PDB_105", help="a JSON file of fragments, or a data set")
    parser.add_argument("--folder", type=Path, default=None, help="keeps checkpoints; a stopped training goes on")
    parser.add_argument("--checkpoint-every", type=int, default=200, help="gradient steps between checkpoints")
    parser.add_argument("--workers", type=int, default=0, help="processes for the objectives; 0 for this one")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--accelerator", default="cpu", help="Lightning's: cpu, gpu, auto")
    parser.add_argument("--batch", type=int, default=None, help="trajectories a batch; 64 unless given")
    parser.add_argument("--beta", type=float, default=96.0, help="our settings: the reward exponent")
    parser.add_argument(
        "--scalarization", choices=["sum", "logsum"], default="logsum", help="our settings, asked by preference"
    )
    parser.add_argument("--updates", type=int, default=4, help="our settings: gradient steps a batch")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="our settings")
    arguments = parser.parse_args(words)
    if (arguments.trajectories is not None and arguments.trajectories < 1) or arguments.repeats < 2:
        parser.error("expected --trajectories of at least 1 and --repeats of at least 2")
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    arguments = parsed(words)
    torch.set_num_threads(arguments.threads)
    try:
        result = run(arguments)
    except MogenError as error:
        print(f"fragments_moo: error: {error}", file=sys.stderr)
        return 2
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
