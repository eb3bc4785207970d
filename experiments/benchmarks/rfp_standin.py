"""Trains the RFP stand-in on the published labels, states its held-out error, and writes its weights.

    python experiments/benchmarks/rfp_standin.py --out objectives/sequence/rfp_standin.npz

Labels: sequences/lambo_proxy_rfp_seed_data.csv.gz and sequences/lambo_rfp_query_logs.csv.gz in the folder that
MOGEN_DATA names, 4,247 different sequences of up to 244 residues with surface area and stability by FoldX. The error is
that of an ensemble trained without a random tenth of them (many labels are near others: it is no error far away), and
the error on sequences with more than 15 substitutions of one trained on those with at most 15.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
from pathlib import Path

import numpy as np
import torch

from objectives.sequence.rfp import AMINO_ACIDS, LENGTH, PROPERTIES, Ensemble, fitted

HIDDEN, MEMBERS = 256, 5


def labels(folder: Path) -> tuple[list[str], torch.Tensor, list[int], list[str]]:
    """Texts, surface area and stability, substitutions from a parent, and the parents."""
    found: dict[str, tuple[float, float]] = {}
    parents: dict[str, None] = {}
    sources = (("lambo_proxy_rfp_seed_data", "foldx_seq"), ("lambo_rfp_query_logs", "cand_pdb_seq"))
    for name, column in sources:
        with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
            for row in csv.DictReader(file):
                text = row[column]
                if len(text) > LENGTH or not set(text) <= set(AMINO_ACIDS):
                    continue
                found.setdefault(text, (float(row["SASA"]), float(row["stability"])))
                if row.get("round_idx") and float(row["round_idx"]) == 0 and row["optimizer"] == "lambo":
                    parents[text] = None
    far = [min(sum(map(str.__ne__, text, p)) for p in parents if len(p) == len(text)) for text in found]
    return list(found), torch.tensor(list(found.values()), dtype=torch.float64), far, list(parents)


def errors(texts: list[str], label: torch.Tensor, train: list[int], test: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """RMSE and R^2 of an ensemble trained on some labels, on others."""
    parts = fitted([texts[row] for row in train], label[train], MEMBERS, HIDDEN)
    made = Ensemble((), *parts, HIDDEN, {}, "")
    wrong = made.members([texts[row] for row in test]).mean(0) - label[test]
    spread = label[test] - label[test].mean(0)
    return (wrong**2).mean(0).sqrt().numpy(), (1 - (wrong**2).sum(0) / (spread**2).sum(0)).numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    folder = Path(os.environ.get("MOGEN_DATA", "")) / "sequences"
    if not (folder / "lambo_rfp_query_logs.csv.gz").is_file():
        print(
            "rfp_standin: expected sequences/lambo_*.csv.gz in the folder MOGEN_DATA names, got none", file=sys.stderr
        )
        return 2
    texts, label, far, parents = labels(folder)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    test = order[: len(texts) // 10]
    rmse, r2 = errors(texts, label, order[len(texts) // 10 :], test)
    away = [row for row, count in enumerate(far) if count > 15]
    near = [row for row, count in enumerate(far) if count <= 15]
    rmse_far, r2_far = errors(texts, label, near, away)
    for k, name in enumerate(PROPERTIES):
        print(f"{name}: a random tenth ({len(test)}) RMSE {rmse[k]:.2f}, R^2 {r2[k]:.4f}; more than 15 substitutions "
              f"({len(away)}) RMSE {rmse_far[k]:.2f}, R^2 {r2_far[k]:.4f}", flush=True)  # fmt: skip
    centre, readout, offset = fitted(texts, label, MEMBERS, HIDDEN)
    np.savez_compressed(
        given.out, centre=centre.float().numpy(), readout=readout.float().numpy(), offset=offset.numpy(),
        parents=np.array(parents), rmse=rmse, r2=r2, rmse_far=rmse_far, r2_far=r2_far,
        labels=np.array(len(texts)), hidden=np.array(HIDDEN),
    )  # fmt: skip
    print(f"{len(texts)} labels, {len(parents)} parents, {given.out.stat().st_size} bytes in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
