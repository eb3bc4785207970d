"""How fast one predictor-corrector step of the published QM9 networks is, beside what the arithmetic needs.

    python experiments/benchmarks/gdss_speed.py --model gdss_qm9.npz -n 1000 --steps 20 --json out.json

The floor is the operations counted in the step over the rate of matrix products measured on this machine in the same
run; `processor_seconds`, the least of all repeats, is what a step costs where others use the machine as well. With
--peer COMMAND, whose last line of output must be the seconds of one of its own steps of as many graphs, both are timed
in turn, `repeats` times, and the ratio of the medians is printed. Published sizes: 1,000 graphs of 9 nodes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mogen.errors import ConfigError, MogenError
from mogen.run import gemm_rate
from samplers.diffusion import integrate
from samplers.gdss.checkpoint import open_sampler
from samplers.gdss.native import library, pytorch_only


def main(argv: list[str] | None = None) -> int:
    """Parses, times, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder, or a published checkpoint (.pth, .npz)")
    parser.add_argument("--data", default=None, help="the data set whose sizes are drawn, for a checkpoint")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--steps", type=int, default=4, help="steps per measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--peer", default=None, help="a command that times one of its own steps")
    parser.add_argument("--json", default=None)
    options = parser.parse_args(argv)
    try:
        found = measured(options)
    except MogenError as error:
        print(f"gdss_speed: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step, the floor, and the ratio to the peer."""
    if options.threads:
        torch.set_num_threads(options.threads)
    model, solver, _ = open_sampler(options.model, options.data).trained()
    generator = torch.Generator().manual_seed(0)
    sizes = model.kind.draw_sizes(options.n, generator=generator)
    batches = [
        model.process.prior(model.kind.blank(part), generator=generator)
        for part in sizes.sort().values.split(options.batch)
    ]
    grid = torch.linspace(0.9, 0.89, options.steps + 1)

    def step() -> float:
        started = time.perf_counter()
        for fields in batches:
            integrate(model.process, model.score, solver, fields, grid, generator=generator)
        return (time.perf_counter() - started) / options.steps

    step()
    with torch.no_grad(), pytorch_only(), FlopCounterMode(display=False) as counter:
        for fields in batches:
            integrate(model.process, model.score, solver, fields, grid[:2], generator=generator)
    ours, processor, peers = [], [], []
    for _ in range(options.repeats):
        before = time.process_time()
        ours.append(step())
        processor.append((time.process_time() - before) / options.steps)
        if options.peer:
            peers.append(peer(options.peer))
    rate = gemm_rate()
    flops = counter.get_total_flops()
    found: dict[str, Any] = {
        "n": options.n,
        "threads": torch.get_num_threads(),
        "seconds": statistics.median(ours),
        "all_seconds": ours,
        "processor_seconds": min(processor),
        "is_machine_code": library() is not None,
        "flops": flops,
        "product_rate": rate,
        "floor_seconds": flops / rate,
        "share_of_floor": flops / rate / statistics.median(ours),
    }
    if peers:
        found |= {"peer_seconds": statistics.median(peers), "all_peer_seconds": peers}
        found["times_faster"] = found["peer_seconds"] / found["seconds"]
    return found


def peer(command: str) -> float:
    """The seconds a command prints in its last line."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    try:
        return float(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise ConfigError(f"expected seconds in the last line of {command!r}, got {done.stdout[-100:]!r}") from error


if __name__ == "__main__":
    sys.exit(main())
