"""Conformations of every input by a model, beside torsion noise, an elastic network and the input itself.

    python experiments/benchmarks/str2str_conformations.py --inputs FOLDER --model runs/str2str/model --json rows.json \
        [--starts 0.25 0.4 0.55 0.7] [-n 20] [--seed 0]

One row per protein, noise time and method. Torsion noise and the elastic network have the model's mean RMSD from the
input. At the end, per noise time, Wilcoxon's signed-rank test over inputs of Val-CA against torsion noise. Pair
distances are compared with MD histograms where MOGEN_DATA has them (chignolin, trp-cage, BBA), and the first two TICA
components with the MD density (chignolin, trp-cage; counts of 20 samples in 101 x 101 bins say little).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import wilcoxon

from mogen.dataset.store import find
from mogen.domain.backbone import Backbone, dihedral, read_backbone
from mogen.domain.conformation import pair_distances, radius_of_gyration, rmsd
from mogen.errors import DataError
from mogen.metric.ensemble import Tica, backbone_validity, js_of_density_2d, js_of_histograms, mean_pairwise_rmsd
from samplers.str2str import Str2StrSampler
from samplers.str2str.displacement import elastic_network, torsion_noise

REFERENCES = {"CLN025": "CHIGNOLIN_testset", "2JOF": "TRP_CAGE_testset", "1FME": "BBA_testset"}


def measured(atoms: torch.Tensor, backbone: Backbone, name: str) -> dict[str, Any]:
    """Every metric of one set of conformations."""
    ca = atoms[:, :, 1].double()
    valid = backbone_validity(atoms, torch.tensor(backbone.is_bonded, dtype=torch.bool))
    row: dict[str, Any] = {
        "val_ca": valid.ca,
        "val_clash": valid.clash,
        "val_bond": valid.bond,
        "peptide_above_1_4": valid.peptide_above_1_4,
        "peptide_above_2_0": valid.peptide_above_2_0,
        "rmsd_to_input": float(rmsd(ca, backbone.ca).mean()),
        "radius_of_gyration": float(radius_of_gyration(ca).mean()),
        "pairwise_rmsd": mean_pairwise_rmsd(ca),
    }
    reference = histograms(name, len(backbone))
    if reference is not None:
        row["js_pwd"], row["pwd_in_support"] = js_of_histograms(pair_distances(ca), *reference)
    plane = tica_plane(name, len(backbone))
    if plane is not None:
        points = plane["tica"](dihedrals_and_distances(ca))
        row["js_tic2d"], row["tic_in_support"] = js_of_density_2d(points, plane["density"], *plane["edges"])
    return row


def dihedrals_and_distances(ca: torch.Tensor) -> torch.Tensor:
    """Dihedrals of four CA in a row (radians), then all CA distances (Å): the features of the reference projections."""
    angles = dihedral(ca[:, :-3], ca[:, 1:-2], ca[:, 2:-1], ca[:, 3:])
    return torch.cat((angles, pair_distances(ca, apart=1)), 1)


def tica_plane(name: str, residues: int) -> dict[str, Any] | None:
    """MD density in the plane of two TICA components; None where there is none for this chain."""
    try:
        with np.load(find("fastfolder_tica_reference"), allow_pickle=False) as file:
            if f"{REFERENCES.get(name)}_proj" not in file:
                return None
            keys = ("mean", "proj", "prob", "xedges", "yedges")
            mean, proj, density, x, y = (torch.from_numpy(file[f"{REFERENCES[name]}_{key}"]) for key in keys)
    except DataError:
        return None
    if len(mean) != residues - 3 + residues * (residues - 1) // 2:
        return None
    return {"tica": Tica(mean, proj), "density": density, "edges": (x, y)}


def histograms(name: str, residues: int) -> tuple[list[torch.Tensor], float] | None:
    """MD histograms of pair distances, with their bin width; None where there are none for this chain."""
    if name not in REFERENCES:
        return None
    try:
        with np.load(find("fastfolder_pwd_reference"), allow_pickle=False) as file:
            counts, sizes = file[f"{REFERENCES[name]}_hist"], file[f"{REFERENCES[name]}_nbins"]
    except DataError:
        return None
    if len(sizes) != (residues - 3) * (residues - 2) // 2:
        return None
    pieces = np.split(counts, np.cumsum(sizes)[:-1])
    return [torch.from_numpy(piece.astype(np.float64)) for piece in pieces], 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--starts", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sampler, rows = Str2StrSampler.load(arguments.model), []
    paths = sorted(arguments.inputs.glob("*.pdb")) if arguments.inputs.is_dir() else [arguments.inputs]
    for path in paths:
        backbone = read_backbone(path)
        static = backbone.coordinates[None].expand(2, -1, -1, -1)
        rows.append({"input": path.stem, "method": "input", "start": None, **measured(static, backbone, path.stem)})
        for start in arguments.starts:
            generator = torch.Generator().manual_seed(arguments.seed)
            sampler.protocol = replace(sampler.protocol, starts=(start,), steps=arguments.steps, method="heun")
            began = time.time()
            drawn, _ = sampler.conformations(backbone, arguments.n, generator=generator)
            seconds = time.time() - began
            made = {"model": torch.stack([item.coordinates for item in drawn])}
            wanted = float(rmsd(made["model"][:, :, 1], backbone.ca).mean())
            made["torsion_noise"], _ = torsion_noise(backbone, arguments.n, wanted, generator=generator)
            made["elastic_network"], _ = elastic_network(backbone, arguments.n, wanted, generator=generator)
            for method, atoms in made.items():
                row = {"input": path.stem, "method": method, "start": start, **measured(atoms, backbone, path.stem)}
                if method == "model":
                    row |= {"evaluations": sampler.evaluations, "seconds": round(seconds, 2)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    tests = [paired(rows, start) for start in arguments.starts]
    for test in tests:
        print(json.dumps(test))
    if arguments.json:
        arguments.json.write_text(json.dumps({"card": sampler.card, "rows": rows, "tests": tests}, indent=2))


def paired(rows: list[dict[str, Any]], start: float) -> dict[str, Any]:
    """Val-CA of the model against torsion noise over inputs, one-sided."""
    by = {method: [r["val_ca"] for r in rows if r["method"] == method and r["start"] == start] for method in METHODS}
    difference = np.array(by["model"]) - np.array(by["torsion_noise"])
    p = float(wilcoxon(difference, alternative="greater").pvalue) if np.any(difference) else 1.0
    means = {f"val_ca_{method}": float(np.mean(values)) for method, values in by.items()}
    return {"start": start, "inputs": len(difference), **means, "p_model_above_torsion_noise": p}


METHODS = ("model", "torsion_noise", "elastic_network")

if __name__ == "__main__":
    main()
