"""RMSD to state A against RMSD to state B: steering beside what it must beat, at equal network evaluations.

    python experiments/benchmarks/str2str_steering.py --model runs/str2str/model [--data protein_backbones] \
        [--longest 128] [--pairs 0] [--rounds 3] [--seed 0] [--json rows.json]

One pair of conformations per cluster that was held out of training (the widest one of chains without gaps); sampling
starts from A. A row per pair and method: hypervolume of the utilities (1 - RMSD / worst, worst twice the distance of
the states) of its valid conformations alone and together with the input, network evaluations, conformations, the
smallest RMSD to B, and the share that is valid (CA clashes and bonds). Steering goes first; best-of-N, the sweep of
noise times and NSGA-II over initial noise get as many network evaluations, torsion noise and elastic modes as many
conformations as best-of-N. Last, Wilcoxon's signed-rank tests over pairs of steering against each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mogen.dataset.store import find
from mogen.domain.backbone import Backbone, write_backbones
from mogen.errors import BudgetExhausted
from mogen.metric.comparison import signed_rank
from mogen.metric.ensemble import backbone_validity
from mogen.objective import Evaluation, ObjectiveSet
from mogen.pareto import hypervolume
from objectives.structure import RmsdTo, ValidBackbone
from samplers.baseline.conformation import (
    BestOfN,
    ConformationSearch,
    ElasticModes,
    InputStructure,
    NoiseNSGA2,
    NoiseSweep,
    TorsionNoise,
)
from samplers.str2str import Str2StrSampler
from samplers.str2str.data import Chain, conformer_pairs, read_chains
from samplers.str2str.protocol import Protocol
from samplers.str2str.steering import Steering

WITH_NETWORK = {"best_of_n": BestOfN, "noise_sweep": NoiseSweep, "noise_nsga2": NoiseNSGA2}
WITHOUT = {"torsion_noise": TorsionNoise, "elastic_modes": ElasticModes}


class Account:
    """A measure that keeps everything and stops after so many conformations or network evaluations."""

    def __init__(self, objectives: ObjectiveSet[Backbone]) -> None:
        self.objectives = objectives
        self.found: list[Backbone] = []
        self.evaluations: list[Evaluation] = []
        self.searcher: ConformationSearch | None = None
        self.most = 10**9
        self.spends = 10**9

    def __call__(self, candidates: Sequence[Backbone], *, preference: Float[Tensor, "n m"] | None = None) -> Evaluation:
        del preference
        items = list(candidates)[: self.most - len(self.found)]
        if items:
            self.found += items
            self.evaluations.append(self.objectives(items))
        if len(items) < len(candidates) or (self.searcher and self.searcher.network_evaluations >= self.spends):
            raise BudgetExhausted("the account is empty")
        return self.evaluations[-1]

    def row(self, backbone: Backbone, start: Evaluation) -> dict[str, Any]:
        """What a method reached."""
        whole = Evaluation.concatenate(self.evaluations)
        bonded = torch.tensor(backbone.is_bonded, dtype=torch.bool)
        atoms = torch.stack([item.coordinates for item in self.found])
        both = Evaluation.concatenate([whole, start])
        return {
            "conformations": len(self.found),
            "hypervolume": hypervolume(whole.utility),
            "hypervolume_with_input": hypervolume(both.utility),
            "rmsd_to_b": float(whole.raw[:, 1].min()),
            "valid_share": float(whole.is_valid.double().mean()),
            "val_ca": backbone_validity(atoms, bonded).ca,
        }


def held_out_pairs(chains: Sequence[Chain], held: Sequence[int], longest: int) -> list[tuple[Chain, Chain, float]]:
    """The widest pair of unbroken chains of every held-out cluster, shortest chains first."""
    best: dict[int, tuple[Chain, Chain, float]] = {}
    for i, j, apart in conformer_pairs(chains):
        a, b = chains[i], chains[j]
        is_whole = all(item.backbone.residues.positions[-1] == len(item.backbone) - 1 for item in (a, b))
        if len(a.backbone) <= longest and is_whole and a.cluster in held:
            best.setdefault(a.cluster, (a, b, apart))
    return sorted(best.values(), key=lambda item: len(item[0].backbone))


def compared(
    sampler: Str2StrSampler, pair: tuple[Chain, Chain, float], rounds: int, seed: int, folder: Path
) -> list[dict[str, Any]]:
    """Rows of every method on one pair."""
    a, b, apart = pair
    paths = [folder / f"{name}.pdb" for name in "ab"]
    for path, item in zip(paths, (a, b), strict=True):
        write_backbones(path, [item.backbone])
    objectives: ObjectiveSet[Backbone] = ObjectiveSet(
        [RmsdTo(reference=str(path), worst=2 * apart, best=0, name=f"rmsd_to_{path.stem}") for path in paths],
        [ValidBackbone(peptide=1e9)],
    )
    sampler.input, sampler.spent, sampler.gradients, sampler.record = str(paths[0]), 0, 0, None
    sampler.steering = replace(sampler.steering, rounds=rounds)
    start, rows = objectives([sampler.target()]), []
    facts = {"cluster": a.cluster, "a": a.name, "b": b.name, "residues": len(a.backbone), "apart": round(apart, 3)}

    def note(method: str, account: Account, evaluations: int, began: float) -> None:
        row = {**facts, "method": method, "network_evaluations": evaluations, **account.row(a.backbone, start)}
        rows.append({**row, "seconds": round(time.time() - began, 1)})
        print(json.dumps(rows[-1]), flush=True)

    began, account = time.time(), Account(objectives)
    sampler.fit(account, m=2, generator=torch.Generator().manual_seed(seed))
    spent = sampler.spent
    note("steered", account, spent, began)
    rows[-1]["gradients"] = sampler.gradients
    size = sampler.steering.particles * sampler.steering.groups
    most = 1
    for method, kind in {"input_structure": InputStructure, **WITH_NETWORK, **WITHOUT}.items():
        began, account = time.time(), Account(objectives)
        search = kind(sampler, size)
        account.searcher = search
        if method in WITH_NETWORK:
            account.spends = spent
        else:
            account.most = most
        search.fit(account, m=2, generator=torch.Generator().manual_seed(seed))
        note(method, account, search.network_evaluations, began)
        most = len(account.found) if method == "best_of_n" else max(most, len(account.found))
    return rows


def tests(rows: Sequence[dict[str, Any]], figure: str = "hypervolume") -> list[dict[str, Any]]:
    """Wilcoxon over pairs, one-sided: steering above each other method."""
    by: dict[str, dict[int, float]] = {}
    for row in rows:
        by.setdefault(row["method"], {})[row["cluster"]] = row[figure]
    ours, found = by["steered"], []
    for method, theirs in by.items():
        if method == "steered":
            continue
        difference = np.array([ours[cluster] - theirs[cluster] for cluster in ours])
        p = signed_rank(difference.tolist(), [0.0] * len(difference))
        means = {"steered": float(np.mean(list(ours.values()))), method: float(np.mean(list(theirs.values())))}
        wins = int((difference > 0).sum())
        found.append({"figure": figure, "against": method, "pairs": len(difference), "wins": wins, **means, "p": p})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", default="protein_backbones", help="a data set's name, an .npz or a folder")
    parser.add_argument("--longest", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=0, help="so many pairs only, shortest first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--particles", type=int, default=4)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--start", type=float, default=0.15)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--method", default="euler")
    parser.add_argument("--noise-scale", type=float, default=1.0)
    parser.add_argument(
        "--repair", type=float, default=0.0, help="of predictions on the way, for all that use the model"
    )
    parser.add_argument("--self-conditioning", type=lambda text: text == "true", default=True, help="true or false")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sampler = Str2StrSampler.load(arguments.model)
    source = Path(arguments.data)
    chains = read_chains(source if source.exists() else find(arguments.data))
    held = sampler.card.get("held_out") or sorted({chain.cluster for chain in chains})
    sampler.protocol = Protocol(
        (arguments.start,),
        steps=arguments.steps,
        method=arguments.method,
        noise_scale=arguments.noise_scale,
        self_conditioning=arguments.self_conditioning,
        repair=arguments.repair,
    )
    sampler.steering = Steering(
        particles=arguments.particles,
        groups=arguments.groups,
        end=min(0.03, arguments.start / 2),
        repair=arguments.repair,
    )
    pairs = held_out_pairs(chains, held, arguments.longest)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs[: arguments.pairs or None]:
            rows += compared(sampler, pair, arguments.rounds, arguments.seed, Path(folder))
    found = tests(rows) + tests(rows, "hypervolume_with_input") if rows else []
    for test in found:
        print(json.dumps(test))
    if arguments.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
        content = {"settings": settings, "card": sampler.card, "rows": rows, "tests": found}
        arguments.json.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
