"""Trained trajectories per second of the fragment GFlowNet, end to end, and what bounds them.

A step is: roll out a batch, decode it, measure QED + SA + MW (worker processes), balance, update. The vocabulary is the
published 105-entry one (72 fragments), read from MOGEN_DATA or --vocabulary. Without it the shipped vocabulary is used
and the output says so.

    python experiments/benchmarks/gflownet_throughput.py --json throughput.json [--seed 0] [--reduced]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import torch

from mogen.objective.set_file import load_set
from mogen.oracle import Ledger, Oracle, ProcessExecutor
from mogen.run import gemm_rate
from samplers.environment.fragment import FragmentEnvironment
from samplers.environment.rollout import UniformActor, rollout
from samplers.environment.vocabulary import Fragment, Vocabulary
from samplers.gflownet.networks.fragment import HistoryTransformer, TreeTransformer
from samplers.gflownet.policy import Network
from samplers.gflownet.sampler import GFlowNetSampler

PUBLISHED = (
    "recursionpharma/gflownet: 20-24 trajectories/s on two cores (batch 64, 2.26 M parameters, 2-3 actions a fragment)"
)


def measure_rate(
    environment: FragmentEnvironment, batch: int, steps: int, seed: int, workers: int, network: Network, folder: Path
) -> dict[str, Any]:
    """One setting: the rate over `steps` steps after a step of warm-up, and where the time went."""
    sampler = GFlowNetSampler(
        environment=environment,
        network=network,
        steps=steps + 2,
        batch=batch,
        accelerator="cpu",
        checkpoint_every=10**9,
    )
    module = None
    with ProcessExecutor(workers=workers) as executor, Ledger(folder / f"{time.time_ns()}.sqlite") as ledger:
        oracle = Oracle(load_set("druglike"), ledger, budget=10**9, executor=executor)
        started = rollout(environment, UniformActor(environment), 64, generator=torch.Generator().manual_seed(seed + 1))
        oracle(environment.decode(started.final))  # the workers are up before the clock runs
        clock: list[float] = []
        fragments: list[float] = []

        def timed(candidates, *, preference=None):
            clock.append(time.perf_counter())
            evaluation = oracle(candidates, preference=preference)
            return evaluation

        sampler.module = module = sampler.build(oracle.objectives.m, generator=torch.Generator().manual_seed(seed))
        sampler.fit(timed, m=oracle.objectives.m, generator=torch.Generator().manual_seed(seed))
        module = sampler.module
        final = module.roll(module.conditions(512), 0.0).final
        fragments = final.count.float().tolist()
    seconds = clock[-1] - clock[1]
    stages = {name: value / (steps + 2) for name, value in module.seconds.items()}
    return {
        "batch": batch,
        "steps": steps,
        "policy_parameters": sum(item.numel() for item in module.policy.parameters()),
        "trajectories_per_second": batch * steps / seconds,
        "actions_per_second": batch * steps * (1 + sum(fragments) / len(fragments)) / seconds,
        "mean_fragments": sum(fragments) / len(fragments),
        "seconds_per_step_by_stage": stages,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def environment_of(vocabulary: str | None, max_fragments: int, size: int | None = None) -> FragmentEnvironment:
    """At least 6 fragments where 6 fit, so that early, short molecules do not flatter the rate."""
    table = Vocabulary.default() if vocabulary is None else Vocabulary.from_json(vocabulary)
    fragments = list(table.fragments)
    if size is not None:  # beyond the vocabulary: the same fragments with one site fewer
        known = {(item.smiles, item.sites) for item in fragments}
        fewer = [Fragment(item.smiles, item.sites[:-1]) for item in fragments if len(item.sites) > 1]
        fragments = [*fragments, *(item for item in fewer if (item.smiles, item.sites) not in known)][:size]
    return FragmentEnvironment.of(fragments, max_fragments, min(6, max_fragments))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=None, help="where the figures go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12, help="timed steps a setting")
    parser.add_argument("--workers", type=int, default=2, help="processes for chemistry")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--vocabulary", default=None, help="fragment file; default: 105 entries under MOGEN_DATA")
    parser.add_argument("--reduced", action="store_true", help="only batch 64, few steps: a check that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vocabulary = arguments.vocabulary
    data = os.environ.get("MOGEN_DATA")
    if vocabulary is None and data and (Path(data) / "oracles/seh_blocks_PDB_105.json").is_file():
        vocabulary = str(Path(data) / "oracles/seh_blocks_PDB_105.json")
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        result = benchmark(arguments, vocabulary, Path(temporary))
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


def benchmark(arguments: argparse.Namespace, vocabulary: str | None, folder: Path) -> dict[str, Any]:
    """All settings of one run."""
    steps = 2 if arguments.reduced else arguments.steps
    history, tree = HistoryTransformer(), TreeTransformer()

    def run(environment: FragmentEnvironment, batch: int, network: Network = history, count: int = steps) -> dict:
        return measure_rate(environment, batch, count, arguments.seed, arguments.workers, network, folder)

    main_task = environment_of(vocabulary, 9)
    result: dict[str, Any] = {
        "vocabulary": "published 105 entries (72 fragments)" if vocabulary else "shipped (105-entry file not found)",
        "action": "parent site, then fragment and its site: one action a fragment, ending by stop or at 9",
        "published": PUBLISHED,
        "target_trajectories_per_second": 200,
        "gemm_gflops": gemm_rate() / 1e9,
        "threads": arguments.threads,
        "workers": arguments.workers,
        "seed": arguments.seed,
        "batch_64": run(main_task, 64),
    }
    if arguments.reduced:
        return result
    result["batch_256"] = run(main_task, 256)
    result["batch_256_tree_policy"] = run(main_task, 256, tree, 3)
    result["by_batch"] = {str(batch): run(main_task, batch, history, 4) for batch in (64, 256, 1024)}
    result["by_max_fragments"] = {str(f): run(environment_of(vocabulary, f), 256, history, 4) for f in (5, 9, 15)}
    sizes = (100, 300, 600, 1000)
    result["by_vocabulary"] = {}
    for size in sizes:
        environment = environment_of(None, 9, size)
        result["by_vocabulary"][str(len(environment.vocabulary))] = run(environment, 256, history, 4)
    return result


if __name__ == "__main__":
    main()
