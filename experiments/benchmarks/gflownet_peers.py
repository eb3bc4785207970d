"""Trained transitions a second beside torchgfn 2.4.1 and gfnx 0.0.1, in turns, in one run.

HyperGrid 20^4, MLP 2 x 256, trajectory balance, batches of 16 and 256, two cores. All trajectories of everyone take
exactly 38 steps (stopping is masked before the last one). A step is a rollout, rewards, the loss, its gradient and the
update; gflownet_peer_worker.py says how each library is called. A peer is optional, and lives in an environment of its
own (python -m venv; pip install torchgfn==2.4.1, or gfnx==0.0.1):

    python experiments/benchmarks/gflownet_peers.py --torchgfn-python A/bin/python --gfnx-python B/bin/python
        --json peers.json [--batches 16 256] [--rounds 15] [--seconds 0.2] [--threads 2] [--compile-peers] [--reduced]

Every library takes its fastest mode, found before the clock runs, and all have the same memory allocator settings. A
ratio is the median over rounds of our rate over the peer's in the same round; `spread` has the smallest and largest.
`gemm_share` is the arithmetic that is needed (each state once through the hidden layer and the head, twice that for
the gradient) over the fastest matrix product that torch offers here. `fit` is our rate with Lightning's loop around
it. `sequences`: length 36, batch 128, a causal transformer, and the operations that take most of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from gflownet_peer_worker import DIMENSION, SIDE, WIDTH

from mogen.domain.point import Point
from mogen.errors import MogenError, RunError
from mogen.objective import Evaluation
from mogen.run import gemm_rate
from samplers.environment.hypergrid import HyperGrid
from samplers.environment.sequence import SequenceEnvironment
from samplers.gflownet.condition import ConstantBeta, Unasked
from samplers.gflownet.networks.mlp import MLP
from samplers.gflownet.networks.sequence import CausalTransformer
from samplers.gflownet.sampler import GFlowNetSampler
from samplers.products import product

LENGTH, BATCHES, PEERS = 38, (16, 256), ("torchgfn", "gfnx")
FLOPS = 3 * 2 * (WIDTH * WIDTH + WIDTH * (DIMENSION + 1))
"""needed for a transition; the first layer sees one-hot places, and is a sum of rows"""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "10000000000"}
"""keeps memory instead of giving it back to the system after every step"""


def grid_sampler(batch: int, length: int, steps: int, is_compiled: bool) -> GFlowNetSampler:
    """Our side: one unconditional policy of the hypergrid, on-policy, with constant rates, as the peers have it."""
    return GFlowNetSampler(
        environment=HyperGrid(DIMENSION, SIDE, edge_ends=False, length=length),
        network=MLP(WIDTH, 2),
        asking=Unasked(),
        beta=ConstantBeta(1.0),
        steps=steps,
        batch=batch,
        epsilon=0.0,
        average=0.0,
        learning_rate=1e-3,
        partition_rate=1e-1,
        weight_decay=0.0,
        checkpoint_every=10**9,
        accelerator="cpu",
        compile=is_compiled,
    )


def reward_of(candidates: Sequence[Point], *, preference: torch.Tensor | None = None) -> Evaluation:
    """The reward of the first GFlowNet paper, R = 0.001 + 0.5 [all |x| > 0.5] + 2 [all 0.6 < |x| < 0.8], over 2.501."""
    rows = []
    for point in candidates:
        size = [abs(x) for x in point.coordinates]
        least, most = min(size), max(size)
        rows.append([(0.001 + 0.5 * (least > 0.5) + 2.0 * (least > 0.6 and most < 0.8)) / 2.501])
    value = torch.tensor(rows)
    measured = torch.zeros_like(value, dtype=torch.long)
    return Evaluation(value, measured, torch.ones(len(candidates), dtype=torch.bool), value, value)


class Worker:
    """A library in a process of its own, that trains so many steps when told to."""

    def __init__(self, library: str, python: str, batch: int, threads: int, compile_peers: bool) -> None:
        here = Path(__file__).parent
        environment = dict(os.environ) | ALLOCATOR | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        environment |= {"COMPILE_PEERS": "1"} if compile_peers else {}
        command = [python, str(here / "gflownet_peer_worker.py"), library, str(batch), str(LENGTH), str(threads)]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise RunError(f"expected a Python interpreter for {library}, got {python}: {error}") from error
        self.library, self.batch = library, batch
        self.mode = json.loads(self._line())["mode"]

    def _line(self) -> str:
        assert self.process.stdout is not None and self.process.stderr is not None
        for line in self.process.stdout:
            if line.startswith("{") or line[0].isdigit():
                return line
        reason = self.process.stderr.read().strip().splitlines() or ["no message"]
        raise RunError(f"expected {self.library} to train, got: {reason[-1]}")

    def seconds(self, steps: int) -> float:
        """What so many training steps take."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()


def window(worker: Worker, seconds: float) -> int:
    """How many steps (a multiple of 10) fill so many seconds."""
    return max(10, int(seconds / worker.seconds(10)) * 10)


