"""Conformations of every input by a model, beside torsion noise, an elastic network and the input itself.

    python experiments/benchmarks/str2str_conformations.py --model runs/str2str/model [--inputs FOLDER] \
        [--pairs protein_backbones] [--adk] [--released] [--starts 0.1 0.25 0.4] [-n 20] [--seed 0] [--json rows.json]

One row per protein, noise time and method. Torsion noise and the elastic network have the model's mean RMSD from the
input. At the end, per noise time, Wilcoxon's signed-rank test over inputs of Val-CA against torsion noise. Where the
model's predictions on the way are mended (--repair), the conformations of torsion noise are also mended, by 100 steps
of 0.1 along the same gradient (RMSD then differs a little). A saved model's settings hold unless others are given. Pair
distances are compared with MD histograms where MOGEN_DATA has them (chignolin, trp-cage, BBA), and the first two TICA
components with the MD density (chignolin, trp-cage; counts of 20 samples in 101 x 101 bins say little). Peptide bonds
are counted raw and after the relaxation of mogen.domain.relaxation, which moves no CA by 0.3 Å or more.

With --pairs also one pair of conformations of every cluster held out of training: TM_ens and the smallest RMSD to the
other state, from as many structures of every method; Wilcoxon over clusters. With --adk the same for adenylate kinase,
and the mean distance of the transition's frames to the nearest sample (MAT-R). With --released every input is also
drawn by the released protocol (int(1000 T) steps of a length of its own) with the same weights, in turn with ours:
structures a second, Val-CA and RMSD from the input of both, each with Wilcoxon's test (two-sided) over inputs.
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
from jaxtyping import Float
from str2str_steering import held_out_pairs
from torch import Tensor

from mogen.dataset.store import find
from mogen.domain.backbone import Backbone, Residues, dihedral, read_backbone
from mogen.domain.conformation import pair_distances, radius_of_gyration, rmsd, tm_score
from mogen.domain.relaxation import relaxed
from mogen.errors import DataError
from mogen.metric.comparison import signed_rank
from mogen.metric.ensemble import (
    Tica,
    backbone_validity,
    ensemble_tm,
    js_of_density_2d,
    js_of_histograms,
    matching,
    mean_pairwise_rmsd,
    peptide_bonds,
)
from samplers.str2str import Str2StrSampler
from samplers.str2str.data import read_chains
from samplers.str2str.displacement import elastic_network, torsion_noise
from samplers.str2str.network import Frames
from samplers.str2str.process import atoms_of_fields, fields_of, process
from samplers.str2str.steering import mending

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


def after_relaxation(atoms: Float[Tensor, "k r 4 3"], backbone: Backbone) -> dict[str, Any]:
    """Broken peptide bonds after the relaxation, and how far it moved a CA at most."""
    before = [backbone.moved(item) for item in atoms]
    after = relaxed(before)
    bonded = torch.tensor(backbone.is_bonded, dtype=torch.bool)
    peptide = peptide_bonds(torch.stack([item.coordinates for item in after]))[:, bonded]
    moved = max(float((a.ca - b.ca).norm(dim=-1).max()) for a, b in zip(before, after, strict=True))
    share = float((peptide > 1.4).double().mean()) if peptide.numel() else 0.0
    return {"relaxed_peptide_above_1_4": share, "relaxed_largest_move": moved}


def by_model(
    sampler: Str2StrSampler,
    backbone: Backbone,
    start: float,
    arguments: argparse.Namespace,
    generator: torch.Generator,
    **other: Any,
) -> tuple[Tensor, dict[str, Any]]:
    """Conformations of the model by the protocol of the arguments (or another), and what they cost."""
    given = {name: getattr(arguments, name) for name in SETTINGS if getattr(arguments, name) is not None}
    before = sampler.protocol
    sampler.protocol = replace(before, starts=(start,), **{**given, **other})
    began = time.perf_counter()
    found, _ = sampler.conformations(backbone, arguments.n, generator=generator)
    seconds = round(time.perf_counter() - began, 3)
    sampler.protocol = before
    return torch.stack([item.coordinates for item in found]), {"evaluations": sampler.evaluations, "seconds": seconds}


def drawn(
    sampler: Str2StrSampler, backbone: Backbone, start: float, arguments: argparse.Namespace
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Conformations of the model and, at its mean RMSD, of torsion noise and the elastic network; the model's cost."""
    generator = torch.Generator().manual_seed(arguments.seed)
    atoms, cost = by_model(sampler, backbone, start, arguments, generator)
    made = {"model": atoms}
    wanted = float(rmsd(made["model"][:, :, 1], backbone.ca).mean())
    made["torsion_noise"], _ = torsion_noise(backbone, arguments.n, wanted, generator=generator)
    made["elastic_network"], _ = elastic_network(backbone, arguments.n, wanted, generator=generator)
    repair = sampler.protocol.repair if arguments.repair is None else arguments.repair
    if repair:
        made["torsion_noise_mended"] = mended(made["torsion_noise"], backbone)
    return made, cost


