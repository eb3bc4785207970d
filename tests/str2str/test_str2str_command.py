"""mogen sample MODEL --input FILE, and its sentences."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from mogen.cli.conformations import fixed_places
from mogen.cli.main import main
from mogen.domain.backbone import Backbone, Residues, from_torsions, read_backbone, read_backbones, write_backbones
from mogen.domain.conformation import rmsd
from mogen.errors import ConfigError
from mogen.metric.ensemble import backbone_validity
from samplers.str2str import Str2StrSampler
from samplers.str2str.displacement import torsion_noise
from samplers.str2str.sampler import Protocol


def chain(n: int = 12) -> Backbone:
    """A zigzag of N, CA, C and O."""
    step = torch.arange(float(n))[:, None, None] * torch.tensor([3.6, 0, 0])
    lift = (torch.arange(n) % 2)[:, None, None] * torch.tensor([0, 1.0, 0])
    unit = torch.tensor([[-1.2, 0.6, 0.1], [0, 0, 0], [1.2, 0.7, -0.1], [1.3, 1.9, 0]])
    return Backbone.of(unit + step + lift, Residues.numbered("ACDEFGHIKLMN"[:n]))


@pytest.fixture
def model(tmp_path) -> str:
    sampler = Str2StrSampler(size="tiny", protocol=Protocol((0.2, 0.4), steps=2, method="euler"))
    sampler.network = sampler.build()
    sampler.save(tmp_path / "model")
    write_backbones(tmp_path / "in.pdb", [chain()])
    return str(tmp_path / "model")


@pytest.mark.parametrize("kind", ["pdb", "cif"])
def test_conformations_and_their_table_are_written(tmp_path, model, kind, capsys):
    options = ["--input", str(tmp_path / "in.pdb"), "-n", "5", "--fixed", "1-3,12", "--format", kind]
    assert main(["sample", model, *options, "--out", str(tmp_path / "out")]) == 0
    models = read_backbones(tmp_path / "out" / f"conformations.{kind}")
    assert len(models) == 5 and len(set(models)) == 5 and models[0].residues == chain().residues
    for item in models:
        assert torch.equal(item.coordinates[:3], chain().coordinates[:3])
        assert torch.equal(item.coordinates[11], chain().coordinates[11])
    table = pd.read_csv(tmp_path / "out" / "conformations.csv")
    assert table.noise_time.tolist() == [0.2, 0.4, 0.2, 0.4, 0.2] and (table.rmsd_to_input > 0).all()
    assert "thermodynamic" in capsys.readouterr().err
    assert main(["sample", model, *options, "--out", str(tmp_path / "again")]) == 0
    assert read_backbones(tmp_path / "again" / f"conformations.{kind}") == models


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--input", "IN", "--fixed", "0-3"], "residues from 1 to 12"),
        (["--input", "IN", "--fixed", "a"], "residues such as 1-20,35"),
        (["--input", "IN", "--format", "xyz"], "pdb, cif, xtc or dcd"),
        (["--input", "IN", "--fixed", "1-3", "--relax", "true"], "either --fixed or --relax"),
        (["--input", "ONE"], "at least two residues"),
        (["--input", "IN", "--chains", "Q"], "a chain among A"),
        (["--input", "none.pdb"], "there is none at none.pdb"),
        (["--input", "CUT"], "cut.cif"),
        (["--input", "LONG"], "at most 512 residues"),
        (["--input", "WITHOUT"], "there are no CA atoms"),
        (["--input", "NAN"], "three finite coordinates in line"),
        ([], "input structure"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(tmp_path, model, options, sentence, capsys):
    write_backbones(tmp_path / "cut.cif", [chain()])
    text = (tmp_path / "cut.cif").read_text()
    (tmp_path / "cut.cif").write_text(text[: len(text) // 2])
    long = chain(12).coordinates.repeat(167, 1, 1)[:2000]
    write_backbones(tmp_path / "long.pdb", [Backbone.of(long, Residues.numbered("A" * 2000))])
    write_backbones(tmp_path / "one.pdb", [chain(1)])
    atoms = (tmp_path / "in.pdb").read_text().splitlines(keepends=True)
    (tmp_path / "without.pdb").write_text("".join(line for line in atoms if line[12:16].strip() != "CA"))
    (tmp_path / "nan.pdb").write_text("".join(line[:30] + "     nan" + line[38:] for line in atoms))
    places = {name: f"{name.lower()}.pdb" for name in ("IN", "ONE", "LONG", "WITHOUT", "NAN")} | {"CUT": "cut.cif"}
    given = [str(tmp_path / places[item]) if item in places else item for item in options]
    assert main(["sample", model, *given, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error and len(error.strip().splitlines()) == 1


def test_residues_that_are_none_of_the_twenty_are_kept_and_named_once(tmp_path, model, capsys, caplog):
    atoms = (tmp_path / "in.pdb").read_text().splitlines(keepends=True)
    strange = [line[:17] + "ZZZ" + line[20:] if line[22:26] == "   5" else line for line in atoms]
    (tmp_path / "strange.pdb").write_text("".join(strange))
    given = ["--input", str(tmp_path / "strange.pdb"), "-n", "2", "--out", str(tmp_path / "out")]
    assert main(["sample", model, *given]) == 0
    assert [item.sequence for item in read_backbones(tmp_path / "out" / "conformations.pdb")] == ["ACDEXGHIKLMN"] * 2
    told = caplog.text + capsys.readouterr().err
    assert told.count("1 residues are none of the 20 and stand as UNK, the first ZZZ A5") == 1


@pytest.mark.parametrize(
    "options, package",
    [(["--format", "xtc"], "mdtraj"), (["--format", "dcd"], "mdtraj"), (["--pack", "true"], "pyfaspr")],
)
def test_a_missing_extra_is_one_sentence_before_anything_is_drawn(
    tmp_path, model, options, package, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.formats", None)
    given = ["--input", str(tmp_path / "in.pdb"), *options, "--out", str(tmp_path / "out")]
    assert main(["sample", model, *given]) == 2
    error = capsys.readouterr().err
    assert f"expected the package {package}" in error and "pip install" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_relaxed_conformations_are_closer_to_whole(tmp_path, model):
    given = ["--input", str(tmp_path / "in.pdb"), "-n", "2"]
    assert main(["sample", model, *given, "--out", str(tmp_path / "raw")]) == 0
    assert main(["sample", model, *given, "--relax", "true", "--out", str(tmp_path / "relaxed")]) == 0
    raw, relaxed = (read_backbones(tmp_path / name / "conformations.pdb") for name in ("raw", "relaxed"))
    for one, other in zip(raw, relaxed, strict=True):
        assert 0 < float((one.ca - other.ca).norm(dim=-1).max()) < 0.3
    assert "peptide_bonds_above_1_4" in pd.read_csv(tmp_path / "relaxed" / "conformations.csv")


def test_the_name_of_a_sampler_says_how_to_train_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "gdss", "--input", "x.pdb"]) == 2
    error = capsys.readouterr().err
    assert "mogen train" in error and len(error.strip().splitlines()) == 1


def test_the_shipped_model_draws_conformations_that_hold_together_better_than_torsion_noise(tmp_path, capsys):
    """A chain of 57 residues; the test on 13 proteins is experiments/benchmarks/str2str_conformations.py."""
    path = Path(__file__).parents[2] / "experiments" / "structures" / "elafin_bound.pdb"
    assert main(["sample", "str2str", "--input", str(path), "-n", "8", "--out", str(tmp_path)]) == 0
    drawn = torch.stack([item.coordinates for item in read_backbones(tmp_path / "conformations.pdb")])
    given = read_backbone(path)
    bonded = torch.tensor(given.is_bonded)
    deviation = float(rmsd(drawn[:, :, 1].double(), given.ca.double()).mean())
    noise = torsion_noise(given, 32, deviation, generator=torch.Generator().manual_seed(0))[0]
    assert 0.5 < deviation < 4.0
    assert backbone_validity(drawn, bonded).ca > backbone_validity(noise, bonded).ca


def test_residues_are_counted_from_one():
    assert fixed_places("1-3, 5", 6) == [0, 1, 2, 4]
    with pytest.raises(ConfigError):
        fixed_places("3-1", 6)


def test_mogen_train_writes_a_model_that_samples(tmp_path, monkeypatch, capsys):
    phi, psi = (torch.full((22,), math.radians(angle)) for angle in (-60.0, -45.0))
    (tmp_path / "chains").mkdir()
    for place in range(3):  # which cluster is for validation is decided by a hash
        helix = from_torsions(
            phi + 0.02 * place, psi, Residues.numbered("ACDEFGHIKLMNPQRSTVWYAC"[place:] + "G" * place)
        )
        write_backbones(tmp_path / "chains" / f"{place}.pdb", [helix])
    settings = {"data": str(tmp_path / "chains"), "size": "tiny", "steps": 2, "budget": 1000, "accelerator": "cpu"}
    sampler = {"class_path": "str2str", "init_args": {**settings, "protocol": {"starts": [0.2], "steps": 2}}}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({"sampler": sampler}))
    assert main(["train", str(tmp_path / "train.yaml"), "--out", str(tmp_path / "model")]) == 0
    given = ["--input", str(tmp_path / "chains" / "0.pdb"), "-n", "2", "--out", str(tmp_path / "out")]
    assert main(["sample", str(tmp_path / "model"), *given]) == 0
    assert len(read_backbones(tmp_path / "out" / "conformations.pdb")) == 2
    card = yaml.safe_load((tmp_path / "model" / "sampler.yaml").read_text())["card"]
    assert card["steps"] == 2 and len(card["data_sha256"]) == 64
