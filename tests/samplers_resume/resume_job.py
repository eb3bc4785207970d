"""A small real run for tests that kill it: its files, its processes, what it left."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import yaml

FRAGMENTS = (
    ("c1ccccc1", [0, 2, 3]),
    ("C1CCNCC1", [0, 3]),
    ("CO", [0, 1]),
    ("CN", [0, 1]),
    ("C=O", [0]),
    ("c1ccncc1", [0, 2]),
    ("CC", [0, 1]),
    ("F", [0]),
    ("NC=O", [0, 1]),
    ("C1CCOC1", [0, 2]),
    ("O", [0]),
    ("Cl", [0]),
)
"""SMILES and the atoms that can be joined"""

BASELINES = ("random", "nsga2", "graph_ga")

SCORER = """
import os
import time

from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors


def noted(molecule, name):
    line = f"{name} {molecule.key}\\n".encode()
    file = os.open(os.path.join(os.path.dirname(__file__), "calls.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)
    time.sleep(0.0015)
    return Chem.MolFromSmiles(molecule.smiles)


def polar(molecule) -> float:
    mol = noted(molecule, "polar")
    return float("nan") if mol.GetNumAtoms() % 13 == 0 else rdMolDescriptors.CalcTPSA(mol)


def greasy(molecule) -> float:
    return Crippen.MolLogP(noted(molecule, "greasy"))
"""
"""two objectives at odds that write down every call; every thirteenth size fails"""


def write_job(
    folder: Path, *, seed: int = 0, budget: int = 160, workers: int = 0, baselines: Sequence[str] = BASELINES
) -> Path:
    """The config of a small run and the files it names."""
    fragments = [{"smiles": smiles, "sites": sites} for smiles, sites in FRAGMENTS]
    vocabulary = {"format": "mogen-fragments", "version": 1, "name": "small", "fragments": fragments}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    (folder / "scorer.py").write_text(SCORER)
    config = {
        "budget": budget,
        "seed": seed,
        "progress": False,
        "objectives": {
            "name": "small",
            "objectives": [
                {"name": f"{folder}/scorer.py:polar", "worst": 0, "best": 120},
                {"name": f"{folder}/scorer.py:greasy", "worst": -2, "best": 6},
            ],
        },
        "sampler": {
            "class_path": "gflownet",
            "init_args": {
                "environment": {
                    "class_path": "samplers.environment.fragment.FragmentEnvironment",
                    "init_args": {"vocabulary": str(folder / "vocabulary.json"), "max_fragments": 5},
                },
                "network": {
                    "class_path": "samplers.gflownet.networks.fragment.HistoryTransformer",
                    "init_args": {"width": 16, "heads": 2, "depth": 1},
                },
                "batch": 16,
                "updates": 2,
                "replay": {"warmup": 32, "share": 1.0},
                "steps": 1000,
                "epsilon": 0.05,
                "checkpoint_every": 5,
                "accelerator": "cpu",
            },
        },
        "baselines": list(baselines),
        "executor": {"workers": workers, "chunk": 8},
        "final": {"partitions": 6, "per_preference": 4},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def start(*argv: str, threads: int = 1) -> subprocess.Popen[bytes]:
    """The command line in a child process."""
    command = [sys.executable, "-m", "mogen.cli.main", *argv]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(child: subprocess.Popen[bytes]) -> None:
    """Waits for a child that must end well."""
    told, _ = child.communicate(timeout=120)
    assert child.returncode == 0, told.decode()


def kill_when(child: subprocess.Popen[bytes], is_due: Callable[[], bool], after: float) -> None:
    """SIGKILL some seconds after something has become true; the child must still be at work then."""
    end = time.monotonic() + 60
    while not is_due() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    told, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, f"the child ended before it was killed: {told.decode()}"


def recorded(run: Path) -> list[tuple[str, str]]:
    """Objective and candidate of every measurement in the ledger."""
    if not (run / "ledger.sqlite").exists():
        return []
    with sqlite3.connect(run / "ledger.sqlite", timeout=30) as connection:
        rows = connection.execute("SELECT identity, key FROM measurement").fetchall()
    connection.close()
    return [("polar" if "polar" in identity else "greasy", key) for identity, key in rows]


def calls(folder: Path) -> list[tuple[str, str]]:
    """Objective and candidate of every call of an objective, over all processes."""
    path = folder / "calls.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, key) for name, _, key in (line.partition(" ") for line in lines)]


def outcome(run: Path) -> tuple[str, str, pd.DataFrame, dict]:
    """Everything a finished run says, without times and folders."""
    summary = json.loads((run / "summary.json").read_text())
    for figures in (summary, *summary["baselines"].values()):
        figures.pop("seconds")
    return (
        (run / "front.csv").read_text(),
        (run / "hypervolume.csv").read_text(),
        pd.read_parquet(run / "candidates.parquet"),
        summary,
    )
