"""How fast a step of sampling is, of the shipped model or of published networks, beside what the arithmetic needs.

    python experiments/benchmarks/gdss_speed.py --model gdss_qm9.npz -n 1000 --steps 20 --json out.json
    python experiments/benchmarks/gdss_speed.py --device cuda --precision bf16 --compile --json out.json

The floor is the operations counted in the step over the rate of matrix products measured on this machine, in turn with
the steps; `processor_seconds`, the least of all repeats, is what a step costs where others use the machine as well.
With --padded every graph is also computed as wide as the largest of the data, in turn with the batches of similar
sizes. With --precision bf16 or --compile (CUDA graphs on a GPU) the same step is also timed so, in turn with the plain
one, both on --device. With --peer COMMAND, which must answer each line of its input with the seconds of another of its
own steps of as many graphs, both are timed in turn, `repeats` times: the ratio of the medians, and the middle 95 % of
all ratios.
Published: 1,000 graphs in one batch, every one as wide as the largest of the data; 1,000 steps a sample.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode

from mogen.errors import ConfigError, MogenError
from mogen.run import gemm_rate
from samplers.diffusion import Fields, integrate
from samplers.gdss.checkpoint import open_sampler
from samplers.gdss.native import library, pytorch_only
from samplers.products import onednn


def main(argv: list[str] | None = None) -> int:
    """Parses, times, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gdss-qm9", help="a model's name or folder, or a published checkpoint")
    parser.add_argument("--data", default=None, help="the data set whose sizes are drawn, for a checkpoint")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--steps", type=int, default=4, help="steps per measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu", help="where both are computed, e.g. cuda")
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="the network through torch.compile")
    parser.add_argument("--padded", action="store_true", help="also with all graphs as wide as the largest")
    parser.add_argument("--peer", default=None, help="a command that times one of its own steps")
    parser.add_argument("--seed", type=int, default=0)
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
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("expected a GPU for --device cuda, PyTorch sees none")
    model, solver, _ = open_sampler(options.model, options.data).trained()
    model.to(device)
    generator = torch.Generator().manual_seed(options.seed)
    sizes = model.kind.draw_sizes(options.n, generator=generator)
    batches = [
        model.process.prior(model.blank(part, {}, None), generator=generator)
        for part in sizes.sort().values.split(options.batch)
    ]
    grid = torch.linspace(0.9, 0.89, options.steps + 1)
    has_others = options.precision != "float32" or options.compile

    @torch.no_grad()
    def step(groups: Sequence[Fields], is_hastened: bool = False) -> float:
        model.precision, model.compiled = (options.precision, hastened) if is_hastened else ("float32", None)
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for fields in groups:
            integrate(model.process, model.score, solver, fields, grid, generator=generator)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / options.steps

    model.hasten(options.precision, options.compile)
    hastened, others = model.compiled, []
    if has_others:
        step(batches, True)  # which compiles

    wide = padded(batches, model.kind.max_nodes) if options.padded else []
    step(batches)
    counted = {onednn(): products} if onednn() is not None else {}
    with torch.no_grad(), pytorch_only(), FlopCounterMode(display=False, custom_mapping=counted) as counter:
        for fields in batches:
            integrate(model.process, model.score, solver, fields, grid[:2], generator=generator)
    flops = counter.get_total_flops()
    ours, processor, peers, rates, shares, widths = [], [], [], [], [], []
    other = Peer(options.peer) if options.peer else None
    for _ in range(options.repeats):
        before = time.process_time()
        ours.append(step(batches))
        processor.append((time.process_time() - before) / options.steps)
        if has_others:
            others.append(step(batches, True))
        rates.append(gemm_rate(repeats=3))
        shares.append(flops / rates[-1] / ours[-1])
        if wide:
            widths.append(step(wide))
        if other:
            peers.append(other.seconds())
    if other:
        other.end()
    rate = statistics.median(rates)
    found: dict[str, Any] = {
        "n": options.n,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "seconds": statistics.median(ours),
        "all_seconds": ours,
        "processor_seconds": min(processor),
        "is_machine_code": library() is not None,
        "flops": flops,
        "product_rate": rate,
        "floor_seconds": flops / rate,
        "share_of_floor": statistics.median(shares),
        "mean_nodes": float(sizes.float().mean()),
    }
    if others:
        found |= {"precision": options.precision, "compile": options.compile}
        found |= {"hastened_seconds": statistics.median(others), "all_hastened_seconds": others}
        found["times_faster_than_plain"] = statistics.median(b / a for a, b in zip(others, ours, strict=True))
    if widths:
        found |= {"padded_seconds": statistics.median(widths)}
        found["times_faster_than_padded"] = statistics.median(b / a for a, b in zip(ours, widths, strict=True))
    if peers:
        found |= {"peer_seconds": statistics.median(peers), "all_peer_seconds": peers}
        found["times_faster"] = found["peer_seconds"] / found["seconds"]
        ratios = torch.tensor([theirs / mine for mine, theirs in zip(ours, peers, strict=True)])
        found["times_faster_range"] = ratios.quantile(torch.tensor([0.025, 0.975])).tolist()
    return found


def products(x: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Operations of a linear layer that oneDNN computes."""
    del out_shape
    return 2 * math.prod(x) * weight[0]


def padded(batches: Sequence[Fields], width: int) -> list[Fields]:
    """The same graphs, all as wide as the largest the model knows."""
    made: list[Fields] = []
    for fields in batches:
        rest = width - fields["mask"].shape[1]
        pairs = (0, rest, 0, rest) if fields["adj"].ndim == 3 else (0, 0, 0, rest, 0, rest)
        x, mask = pad(fields["x"], (0, 0, 0, rest)), pad(fields["mask"], (0, rest))
        made.append({**fields, "x": x, "adj": pad(fields["adj"], pairs), "mask": mask})
    return made


class Peer:
    """Another program, which says how long its own steps take, one whenever it is asked."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self) -> float:
        """Of its next step."""
        assert self.process.stdin is not None and self.process.stdout is not None
        said = ""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            said = self.process.stdout.readline()
            return float(said)
        except (OSError, ValueError) as error:
            self.end()
            raise ConfigError(f"expected the seconds of a step from {self.command!r}, got {said.strip()!r}") from error

    def end(self) -> None:
        """Lets it go."""
        self.process.kill()
        self.process.communicate()


if __name__ == "__main__":
    sys.exit(main())
