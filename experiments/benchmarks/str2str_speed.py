"""One evaluation of the denoising network: seconds, counted operations, and the machine's own matrix-product rate.

    python experiments/benchmarks/str2str_speed.py [--size published] [--shapes 16x58 4x128] [--repeats 5] \
        [--bf16] [--json FILE]

The same weights are also timed with the pair transition as it is published (concatenated), alternating with ours; both
outputs are compared. Operations are 2 multiply-adds, counted from the shapes of all matrix products that ran.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mogen.domain.backbone import Backbone, Residues
from mogen.run import gemm_rate
from samplers.str2str import Denoiser, Size
from samplers.str2str.network import EdgeTransition
from samplers.str2str.process import fields_of, network_prediction, perturbed, process


def concatenated(layer: EdgeTransition, node: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
    """The pair transition with [z; n_i; n_j] built in full, as published."""
    node = layer.node(node)
    r = node.shape[1]
    both = torch.cat((edge, node[:, :, None].expand(-1, -1, r, -1), node[:, None].expand(-1, r, -1, -1)), -1)
    hidden = layer.second(layer.first(both).relu()).relu()
    return layer.norm(layer.out(hidden + both))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="published")
    parser.add_argument("--shapes", nargs="+", default=["16x58", "4x128"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = Denoiser(Size.named(arguments.size)).requires_grad_(False).eval()
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    rows = [timed(network, shape, arguments.repeats, arguments.bf16) for shape in arguments.shapes]
    for row in rows:
        print(json.dumps(row))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


@torch.no_grad()
def timed(network: Denoiser, shape: str, repeats: int, bf16: bool) -> dict[str, Any]:
    """One shape (batch x residues): ours and the concatenated twin in turn."""
    b, r = (int(part) for part in shape.split("x"))
    walk = 3.8 * torch.nn.functional.normalize(torch.randn(r, 3), dim=-1)
    unit = torch.tensor([[-1.2, 0.6, 0.1], [0, 0, 0], [1.2, 0.7, -0.1], [1.3, 1.9, 0]])
    chain = Backbone.of(walk.cumsum(0)[:, None] + unit, Residues.numbered("A" * r))
    t = torch.full((b,), 0.3)
    fields = perturbed(process(), fields_of([chain] * b), t, generator=torch.Generator().manual_seed(0))
    predict, plain = network_prediction(network, bf16=bf16), network_prediction(network)
    ours_forward = EdgeTransition.forward
    seconds: dict[str, list[float]] = {"ours": [], "concatenated": []}
    outputs = {}
    with FlopCounterMode(display=False) as counter:
        predict(fields, t)
    for _ in range(repeats + 1):
        for name, forward, call in (("ours", ours_forward, predict), ("concatenated", concatenated, plain)):
            EdgeTransition.forward = forward  # type: ignore[method-assign,assignment]
            started = time.perf_counter()
            outputs[name] = call(fields, t).translations
            seconds[name].append(time.perf_counter() - started)
    EdgeTransition.forward = ours_forward  # type: ignore[method-assign]
    best = {name: min(times[1:]) for name, times in seconds.items()}
    return {
        "shape": shape,
        "threads": torch.get_num_threads(),
        "bf16": bf16,
        "ms_per_structure": 1000 * best["ours"] / b,
        "ms_per_structure_concatenated": 1000 * best["concatenated"] / b,
        "ratio": best["concatenated"] / best["ours"],
        "largest_difference_angstrom": 10 * float((outputs["ours"] - outputs["concatenated"]).abs().max()),
        "gflop_per_structure": counter.get_total_flops() / b / 1e9,
        "gflops": counter.get_total_flops() / best["ours"] / 1e9,
        "gemm_gflops": gemm_rate() / 1e9,
    }


if __name__ == "__main__":
    main()
