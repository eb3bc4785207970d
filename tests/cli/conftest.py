"""A config small enough for whole runs in tests, and a finished run of it."""

import json
from pathlib import Path

import pytest
import yaml

from mogen.cli.main import main

BLOCKS = [("c1ccccc1", [0, 3]), ("CC", [0, 1]), ("CO", [0]), ("CN", [0, 1]), ("CC(N)=O", [0, 2]), ("c1ccncc1", [0])]


def tiny_config(folder: Path, **change: object) -> Path:
    """A config file with its vocabulary beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    fragments = [{"smiles": smiles, "sites": sites} for smiles, sites in BLOCKS]
    (folder / "blocks.json").write_text(json.dumps({"format": "mogen-fragments", "version": 1, "fragments": fragments}))
    config = {
        "name": "tiny",
        "budget": 40,
        "objectives": "druglike",
        "sampler": {
            "class_path": "gflownet",
            "init_args": {
                "environment": {"class_path": "FragmentEnvironment", "vocabulary": "blocks.json", "max_fragments": 4},
                "network": {"class_path": "HistoryTransformer", "init_args": {"width": 16, "depth": 1, "heads": 2}},
                "batch": 8,
                "steps": 4,
                "checkpoint_every": 1,
                "accelerator": "cpu",
            },
        },
        "final": {"partitions": 2, "per_preference": 1},
        "baselines": ["random"],
        "progress": False,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config | change))
    return path


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny config."""
    return tiny_config(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of it; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(["run", str(config), "--out", str(out)]) == 0
    return out
