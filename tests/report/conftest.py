"""A run folder as a real run leaves it, with names that try to break the page."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

EVIL = "<script>alert(1)</script>"
OBJECTIVES = [
    {"name": "qed", "unit": "", "worst": 0.0, "best": 1.0},
    {"name": "sa", "unit": "score", "worst": 10.0, "best": 1.0},
    {"name": "weight", "unit": "g/mol", "worst": 800.0, "best": 200.0},
    {"name": EVIL, "unit": "a&b", "worst": 0.0, "best": 2.0},
]
RINGS = ["c1ccccc1", "c1ccncc1", "c1ccsc1", "C1CCNCC1", "C1CCOCC1", "c1ccc2[nH]ccc2c1", "C1CC1", "c1cnc2ccccc2n1"]
LINKS = ["C(=O)N", "CO", "CC", "S(=O)(=O)N", "NC(=O)"]
TAILS = ["FC(F)(F)", "N#C", "CO", "Cl", "C1CC1", "CN(C)"]


def smiles() -> list[str]:
    """Two hundred and forty real molecules."""
    from rdkit import Chem

    written = [f"{tail}{link}{ring}" for ring, link, tail in itertools.product(RINGS, LINKS, TAILS)]
    canonical = {Chem.MolToSmiles(mol) for mol in map(Chem.MolFromSmiles, written) if mol is not None}
    return sorted(canonical)


def rows(keys: list[str], method: str, power: float, seed: int) -> pd.DataFrame:
    """Candidates of one method with utilities that trade off."""
    random = np.random.default_rng(seed)
    utility = random.dirichlet(np.ones(len(OBJECTIVES)), len(keys)) ** power
    table = pd.DataFrame({"method": method, "position": range(len(keys)), "candidate": keys})
    for place, item in enumerate(OBJECTIVES):
        table[f"raw_{item['name']}"] = item["worst"] + utility[:, place] * (item["best"] - item["worst"])
        table[f"utility_{item['name']}"] = utility[:, place]
        table[f"preference_{item['name']}"] = 0.25 if method == "mogen" else np.nan
    table["valid"], table["stage"], table["status"] = True, "train", 0
    table.loc[0, "valid"] = False
    return table


def figures(score: float) -> dict[str, object]:
    return {
        "hypervolume": score,
        "front_size": 180,
        "zero_share": 0.05,
        "r2": {"mean": 0.4, "sum_norm": 12.0},
        "igd_plus": None,
        "diversity": {"intdiv": 0.81, "circles": 31, "vendi": 22.5, "top_k": 0.7},
        "alignment": None,
        "asked": 230,
        "paid": 221,
        "budget": 240,
        "seconds": {"train": 40.5, "final": 2.0},
    }


def write_run(folder: Path, scores: dict[str, float]) -> Path:
    """A finished run folder with one method per score."""
    folder.mkdir(parents=True)
    keys = smiles()
    tables = [rows(keys, name, 0.5 + 0.1 * place, place) for place, name in enumerate(scores)]
    pd.concat(tables).to_parquet(folder / "candidates.parquet", index=False)
    front = tables[0].iloc[1:]
    front[[column for column in front if str(column).startswith(("candidate", "raw_", "utility_"))]].to_csv(
        folder / "front.csv", index=False
    )
    curve = [
        {"method": name, "asked": asked, "hypervolume": score * asked / (asked + 40)}
        for name, score in scores.items()
        for asked in range(0, 240, 10)
    ]
    pd.DataFrame(curve).to_csv(folder / "hypervolume.csv", index=False)
    ours = {**figures(scores["mogen"]), "alignment": 0.62, "reference_point": [0, 0, 0, 0], "seed": 3}
    baselines = {name: figures(score) for name, score in scores.items() if name != "mogen"}
    summary = {
        **ours,
        "objective_set": {"name": "demo set", "identity": "4f2a90c1d2e3"},
        "objectives": OBJECTIVES,
        "baselines": baselines,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "versions.json").write_text(json.dumps({"mogen": "0.1.0", "torch": "2.13.0", "evil": EVIL}))
    (folder / "config.yaml").write_text("seed: 3\nnote: '</script><img src=x onerror=alert(2)>'\n")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "demo", {"mogen": 0.31, "random": 0.2, "nsga2": 0.28, "graph_ga": 0.37})


@pytest.fixture(scope="session")
def written_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report written once, for tests that only look."""
    from mogen.report import write_report

    folder = tmp_path_factory.mktemp("report") / "demo"
    return write_report(write_run(folder, {"mogen": 0.31, "random": 0.2, "nsga2": 0.28, "graph_ga": 0.37}))
