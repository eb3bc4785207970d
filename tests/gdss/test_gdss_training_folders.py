"""What a folder of training belongs to, what a killed training pays, and damaged checkpoints."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mogen.cli.main import main
from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, RunError
from mogen.experiment import has_checkpoint
from mogen.objective import ObjectiveSet, objective
from samplers.diffusion import VP, EulerMaruyama
from samplers.gdss.learner import Predictor
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.sampler import GDSSSampler
from samplers.gdss.training import GraphTraining, Published, Transformer

SMILES = ["CCO", "CCN", "CC(=O)O", "C1CC1", "CC#N", "OCCO", "NCCO", "CC(C)C", "COC", "CCC=O"]
TINY = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "walks": 2, "hops": 2}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "some.smi").write_text("\n".join(SMILES) + "\n")
    return str(tmp_path / "some.smi")


def training(file: str, **options: Any) -> GraphTraining:
    settings: dict[str, Any] = {"updates": 2, "batch": 10, "warmup": 0, "checkpoint_every": 2, "accelerator": "cpu"}
    return GraphTraining(file, **{"network": Transformer(**TINY), **settings, **options})


def test_a_started_training_goes_on_as_it_was_begun_or_not_at_all(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    training(file).run(folder, 3)
    assert has_checkpoint(folder)
    (tmp_path / "moved.smi").write_text(Path(file).read_text())
    # the length, the checkpoints, how it is sampled, and where the same data lie may differ
    free: dict[str, Any] = {"updates": 4, "checkpoint_every": 1, "kept_every": 3, "accelerator": "auto", "steps": 7}
    training(str(tmp_path / "moved.smi"), **free).run(folder, 3)
    (tmp_path / "other.smi").write_text("\n".join(SMILES[::-1]) + "\n")
    for options, word in (
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"network": Transformer(**{**TINY, "heads": 4})}, "network"),
        ({"network": Published(hidden=8, attention=8)}, "network"),
        ({"sde_adj": VP(0.1, 10.0)}, "sde_adj"),
        ({"batch": 5}, "batch"),
        ({"data": str(tmp_path / "other.smi")}, "data"),
    ):
        given = training(**{"file": options.pop("data", file), **options})
        with pytest.raises(RunError, match=f"belong to, got another [^:]*{word}[^:]*: choose another folder"):
            given.run(folder, 3)
    with pytest.raises(RunError, match="got another seed"):
        training(file).run(folder, 4)
    kept = yaml.safe_load((folder / "training.yaml").read_text())
    assert kept["seed"] == 3 and "updates" not in kept
    older = {name: value for name, value in kept.items() if name not in ("times", "optimizer")}
    (folder / "training.yaml").write_text(yaml.safe_dump(older))
    with pytest.raises(RunError, match="got another times, optimizer: "):
        training(file).run(folder, 3)
    (folder / "training.yaml").unlink()  # a folder of old
    training(file, learning_rate=1e-3, updates=5).run(folder, 3)
    assert not (folder / "training.yaml").exists()


def test_nothing_is_claimed_without_a_checkpoint(file: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "training.yaml").write_text("seed: 77\n")
    assert not has_checkpoint(tmp_path / "folder")
    training(file).run(tmp_path / "folder", 1)
    assert yaml.safe_load((tmp_path / "folder" / "training.yaml").read_text())["seed"] == 1


def test_a_damaged_checkpoint_and_an_absent_accelerator_are_one_sentence(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"data": file, "updates": 2, "batch": 10, "accelerator": "cpu"}
    options["network"] = {"class_path": "samplers.gdss.training.Transformer", "init_args": TINY}
    config = {"sampler": {"class_path": "gdss", "init_args": {"training": options}}, "out": str(tmp_path / "model")}
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    training(file, updates=1, checkpoint_every=1, warmup=1000).run(tmp_path / "model" / "checkpoints", 0)
    newest = tmp_path / "model" / "checkpoints" / "newest.ckpt"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    capsys.readouterr()
    assert main(["train", str(tmp_path / "c.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "expected a whole checkpoint" in said[-1] and "remove it" in said[-1] and len(said) == 2
    if torch.cuda.is_available():
        return
    words = ["--sampler.init_args.training.accelerator", "gpu", "--out", str(tmp_path / "gpu")]
    assert main(["train", str(tmp_path / "c.yaml"), *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "expected an accelerator" in said[-1] and "'gpu'" in said[-1] and len(said) == 2
    with pytest.raises(ConfigError, match="a precision that this machine has"):
        training(file, precision="17-bits").run(None, 0)


def small_model(folder: Path) -> None:
    kind = GraphKind(("C", "N", "O"), 3, 5, (0, 0, 0, 1, 2, 2), "classes")
    torch.manual_seed(0)
    GDSSSampler.of(GraphModel(Transformer(**TINY).build(kind), kind, VP(), VP(), "data"), EulerMaruyama(), 4).save(
        folder
    )


def guided(folder: Path, objectives: list[str], **options: Any) -> Path:
    """A config that trains a predictor on 10 labels."""
    small_model(folder / "base")
    predictor = {"labels": 10, "updates": 3, "batch": 8, "accelerator": "cpu", "checkpoint_every": 1, **options}
    sampler = {"model": str(folder / "base"), "guidance": "predictor", "predictor": predictor}
    config: dict[str, Any] = {"sampler": {"class_path": "gdss", "init_args": sampler}, "out": str(folder / "model")}
    config["objectives"] = {"objectives": [{"name": name} for name in objectives]}
    (folder / "guide.yaml").write_text(json.dumps(config))
    return folder / "guide.yaml"


def measured(folder: Path) -> int:
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        return int(ledger.execute("SELECT count(*) FROM measurement").fetchone()[0])


def test_a_killed_training_of_guidance_pays_for_no_label_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = guided(tmp_path, ["qed"])
    learn = Predictor.learn

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "learn", killed)
    assert main(["train", str(config)]) == 130
    assert "10 of them measured now" in capsys.readouterr().err
    assert measured(tmp_path / "model") == 10
    monkeypatch.setattr(Predictor, "learn", learn)
    assert main(["train", str(config)]) == 0
    said = capsys.readouterr().err
    assert "labels: 10 candidates asked for, 0 of them measured now" in said and measured(tmp_path / "model") == 10
    assert "gdss: 10 different candidates asked for" in said and "network evaluations" in said
    assert main(["sample", str(tmp_path / "model"), "-n", "2", "--preference", "1"]) == 0


def test_checkpoints_of_guidance_belong_to_their_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(guided(tmp_path, ["qed"]))]) == 0
    (tmp_path / "model" / "sampler.yaml").unlink()
    assert main(["train", str(guided(tmp_path, ["qed"], updates=80))]) == 0  # only more of it
    (tmp_path / "model" / "sampler.yaml").unlink()
    capsys.readouterr()
    assert main(["train", str(guided(tmp_path, ["logp"]))]) == 2
    assert "got another data: choose another folder" in capsys.readouterr().err


@objective(worst=0, best=1)
def never(molecule: Molecule) -> float:
    """Measures nothing."""
    del molecule
    return float("nan")


def test_a_training_without_valid_labels_says_how_many_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mogen.cli.train_command.objectives_of", lambda config: ObjectiveSet([never]))
    assert main(["train", str(guided(tmp_path, ["qed"]))]) == 2
    said = capsys.readouterr().err
    assert "expected at least 8 valid labelled graphs that fit the model to learn guidance from, got 0 of 10" in said
    assert not (tmp_path / "model" / "sampler.yaml").exists()
