"""One evaluation of the denoising network: seconds beside the public implementation's, operations, and the floor.

    python experiments/benchmarks/str2str_speed.py [--public CHECKOUT] [--size published] [--shapes 16x58 4x128] \
        [--repeats 5] [--seed 0] [--json FILE]

With --public, a checkout of github.com/lujiarui/Str2Str, its network is given our weights (random, none zero) and runs
in turn with ours in float32 and ours in bfloat16, so that a busy machine slows all of them; without it the other one is
our network with plain products and the pair transition as published (concatenated). Every round gives a ratio of
seconds; their median is printed with the ratio of the fastest rounds. The outputs compared are N, CA, C, O and CB (Å),
centred. Operations are 2 multiply-adds, counted from the shapes of all matrix products; the floor is how long they take
at the rate of the machine's own float32 products (a small one that stays in the cache).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from str2str_public import public_atoms, public_network
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mogen.domain.backbone import Backbone, Residues
from samplers.diffusion import Fields
from samplers.str2str import Denoiser, Size
from samplers.str2str.dense import dense
from samplers.str2str.network import EdgeTransition
from samplers.str2str.process import atoms_of_fields, fields_of, network_prediction, perturbed, process

Atoms = Float[Tensor, "b r 5 3"]


def concatenated(layer: EdgeTransition, node: Tensor, edge: Tensor, exists: Tensor) -> Tensor:
    """The pair transition with [z; n_i; n_j] built in full, as published."""
    node, mask = layer.node(node), exists.to(edge.dtype)[..., None]
    r = node.shape[1]
    both = torch.cat((edge, node[:, :, None].expand(-1, -1, r, -1), node[:, None].expand(-1, r, -1, -1)), -1)
    hidden = layer.second(layer.first(both).relu()).relu()
    return layer.norm(layer.out(hidden + both)) * (mask[:, :, None] * mask[:, None])


@contextmanager
def as_published() -> Iterator[None]:
    """Plain products and concatenated pairs while it lasts (what gradients are computed with)."""
    ours = EdgeTransition.forward
    EdgeTransition.forward = concatenated  # type: ignore[method-assign,assignment]
    try:
        with torch.enable_grad():
            yield
    finally:
        EdgeTransition.forward = ours  # type: ignore[method-assign]


def gemm_rate(make: Callable[[Tensor, Tensor], Tensor], rows: int = 2048, width: int = 384, repeats: int = 50) -> float:
    """GFLOP/s of the fastest of many float32 products of rows x width with width x width."""
    a, b, best = torch.rand(rows, width), torch.rand(width, width), float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        make(a, b)
        best = min(best, time.perf_counter() - started)
    return 2 * rows * width**2 / best / 1e9


def noisy(b: int, r: int, seed: int) -> tuple[Fields, Tensor]:
    """A random walk of CA, b times at t = 0.3, with something seen before."""
    generator = torch.Generator().manual_seed(seed)
    walk = 3.8 * torch.nn.functional.normalize(torch.randn(r, 3, generator=generator), dim=-1)
    unit = torch.tensor([[-1.2, 0.6, 0.1], [0, 0, 0], [1.2, 0.7, -0.1], [1.3, 1.9, 0]])
    chain = Backbone.of(walk.cumsum(0)[:, None] + unit, Residues.numbered("A" * r))
    t = torch.full((b,), 0.3)
    fields = perturbed(process(), fields_of([chain] * b), t, generator=generator)
    return {**fields, "seen": fields["translations"] + 0.1 * torch.randn(b, r, 3, generator=generator)}, t


def predicted_atoms(network: Denoiser, bf16: bool) -> Callable[[Fields, Tensor], Atoms]:
    """Our prediction as atoms."""
    predict = network_prediction(network, bf16=bf16)

    def call(fields: Fields, t: Tensor) -> Atoms:
        found = predict(fields, t)
        return atoms_of_fields({"rotations": found.rotations, "translations": found.translations, "psi": found.psi})

    return call


def centred(atoms: Atoms) -> Atoms:
    """Atoms with the CA centre at the origin."""
    return atoms - atoms[:, :, 1].mean(1)[:, None, None]


@torch.no_grad()
def timed(network: Denoiser, shape: str, repeats: int, seed: int, public: Path | None) -> dict[str, Any]:
    """One shape (batch x residues): the other network, ours in float32 and ours in bfloat16 in turn."""
    b, r = (int(part) for part in shape.split("x"))
    fields, t = noisy(b, r, seed)
    ours = predicted_atoms(network, bf16=False)
    calls = {"ours": ours, "bf16": predicted_atoms(network, bf16=True)}
    if public is not None:
        calls["other"] = public_atoms(public_network(public, network))
    else:
        calls["other"] = plain = predicted_atoms(network, bf16=False)

        def other(fields: Fields, t: Tensor) -> Atoms:
            with as_published():
                return plain(fields, t)

        calls["other"] = other
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        ours(fields, t)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    outputs = {}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            outputs[name] = centred(call(fields, t))
            seconds[name].append(time.perf_counter() - started)
    gflop, rate = counter.get_total_flops() / b / 1e9, gemm_rate(dense)
    best = {name: 1000 * min(times[1:]) / b for name, times in seconds.items()}
    row: dict[str, Any] = {
        "shape": shape,
        "threads": torch.get_num_threads(),
        "other": "public" if public is not None else "plain products, concatenated pairs",
        "rounds": repeats,
        "ms_per_structure": {name: round(value, 2) for name, value in best.items()},
        "moved_angstrom": float((outputs["ours"] - centred(atoms_of_fields(fields))).abs().max()),
    }
    for name in ("ours", "bf16"):
        ratios = [a / b for a, b in zip(seconds["other"][1:], seconds[name][1:], strict=True)]
        deviation = (outputs[name] - outputs["other"]).abs()
        row[name] = {
            "ratio_of_fastest": round(best["other"] / best[name], 3),
            "median_ratio": round(statistics.median(ratios), 3),
            "largest_deviation_angstrom": float(deviation.max()),
            "mean_deviation_angstrom": float(deviation.mean()),
        }
    return row | {
        "gflop_per_structure": round(gflop, 2),
        "gflops": round(1000 * gflop / best["ours"], 1),
        "gemm_gflops": round(rate, 1),
        "gemm_gflops_of_torch": round(gemm_rate(torch.mm), 1),
        "floor_ms_per_structure": round(1000 * gflop / rate, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public", type=Path)
    parser.add_argument("--size", default="published")
    parser.add_argument("--shapes", nargs="+", default=["16x58", "4x128"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    network = Denoiser(Size.named(arguments.size)).requires_grad_(False).eval()
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)
    rows = []
    for shape in arguments.shapes:
        rows.append(timed(network, shape, arguments.repeats, arguments.seed, arguments.public))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
