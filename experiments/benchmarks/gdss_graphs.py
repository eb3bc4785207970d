"""Plain graphs of a graph diffusion model: degree, clustering, orbit and spectral MMDs, their intervals and floors.

    python experiments/benchmarks/gdss_graphs.py --model models/gdss-community --data community_small -n 1024

The floor is the same MMD for training graphs, drawn with replacement up to the same number; `above_floor` is how much
larger the average (of degree, clustering and orbit) is for the generated ones, with the interval of the difference of
both bootstraps. A resampled set, which repeats graphs, is always further away than the set itself; intervals are moved
back around the figures. The recipes (planar, sbm, community, grid_generated) stand for the same 200 graphs here and in
`mogen train`; the first fifth of every set is its test set. For planar and sbm also V.U.N. (valid, unique and novel).
Published (Jo et al.
2022, Gaussian kernels of the earth mover's distance; average over degree, clustering and orbit): ego-small .017 with 40
test graphs, community-small .046 with 20.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mogen.dataset.molecules import load_graphs
from mogen.domain.graph import Graph
from mogen.errors import ConfigError, MogenError
from mogen.metric.generation import around
from mogen.metric.graph import graph_mmd
from mogen.metric.isomorphism import KINDS, vun
from samplers.gdss.checkpoint import open_sampler

STATISTICS = ("degree", "clustering", "orbit")
PUBLISHED = {"ego_small": 0.017, "community_small": 0.046, "enzymes": 0.032, "grid": 0.062}


def main(argv: list[str] | None = None) -> int:
    """Parses, samples, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder, or a published checkpoint (.pth, .npz)")
    parser.add_argument("--data", required=True, help="a published set, a recipe, or a .json file of graphs")
    parser.add_argument("-n", type=int, default=None, help="graphs to draw (default: as many as test graphs)")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--kernel", default="emd", choices=["emd", "tv"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--json", default=None)
    options = parser.parse_args(argv)
    try:
        check(options)
        found = measured(options)
    except MogenError as error:
        print(f"gdss_graphs: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


def check(options: argparse.Namespace) -> None:
    """Whether the numbers are numbers to work with, and the file can be written; before any work."""
    counts = [value for value in (options.n, options.steps) if value is not None]
    if min(counts, default=1) < 1 or options.resamples < 0:
        raise ConfigError(
            "expected -n and --steps of at least 1 and --resamples of at least 0, got "
            f"{options.n}, {options.steps} and {options.resamples}"
        )
    if options.json and (Path(options.json).is_dir() or not Path(options.json).parent.is_dir()):
        raise ConfigError(f"expected a file in a folder that is there for --json, got {options.json}")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure of one run."""
    graphs = load_graphs(options.data)
    cut = len(graphs) // 5
    if not cut:
        raise ConfigError(
            f"expected at least 5 graphs, the first fifth for testing, in {options.data}, got {len(graphs)}"
        )
    test, train = graphs[:cut], graphs[cut:]
    sampler = open_sampler(options.model, options.data)
    if sampler.trained()[0].kind.types:
        raise ConfigError(
            f"expected a model of plain graphs, got one of molecules in {options.model}: try gdss_molecules.py"
        )
    sampler.steps = options.steps or sampler.steps
    count = options.n or len(test)
    started = time.perf_counter()
    drawn = sampler.sample(torch.zeros(count, 0), generator=torch.Generator().manual_seed(options.seed)).candidates
    seconds = time.perf_counter() - started
    rows = torch.randint(len(train), (count,), generator=torch.Generator().manual_seed(options.seed)).tolist()
    memory = [train[row] for row in rows]
    ours, ours_draws = figures(drawn, test, options)
    floor, floor_draws = figures(memory, test, options)
    excess = [one - two for one, two in zip(ours_draws, floor_draws, strict=True)]
    kind = options.data if options.data in KINDS else None
    return {
        "model": str(options.model),
        "data": options.data,
        "n": count,
        "test": len(test),
        "kernel": options.kernel,
        "steps": sampler.steps,
        "seed": options.seed,
        **ours,
        "floor": floor,
        "above_floor": ours["average"] - floor["average"],
        "above_floor_interval": moved(ours["average"] - floor["average"], excess),
        "vun": asdict(vun(drawn, train, kind)) if kind else None,
        "vun_floor": asdict(vun(memory, train, kind)) if kind else None,
        "seconds": seconds,
        "published_average": PUBLISHED.get(options.data),
    }


def figures(
    drawn: Sequence[Graph], test: Sequence[Graph], options: argparse.Namespace
) -> tuple[dict[str, Any], list[float]]:
    """The MMD of every statistic with its interval, and their average; the averages of the bootstrap."""
    found: dict[str, Any] = {}
    items = {
        name: graph_mmd(drawn, test, name, options.kernel, resamples=options.resamples, seed=options.seed)
        for name in (*STATISTICS, "spectral")
    }
    for name, item in items.items():
        found |= {name: item.value, f"{name}_interval": moved(item.value, item.draws)}
    found["average"] = sum(found[name] for name in STATISTICS) / len(STATISTICS)
    # every statistic was resampled with the same seed, so that its k-th value is of the same graphs
    draws = [sum(parts) / len(STATISTICS) for parts in zip(*(items[name].draws for name in STATISTICS), strict=True)]
    return {**found, "average_interval": moved(found["average"], draws)}, draws


def moved(value: float, draws: Sequence[float]) -> list[float] | None:
    """The middle 95 % of a bootstrap, moved to lie around the figure; nothing without draws."""
    item = around(value, draws)
    return [item.low, item.high] if draws else None


if __name__ == "__main__":
    sys.exit(main())
