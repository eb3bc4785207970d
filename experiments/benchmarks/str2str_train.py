"""Trains a Str2Str model on real chains, resumably, and saves it with its card.

    python experiments/benchmarks/str2str_train.py --data protein_backbones.npz --folder runs/str2str --size tiny \
        --steps 20000 [--seed 0] [--json card.json]

Every checkpoint saves a usable model in FOLDER/model; running the same command again goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from mogen.training.loop import NEWEST
from samplers.str2str import Str2StrSampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--longest", type=int, default=128)
    parser.add_argument("--budget", type=int, default=32_768)
    parser.add_argument("--latest", type=float, default=1.0)
    parser.add_argument("--skew", type=float, default=1.0)
    parser.add_argument("--chain-weight", type=float, default=0.0)
    parser.add_argument("--clash-weight", type=float, default=0.0)
    parser.add_argument("--cooldown", type=int, default=0, help="last steps over which the learning rate falls to 0")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    done, started = reached(arguments.folder), time.time()
    while done < arguments.steps:  # one stretch at a time, so that a model is there at any moment
        constant = arguments.steps - arguments.cooldown
        done = min(constant, done + arguments.every) if done < constant else arguments.steps
        sampler = Str2StrSampler(
            data=arguments.data,
            size=arguments.size,
            steps=done,
            longest=arguments.longest,
            budget=arguments.budget,
            latest=arguments.latest,
            skew=arguments.skew,
            chain_weight=arguments.chain_weight,
            clash_weight=arguments.clash_weight,
            cooldown=arguments.cooldown if done == arguments.steps else 0,
            learning_rate=arguments.learning_rate,
            checkpoint_every=arguments.every,
            validation=8,
            seed=arguments.seed,
            accelerator="cpu",
        )
        sampler.train(arguments.folder)
        done = max(done, sampler.card["steps"])
        sampler.save(arguments.folder / "model")
        print(
            json.dumps({"seconds": round(time.time() - started), **sampler.card["validation"], "steps": done}),
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(sampler.card, indent=2))


def reached(folder: Path) -> int:
    """Steps of the newest checkpoint in a folder; 0 where there is none."""
    path = folder / NEWEST
    return int(torch.load(path, map_location="cpu", weights_only=True)["global_step"]) if path.is_file() else 0


if __name__ == "__main__":
    main()