def mended(
    atoms: Float[Tensor, "k r 4 3"], backbone: Backbone, repair: float = 0.1, steps: int = 100
) -> Float[Tensor, "k r 4 3"]:
    """Finished conformations after steps of the repair that the model's predictions get one of each.

    The steps are small: nothing but the repair moves these, and a step of 1 overshoots where many CA are close.
    """
    guide, sde = mending(repair), process()
    assert guide is not None
    fields = fields_of([backbone.moved(item) for item in atoms])
    clean, t = Frames(fields["rotations"], fields["translations"], fields["psi"]), torch.zeros(len(atoms))
    for _ in range(steps):
        clean = guide.pushed(sde, fields, clean, t)
    return atoms_of_fields({**fields, **clean._asdict()})[:, :, :4]


def input_rows(sampler: Str2StrSampler, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of every input, noise time and method."""
    rows: list[dict[str, Any]] = []
    for path in inputs(arguments):
        backbone = read_backbone(path)
        static = backbone.coordinates[None].expand(2, -1, -1, -1)
        rows.append({"input": path.stem, "method": "input", "start": None, **measured(static, backbone, path.stem)})
        for start in arguments.starts:
            made, cost = drawn(sampler, backbone, start, arguments)
            for method, atoms in made.items():
                row = {"input": path.stem, "method": method, "start": start, **measured(atoms, backbone, path.stem)}
                if method == "model":
                    row |= {**cost, **after_relaxation(atoms, backbone)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    return rows


def inputs(arguments: argparse.Namespace) -> list[Path]:
    """The structures to start from."""
    return sorted(arguments.inputs.glob("*.pdb")) if arguments.inputs.is_dir() else [arguments.inputs]


def released_rows(sampler: Str2StrSampler, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of our protocol and the released one, in turn, on the same weights."""
    rows: list[dict[str, Any]] = []
    for start in arguments.starts:
        for path in inputs(arguments):
            backbone = read_backbone(path)
            for method, other in (("ours", {}), ("released", RELEASED)):
                generator = torch.Generator().manual_seed(arguments.seed)
                atoms, cost = by_model(sampler, backbone, start, arguments, generator, **other)
                row = {"input": path.stem, "method": method, "start": start, "n": arguments.n, **cost}
                rows.append({**row, **measured(atoms, backbone, path.stem)})
                print(json.dumps(rows[-1]), flush=True)
    return rows


def released_test(rows: list[dict[str, Any]], start: float) -> dict[str, Any]:
    """Structures a second of both protocols at one noise time, and what they are like."""
    found: dict[str, Any] = {"start": start}
    both = {name: [row for row in rows if row["method"] == name and row["start"] == start] for name in RIVALS}
    for name, own in both.items():
        found[f"evaluations_{name}"] = float(np.mean([row["evaluations"] for row in own]))
        found[f"per_second_{name}"] = sum(row["n"] for row in own) / sum(row["seconds"] for row in own)
    found["times_faster"] = found["per_second_ours"] / found["per_second_released"]
    for figure in ("val_ca", "rmsd_to_input", "peptide_above_2_0", "pairwise_rmsd"):
        ours, theirs = (np.array([row[figure] for row in both[name]]) for name in RIVALS)
        p = signed_rank(ours.tolist(), theirs.tolist(), is_two_sided=True)
        found |= {f"{figure}_ours": float(ours.mean()), f"{figure}_released": float(theirs.mean()), f"{figure}_p": p}
    return found


def pair_rows(sampler: Str2StrSampler, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of every held-out pair of conformations and method, at the first noise time."""
    source = Path(arguments.pairs)
    chains = read_chains(source if source.exists() else find(arguments.pairs))
    held = sampler.card.get("held_out") or sorted({chain.cluster for chain in chains})
    rows: list[dict[str, Any]] = []
    for a, b, apart in held_out_pairs(chains, held, arguments.longest):
        states = torch.stack([a.backbone.ca, b.backbone.ca])
        made, _ = drawn(sampler, a.backbone, arguments.starts[0], arguments)
        facts = {"cluster": a.cluster, "a": a.name, "b": b.name, "apart": apart, "start": arguments.starts[0]}
        for method, atoms in {"input": a.backbone.coordinates[None], **made}.items():
            rows.append({**facts, "method": method, **towards(atoms[:, :, 1], states)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def towards(ca: Float[Tensor, "k r 3"], states: Float[Tensor, "s r 3"]) -> dict[str, float]:
    """TM_ens over both states, and the best TM-score and smallest RMSD to the other one."""
    return {
        "tm_ens": ensemble_tm(ca, states),
        "tm_to_other": max(tm_score(item, states[1]) for item in ca),
        "rmsd_to_other": float(rmsd(ca, states[1]).min()),
    }


def adk_rows(sampler: Str2StrSampler, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The same for adenylate kinase, from its first frame towards the last, with the frames between as reference."""
    with np.load(find("md_adk_dims_backbone"), allow_pickle=False) as file:
        frames = torch.from_numpy(file["adk_dims"].astype(np.float64) / 1000)
        residues = Residues.numbered(str(file["sequence"]))
    backbone, states = Backbone.of(frames[0], residues), frames[[0, -1], :, 1]
    rows: list[dict[str, Any]] = []
    for start in arguments.starts:
        made, _ = drawn(sampler, backbone, start, arguments)
        for method, atoms in {"input": backbone.coordinates[None], **made}.items():
            found = {**towards(atoms[:, :, 1], states), "mat_r": matching(atoms[:, :, 1], frames[::8, :, 1]).recall}
            rows.append({"cluster": "adk", "start": start, "method": method, **found})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def pair_tests(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wilcoxon over clusters, one-sided: the model better than each other method."""
    found = []
    for figure, sign in (("tm_ens", 1), ("rmsd_to_other", -1)):
        by: dict[str, list[float]] = {}
        for row in rows:
            by.setdefault(row["method"], []).append(row[figure])
        for method in [name for name in by if name != "model"]:
            difference = sign * (np.array(by["model"]) - np.array(by[method]))
            p = signed_rank(difference.tolist(), [0.0] * len(difference))
            means = {"model": float(np.mean(by["model"])), method: float(np.mean(by[method]))}
            found.append({"figure": figure, "against": method, "clusters": len(difference), **means, "p": p})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", help="a data set's name, an .npz or a folder")
    parser.add_argument("--longest", type=int, default=128)
    parser.add_argument("--adk", action="store_true")
    parser.add_argument("--starts", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--method")
    parser.add_argument("--schedule")
    parser.add_argument("--noise-scale", type=float)
    parser.add_argument("--self-conditioning", type=lambda text: text == "true", help="true or false")
    parser.add_argument("--repair", type=float)
    parser.add_argument("--precision", help="float32 or bf16")
    parser.add_argument("--released", action="store_true", help="also the released protocol, on the inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sampler = Str2StrSampler.load(arguments.model)
    content: dict[str, Any] = {"card": sampler.card}
    if arguments.inputs:
        content["rows"] = input_rows(sampler, arguments)
        content["tests"] = [paired(content["rows"], start) for start in arguments.starts]
    if arguments.released:
        content["released"] = released_rows(sampler, arguments)
        content["released_tests"] = [released_test(content["released"], start) for start in arguments.starts]
    if arguments.pairs:
        content["pairs"] = pair_rows(sampler, arguments)
        content["pair_tests"] = pair_tests(content["pairs"])
    if arguments.adk:
        content["adk"] = adk_rows(sampler, arguments)
    for test in [test for name in ("tests", "released_tests", "pair_tests") for test in content.get(name, [])]:
        print(json.dumps(test))
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=2))


def paired(rows: list[dict[str, Any]], start: float) -> dict[str, Any]:
    """Val-CA of the model against torsion noise over inputs, one-sided."""
    methods = dict.fromkeys(row["method"] for row in rows if row["start"] == start)
    by = {method: [r["val_ca"] for r in rows if r["method"] == method and r["start"] == start] for method in methods}
    found: dict[str, Any] = {"start": start, "inputs": len(by["model"])}
    found |= {f"val_ca_{method}": float(np.mean(values)) for method, values in by.items()}
    for method in [name for name in methods if name.startswith("torsion")]:
        difference = np.array(by["model"]) - np.array(by[method])
        p = signed_rank(by["model"], by[method])
        wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
        found |= {f"p_model_above_{method}": p, f"wins_losses_{method}": [wins, losses]}
    return found


RIVALS = ("ours", "released")
SETTINGS = ("steps", "method", "schedule", "noise_scale", "self_conditioning", "repair", "precision")
RELEASED = {"method": "euler", "schedule": "str2str_released", "self_conditioning": True, "repair": 0.0}

if __name__ == "__main__":
    main()
