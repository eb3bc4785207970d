"""Overfits one chain with the tiny network and denoises it from T = 0.3: the backbone RMSD must be below 0.5 Å.

python experiments/benchmarks/str2str_overfit.py --input FILE.pdb [--steps 3000] [--seed 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from mogen.domain.backbone import read_backbone
from mogen.domain.conformation import rmsd
from samplers.str2str import Denoiser, Size
from samplers.str2str.data import Batches, Chain
from samplers.str2str.module import DenoiserModule, train
from samplers.str2str.process import network_prediction
from samplers.str2str.sampler import Protocol, conformations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--start", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chain = read_backbone(arguments.input)
    torch.manual_seed(arguments.seed)
    network, rows, started = Denoiser(Size.named("tiny")), [], time.time()
    module = DenoiserModule(
        network,
        Batches([Chain("input", chain, 0)], budget=16_384, largest=16, seed=arguments.seed),
        learning_rate=2e-3,
        decay=0.99,
        latest=0.35,
        fixed_share=0.0,
    )
    aim = chain.coordinates[:, :3].reshape(-1, 3)
    for done in range(arguments.every, arguments.steps + 1, arguments.every):
        train(module, steps=done, every=arguments.every, folder=Path(arguments.json or "overfit.json").with_suffix(""))
        drawn, _ = conformations(
            network_prediction(module.average),
            chain,
            arguments.start,
            16,
            Protocol((arguments.start,), steps=30, method="heun"),
            generator=torch.Generator().manual_seed(arguments.seed),
        )
        away = rmsd(torch.stack([item.coordinates[:, :3].reshape(-1, 3) for item in drawn]), aim)
        row = {"steps": done, "backbone_rmsd": float(away.mean()), "worst": float(away.max())}
        rows.append(row | {"seconds": round(time.time() - started)})
        print(json.dumps(rows[-1]), flush=True)
        if row["backbone_rmsd"] < 0.5:
            break
    result = {"input": Path(arguments.input).name, "start": arguments.start, "residues": len(chain), "rows": rows}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
