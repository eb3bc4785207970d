"""What each choice of settings bought: the exact-front tasks with one setting made otherwise at a time, same seeds.

    python experiments/benchmarks/gflownet_tuning.py --task bigrams3 --trajectories 12800 --seeds 3 --json tuning.json

A row per change (see --change of exact_fronts.py): the task's figures (`ratio` of the exact hypervolume, `l1` where
it is defined), mean and standard deviation over seeds, and paired differences to the default settings with their 95 %
intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from mogen.metric.comparison import differences, estimates
from mogen.objective import load_set

sys.path.insert(0, str(Path(__file__).parent))
from exact_fronts import CHANGES, TASKS, figures_of, made, train

PER_TASK = {
    "bigrams": [
        "weighted_sum", "tchebycheff", "vanilla", "constant_beta", "beta_96", "scaled_logits", "no_replay",
        "uniform_replay", "no_average", "slow_rate", "no_huber", "floor_75",
    ],
    "hypergrid": ["log_sum", "tchebycheff", "vanilla", "scaled_logits", "no_average", "slow_rate", "goals", "ordered"],
    "strings": ["scaled_logits", "no_replay", "no_average", "slow_rate", "no_huber", "floor_75"],
}  # fmt: skip
"""the changes that make sense where"""


def one(name: str, changes: list[str], *, trajectories: int, seed: int, beta: float | None) -> dict[str, float]:
    """The figures of one training, and its seconds."""
    task, objectives = TASKS[name], load_set(TASKS[name].objectives)
    sampler = made(task, trajectories=trajectories, beta=beta or task.beta, changes=changes)
    watch = train(name, sampler, objectives, seed=seed)
    return {**figures_of(name, task, sampler, objectives, seed), "seconds": watch.seconds}


def rows_of(runs: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """A row per change: spread of the figures, and of their differences to the default, seed by seed."""
    rows = []
    for name, ours in runs.items():
        own = {key: item.to_dict() for key, item in estimates(ours).items()}
        rows.append({"change": name, "seeds": len(ours), "figures": own})
        if name != "default":
            apart = differences(ours, runs["default"][: len(ours)])
            rows[-1]["difference"] = {key: item.to_dict(is_interval=True) for key, item in apart.items()}
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text, a figure of the task per column pair."""
    figures = [key for key in ("ratio", "l1") if key in rows[0]["figures"]]
    head = "".join(f"{key:<18}{'minus the default':<30}" for key in figures)
    lines = [f"{'change':<16}{'seeds':>5}  {head}{'seconds':>8}"]
    for row in rows:
        parts = "".join(_figure(row, key) for key in figures)
        lines.append(f"{row['change']:<16}{row['seeds']:>5}  {parts}{row['figures']['seconds']['mean']:>8.0f}")
    return "\n".join(lines)


def _figure(row: dict[str, Any], key: str) -> str:
    """A figure, and how it differs."""
    value, difference = row["figures"].get(key), row.get("difference", {}).get(key)
    text = f"{value['mean']:.4f} +- {value['standard_deviation']:.4f}" if value else "-"
    apart = f"{difference['mean']:+.4f}" if difference else ""
    if difference and "low" in difference:
        apart += f" [{difference['low']:+.4f}, {difference['high']:+.4f}]"
    return f"{text:<18}{apart:<30}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="bigrams3", choices=[*TASKS])
    parser.add_argument("--trajectories", type=int, default=12_800)
    parser.add_argument("--beta", type=float, default=None)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--changes", nargs="+", default=None, choices=[*CHANGES])
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kind = next(part for part in PER_TASK if arguments.task.startswith(part))
    runs: dict[str, list[dict[str, float]]] = {"default": []}
    for name in ["default", *(arguments.changes or PER_TASK[kind])]:
        runs[name] = []
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            changes = [] if name == "default" else [name]
            found = one(arguments.task, changes, trajectories=arguments.trajectories, seed=seed, beta=arguments.beta)
            runs[name].append(found)
            print(f"{name}, seed {seed}: {found}", file=sys.stderr, flush=True)
            content = {"task": arguments.task, "trajectories": arguments.trajectories}
            content |= {"beta": arguments.beta or TASKS[arguments.task].beta, "runs": runs, "rows": rows_of(runs)}
            if arguments.json:
                arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    print(table(rows_of(runs)))


if __name__ == "__main__":
    main()