def paired(batch: int, pythons: Mapping[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Rates of everyone with one batch size, in turns, and the ratios of every round."""
    workers: list[Worker] = []
    reasons = {name: f"not given (--{name}-python)" for name in PEERS if name not in pythons}
    try:
        for name, python in {"mogen": sys.executable, **pythons}.items():
            try:
                workers.append(Worker(name, python, batch, arguments.threads, arguments.compile_peers))
            except RunError as error:
                if name == "mogen":
                    raise
                reasons[name] = str(error)
        steps = [window(worker, arguments.seconds) for worker in workers]
        rounds = [
            [batch * LENGTH * count / worker.seconds(count) for worker, count in zip(workers, steps, strict=True)]
            for _ in range(arguments.rounds)
        ]
    finally:
        for worker in workers:
            worker.close()
    names = [worker.library for worker in workers]
    rates = {name: [row[place] for row in rounds] for place, name in enumerate(names)}
    ratios = {
        name: [ours / theirs for ours, theirs in zip(rates["mogen"], rates[name], strict=True)] for name in names[1:]
    }
    return {
        "rates": {name: statistics.median(values) for name, values in rates.items()},
        "modes": {worker.library: worker.mode for worker in workers},
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "spread": {name: [min(values), max(values)] for name, values in ratios.items()},
        "reasons": reasons,
    }


def fit_rate(batch: int, steps: int) -> float:
    """Transitions a second of `GFlowNetSampler.fit`, from the difference between a long and a short training."""
    seconds = []
    for count in (2, steps, 4 * steps):  # the first warms up
        sampler = grid_sampler(batch, LENGTH, count, True)
        started = time.perf_counter()
        sampler.fit(reward_of, m=1, generator=torch.Generator().manual_seed(0))
        seconds.append(time.perf_counter() - started)
    return batch * LENGTH * 3 * steps / (seconds[2] - seconds[1])


def sequences(steps: int) -> dict[str, Any]:
    """Sequences of 36 tokens, batch 128: rate, where the time goes by stage, and by operation in torch."""
    sampler: GFlowNetSampler = GFlowNetSampler(
        environment=SequenceEnvironment(min_length=36, max_length=36),
        network=CausalTransformer(64, 2, 4),
        beta=ConstantBeta(8.0),
        batch=128,
        average=0.0,
        accelerator="cpu",
    )
    module = sampler.build(2, generator=torch.Generator().manual_seed(0))
    module.generator = torch.Generator().manual_seed(0)
    module.measure = counted
    optimizer = module.configure_optimizers()["optimizer"]

    def train(count: int) -> None:
        for _ in range(count):
            loss = module.training_step(None, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            module.on_train_batch_end(None, None, 0)

    train(1)
    module.seconds.clear()
    started = time.perf_counter()
    train(steps)
    seconds = time.perf_counter() - started
    stages = {name: value / seconds for name, value in module.seconds.items()}
    with torch.profiler.profile() as profiler:
        train(1)
    rows = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    return {
        "transitions_per_second": 128 * 36 * steps / seconds,
        "shares_by_stage": stages,
        "shares_by_operation": {row.key: row.self_cpu_time_total / total for row in rows[:8]},
        "operations_per_step": sum(row.count for row in rows),
    }


def counted(candidates: Sequence[Any], *, preference: torch.Tensor | None = None) -> Evaluation:
    """Shares of two bigrams in sequences: a reward that costs next to nothing."""
    rows = [[text.count("AV") / 18, text.count("VC") / 18] for text in (candidate.text for candidate in candidates)]
    value = torch.tensor(rows)
    measured = torch.zeros_like(value, dtype=torch.long)
    return Evaluation(value, measured, torch.ones(len(rows), dtype=torch.bool), value, value)


def benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything of one run."""
    pythons = {name: getattr(arguments, f"{name}_python") for name in PEERS if getattr(arguments, f"{name}_python")}
    torch.set_num_threads(arguments.threads)
    batches = BATCHES[:1] if arguments.reduced else arguments.batches
    found = {batch: paired(batch, pythons, arguments) for batch in batches}
    size = 256 if arguments.reduced else 1024
    blas, ours = (gemm_rate(multiply, size=size) / 1e9 for multiply in (torch.mm, product))
    best = max(blas, ours)
    result: dict[str, Any] = {
        f"{name}_{batch}": part["ratios"].get(name) for batch, part in found.items() for name in PEERS
    }
    for key in ("rates", "modes", "spread"):
        result[key] = {f"{name}_{batch}": value for batch, part in found.items() for name, value in part[key].items()}
    result["missing"] = found[batches[0]]["reasons"]
    result |= {"steps_of_a_trajectory": LENGTH, "threads": arguments.threads, "rounds": arguments.rounds}
    result |= {"gemm_gflops": best, "gemm_gflops_blas": blas, "flops_per_transition": FLOPS}
    result["gemm_share"] = {batch: part["rates"]["mogen"] * FLOPS / best / 1e9 for batch, part in found.items()}
    if not arguments.reduced:
        result["fit"] = {batch: fit_rate(batch, 4_000 // batch) for batch in batches}
        result["sequences"] = sequences(10)
    return result


def main(argv: list[str] | None = None) -> int:
    """Parses, times, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torchgfn-python", default=None, help="an interpreter that can import gfn (torchgfn)")
    parser.add_argument("--gfnx-python", default=None, help="an interpreter that can import gfnx")
    parser.add_argument("--json", type=Path, default=None, help="where the figures go")
    parser.add_argument("--rounds", type=int, default=15, help="turns of everyone")
    parser.add_argument("--seconds", type=float, default=0.2, help="of one turn")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="trajectories a step")
    parser.add_argument("--threads", type=int, default=2, help="cores of everyone")
    parser.add_argument("--compile-peers", action="store_true", help="torchgfn tries torch.compile as well")
    parser.add_argument("--reduced", action="store_true", help="batch 16 and the ratios only: a check that it runs")
    arguments = parser.parse_args(argv)
    try:
        result = benchmark(arguments)
    except MogenError as error:
        print(f"gflownet_peers: error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
