"""Plain graphs of a graph diffusion model: degree, clustering and orbit MMDs beside the floor, with intervals.

    python experiments/benchmarks/gdss_graphs.py --model models/gdss-community --data community_small -n 1024

The floor is the same MMD for training graphs, drawn with replacement up to the same number. Published (Jo et al. 2022,
Gaussian kernels of the earth mover's distance; average over degree, clustering and orbit): ego-small .017 with 40 test
graphs, community-small .046 with 20.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mogen.dataset.generated import RECIPES, generated_graphs
from mogen.dataset.molecules import load_graphs
from mogen.domain.graph import Graph
from mogen.errors import MogenError
from mogen.metric.graph import graph_mmd
from samplers.gdss.checkpoint import published_model
from samplers.gdss.sampler import GDSSSampler

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
        found = measured(options)
    except MogenError as error:
        print(f"gdss_graphs: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure of one run."""
    graphs = generated_graphs(options.data, 100) if options.data in RECIPES else load_graphs(options.data)
    cut = len(graphs) // 5
    test, train = graphs[:cut], graphs[cut:]
    if Path(options.model).suffix in (".pth", ".pt", ".npz", ".pkl"):
        model, solver, _ = published_model(Path(options.model), options.data)
        sampler = GDSSSampler.of(model, solver, 1000)
    else:
        sampler = GDSSSampler(model=options.model)
    sampler.steps = options.steps or sampler.steps
    count = options.n or len(test)
    started = time.perf_counter()
    drawn = sampler.sample(torch.zeros(count, 0), generator=torch.Generator().manual_seed(options.seed)).candidates
    seconds = time.perf_counter() - started
    rows = torch.randint(len(train), (count,), generator=torch.Generator().manual_seed(options.seed)).tolist()
    floor = figures([train[row] for row in rows], test, options)
    return {
        "model": str(options.model),
        "data": options.data,
        "n": count,
        "test": len(test),
        "kernel": options.kernel,
        "steps": sampler.steps,
        "seed": options.seed,
        **figures(drawn, test, options),
        "floor": floor,
        "seconds": seconds,
        "published_average": PUBLISHED.get(options.data),
    }


def figures(drawn: Sequence[Graph], test: Sequence[Graph], options: argparse.Namespace) -> dict[str, Any]:
    """The MMD of every statistic with its interval, and their average."""
    found: dict[str, Any] = {}
    for statistic in STATISTICS:
        item = graph_mmd(drawn, test, statistic, options.kernel, resamples=options.resamples, seed=options.seed)
        found[statistic] = item.value
        found[f"{statistic}_interval"] = [item.low, item.high]
    found["average"] = sum(found[name] for name in STATISTICS) / len(STATISTICS)
    return found


if __name__ == "__main__":
    sys.exit(main())
