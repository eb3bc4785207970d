"""Seconds and memory of one round of qLogNEHVI over a pool, split, and how they grow with the pool.

    python experiments/benchmarks/acquisition_speed.py --json speed.json [--pools 10000,100000] [--measured 1000]

A round is: fingerprints of the pool (once; kept afterwards), fit of the belief on the measured molecules, posterior of
the whole pool, acquisition of the (reduced) pool, and a batch of 4. Molecules are ZINC250k rows, repeated with a tag
where a pool is larger (a library of 1,000,000 rows is four copies with one carbon, two, three appended); objectives are
cheap descriptors, so that nothing else is timed. The total leaves out the stage "posterior", which is part of the next
ones as well. Memory is the peak of the process after each stage.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mogen.acquisition import Belief, HypervolumeImprovement
from mogen.acquisition.acquisition import shortlisted, simplex
from mogen.domain.molecule import Molecule
from mogen.loop import Library
from mogen.surrogate import GaussianProcess, Observations


def library(count: int) -> list[str]:
    """SMILES of that many different molecules."""
    folder = os.environ.get("MOGEN_DATA")
    path = Path(folder or "") / "molecules" / "zinc250k.csv.gz"
    if not folder or not path.is_file():
        raise SystemExit("acquisition_speed: expected molecules/zinc250k.csv.gz in the folder that MOGEN_DATA names")
    with gzip.open(path, "rt") as file:
        rows = [row["smiles"] for row in csv.DictReader(file)]
    texts = list(rows)
    while len(texts) < count:  # a chain grown at the first atom: another molecule, of about the same size
        rows = ["C" + text for text in rows]
        texts += rows
    return texts[:count]


def values(molecules: Sequence[Molecule], m: int) -> torch.Tensor:
    """Cheap descriptors on about [0, 1], at odds with one another."""
    from rdkit.Chem import Crippen, rdMolDescriptors

    rows = []
    for item in molecules:
        mol = Molecule(item.smiles).mol
        rows.append(
            [
                Crippen.MolLogP(mol) / 8,
                rdMolDescriptors.CalcTPSA(mol) / 150,
                1 - mol.GetNumHeavyAtoms() / 50,
                rdMolDescriptors.CalcFractionCSP3(mol),
            ][:m]
        )
    return torch.tensor(rows, dtype=torch.float64).clamp(0, 1)


def peak() -> float:
    """Peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(texts: list[str], pool_size: int, measured: int, m: int) -> dict[str, Any]:
    """One round over a pool."""
    known = [Molecule(text) for text in texts[:measured]]
    pool = Library.of(texts[measured : measured + pool_size])
    value = values(known, m)
    valid = torch.ones(len(known), dtype=torch.bool)
    seen = Observations(known, value, torch.full_like(value, torch.nan), valid, value)
    surrogate: GaussianProcess[Any] = GaussianProcess()
    stages: dict[str, dict[str, float]] = {}

    def lap(name: str, began: float) -> float:
        stages[name] = {"seconds": time.perf_counter() - began, "peak_gib": peak()}
        return time.perf_counter()

    now = time.perf_counter()
    surrogate.fit(seen)
    now = lap("fit", now)
    features = surrogate._used[0].features
    for at in range(0, len(pool), 2048):
        features(pool[at : at + 2048])
    now = lap("fingerprints", now)
    belief = Belief(surrogate, seen)
    surrogate.marginal(pool)
    now = lap("posterior", now)
    acquisition: HypervolumeImprovement[Any] = HypervolumeImprovement()
    made = torch.Generator().manual_seed(0)
    acquisition.prepare(belief, generator=made)
    now = lap("prepare", now)
    places = shortlisted(belief, pool, simplex(32, m, made), 2.0, acquisition.most_pool)
    now = lap("posterior and reduction", now)
    acquisition.score([pool[place] for place in places])
    now = lap("acquisition", now)
    acquisition.select([pool[place] for place in places[:64]], 4, generator=made)
    lap("batch", now)
    return {
        "pool": len(pool),
        "measured": measured,
        "objectives": m,
        "scored": len(places),
        "stages": stages,
        "seconds": sum(item["seconds"] for name, item in stages.items() if name != "posterior"),
        "peak_gib": peak(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--pools", default="10000,100000,1000000")
    parser.add_argument("--objectives", default="2,4")
    parser.add_argument("--measured", type=int, default=1000)
    given = parser.parse_args(argv)
    sizes = [int(text) for text in given.pools.split(",")]
    texts = library(given.measured + max(sizes))
    rows = []
    for size in sizes:
        for m in map(int, given.objectives.split(",")):
            rows.append(measure(texts, size, given.measured, m))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    result = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "rows": rows}
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
