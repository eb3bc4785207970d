"""The history policy beside the tree policy: same environment, same numbers of trajectories and updates, 5 seeds.

Both are trained on fexofenadine as in experiments/configs/demo.yaml, with fewer updates a batch. The faster one is the
default if hypervolume, diversity and alignment are within one pooled standard deviation of the other's.

    python experiments/benchmarks/gflownet_policies.py --json policies.json [--seed 0] [--seeds 5] [--budget 2000]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from mogen.experiment import Experiment
from mogen.objective.set_file import load_set
from mogen.oracle import ProcessExecutor
from mogen.preference import WeightedLogSum
from samplers.environment.fragment import FragmentEnvironment
from samplers.gflownet.condition import ConstantBeta
from samplers.gflownet.networks.fragment import HistoryTransformer, TreeTransformer
from samplers.gflownet.replay import Replay
from samplers.gflownet.sampler import GFlowNetSampler

NETWORKS = {"history": HistoryTransformer, "tree": TreeTransformer}
FIGURES = ("hypervolume", "intdiv", "top_k", "alignment")


def trained(name: str, seed: int, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One policy, one seed."""
    sampler = GFlowNetSampler(
        environment=FragmentEnvironment(max_fragments=5),
        network=NETWORKS[name](width=128, depth=2, heads=4),
        scalarization=WeightedLogSum(floor=0.05),
        beta=ConstantBeta(192.0),
        replay=Replay(warmup=100, share=2.0, sharpness=16.0, rebuilt=0.5, rebuilt_sharpness=128.0),
        batch=32,
        updates=arguments.updates,
        steps=100_000,
        learning_rate=0.004,
        partition_rate=0.02,
        epsilon=0.02,
        average=0.9,
        floor=-400.0,
        accelerator="cpu",
    )
    with ProcessExecutor(workers=arguments.workers) as executor:
        summary = (
            Experiment(
                load_set("fexofenadine"),
                sampler,
                budget=arguments.budget,
                seed=seed,
                out=folder / f"{name}-{seed}",
                executor=executor,
                progress=False,
                render=False,
            )
            .run()
            .summary
        )
    return {
        "hypervolume": summary["hypervolume"],
        "intdiv": summary["diversity"]["intdiv"],
        "top_k": summary["diversity"]["top_k"],
        "alignment": summary["alignment"],
        "seconds": summary["seconds"]["train"],
        "parameters": sum(item.numel() for item in sampler.module.policy.parameters()),
    }


def compared(history: list[dict[str, float]], tree: list[dict[str, float]], figure: str) -> dict[str, Any]:
    """Means, spreads, and whether the means are within one pooled standard deviation."""
    first, second = [row[figure] for row in history], [row[figure] for row in tree]
    pooled = math.sqrt((stdev(first) ** 2 + stdev(second) ** 2) / 2) if len(first) > 1 else math.nan
    difference = mean(first) - mean(second)
    return {
        "history": mean(first),
        "tree": mean(second),
        "difference": difference,
        "pooled_standard_deviation": pooled,
        "history_is_no_worse": difference >= -pooled,
        "within_one_pooled_standard_deviation": abs(difference) <= pooled,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=None, help="where the figures go")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=2000, help="unique candidates a run")
    parser.add_argument("--updates", type=int, default=6, help="gradient steps a batch of 32 new trajectories")
    parser.add_argument("--workers", type=int, default=2, help="processes for chemistry")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in NETWORKS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            for name in NETWORKS:
                rows[name].append(trained(name, seed, arguments, Path(folder)))
                print(name, "seed", seed, {key: round(value, 4) for key, value in rows[name][-1].items()}, flush=True)
    result = {
        "task": "fexofenadine, fragments (600, at most 5)",
        "budget": arguments.budget,
        "updates_per_batch": arguments.updates,
        "seeds": list(range(arguments.seed, arguments.seed + arguments.seeds)),
        "comparison": {figure: compared(rows["history"], rows["tree"], figure) for figure in FIGURES},
        "seconds_ratio_tree_to_history": mean(row["seconds"] for row in rows["tree"])
        / mean(row["seconds"] for row in rows["history"]),
        "runs": rows,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
