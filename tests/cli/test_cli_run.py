"""Whole runs from the command line: what they leave, what can be done with them afterwards, and being stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rdkit import Chem

from mogen.cli.main import main
from mogen.errors import ConfigError

FILES = {
    "config.yaml", "versions.json", "ledger.sqlite", "checkpoints", "metrics.csv", "candidates.parquet", "front.csv",
    "front.sdf", "front.png", "hypervolume.png", "report.html", "summary.json", "model", "log.txt",
}  # fmt: skip
SCORERS = """
import time
from mogen.objective import objective

@objective(worst=0, best=12, unit="carbons")
def potency(molecule):
    "How many carbons there are."
    return molecule.smiles.upper().count("C")

def length(molecule, weight=1.0):
    return weight * len(molecule.smiles)

def never(molecule):
    raise RuntimeError("no licence")

def slow(molecule):
    time.sleep(0.05)
    return len(molecule.smiles)
"""
SET = """
name: mine
objectives:
  - ./potency.py:potency
  - {function: ./potency.py:length, name: twice, worst: 60, best: 0, init: {weight: 2.0}}
  - qed
constraints:
  - {name: size, init: {maximum: 14}}
  - valence
"""


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "mogen.cli.main", *argv]


@pytest.fixture
def scorers(tmp_path: Path) -> Path:
    """A folder with a set of the user's and the file of functions it names."""
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "potency.py").write_text(SCORERS)
    (folder / "mine.yaml").write_text(SET)
    return folder


def test_a_run_leaves_its_folder(finished):
    assert {item.name for item in finished.iterdir()} >= FILES
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["budget"] == 40 and 0 < summary["asked"] <= 40
    assert summary["baselines"]["random"]["asked"] == summary["asked"]


def test_the_printed_config_is_complete_and_runs_the_same(config, finished, tmp_path, capsys, monkeypatch):
    assert main(["run", str(config), "--print_config"]) == 0
    printed = capsys.readouterr().out
    content = yaml.safe_load(printed)
    sampler = content["sampler"]["init_args"]
    assert {"steps", "replay", "beta", "learning_rate", "accelerator"} <= set(sampler)
    assert sampler["replay"] is None and sampler["environment"]["init_args"]["min_fragments"] == 2
    assert content["executor"] == {"workers": 0, "timeout": 60.0, "chunk": 32}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "full.yaml").write_text(printed)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "elsewhere/full.yaml", "--out", "again"]) == 0
    assert (tmp_path / "again" / "front.csv").read_text() == (finished / "front.csv").read_text()


def test_options_replace_what_the_file_says(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(config.parent / "blocks.json", tmp_path / "mine.json")
    options = ["--sampler.init_args.steps", "7", "--budget=99", "--baselines", "random,nsga2", "--overwrite"]
    options += ["--sampler.init_args.environment.init_args.vocabulary", "mine.json"]
    assert main(["run", str(config), *options, "--print_config"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["sampler"]["init_args"]["steps"] == 7 and content["budget"] == 99
    assert content["baselines"] == ["random", "nsga2"] and content["overwrite"] is True
    environment = content["sampler"]["init_args"]["environment"]["init_args"]
    assert environment == environment | {"vocabulary": str(tmp_path / "mine.json"), "max_fragments": 4}


def test_growing_from_a_core_as_the_readme_says(config, tmp_path):
    core = ["--sampler.init_args.environment.init_args.core", "[*]c1ccc([*])nc1"]
    argv = ["run", str(config), *core, "--budget", "16", "--baselines", "[]", "--out", str(tmp_path / "run")]
    assert main(argv) == 0
    candidates = pd.read_parquet(tmp_path / "run" / "candidates.parquet")["candidate"]
    pattern = Chem.MolFromSmarts("c1cccnc1")
    assert len(candidates) and all(Chem.MolFromSmiles(text).HasSubstructMatch(pattern) for text in candidates)


def test_defaults_of_the_command_line(tmp_path, capsys):
    (tmp_path / "least.yaml").write_text("{budget: 10, objectives: [qed, sa]}")
    assert main(["run", str(tmp_path / "least.yaml"), "--print_config"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["baselines"] == ["random", "nsga2", "graph_ga"]
    assert content["sampler"]["class_path"] == "samplers.gflownet.sampler.GFlowNetSampler"


def test_a_finished_run_is_started_again_only_when_told(config, tmp_path, capsys):
    out = tmp_path / "run"
    argv = ["run", str(config), "--out", str(out), "--budget", "16", "--baselines", "[]"]
    assert main(argv) == 0
    before = (out / "front.csv").read_text()
    assert main(argv) == 2
    assert main([*argv, "--overwrite"]) == 0
    assert (out / "front.csv").read_text() == before
    capsys.readouterr()
    assert main(["resume", str(out)]) == 0
    assert capsys.readouterr().out == f"{out} is finished, there is nothing to resume\n"


def test_a_report_is_written_again(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    for name in ("report.html", "front.png"):
        (copy / name).unlink()
    assert main(["report", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    assert (copy / "report.html").stat().st_size > 100_000 and (copy / "front.png").is_file()


def test_samples_of_a_run_are_measured(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    out = tmp_path / "new" / "samples.csv"
    assert main(["sample", str(copy), "--preference", "0.5,0.3,0.2", "-n", "7", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"7 candidates in {out}\n"
    table = pd.read_csv(out)
    kinds = [f"{kind}_{name}" for kind in ("preference", "raw", "utility") for name in ("qed", "sa", "mw")]
    assert list(table.columns) == ["candidate", *kinds] and len(table) == 7
    assert (table[["preference_qed", "preference_sa", "preference_mw"]] == [0.5, 0.3, 0.2]).all(axis=None)
    for row in table.itertuples():
        assert Chem.MolToSmiles(Chem.MolFromSmiles(row.candidate)) == row.candidate
        weight = sum(atom.GetMass() for atom in Chem.AddHs(Chem.MolFromSmiles(row.candidate)).GetAtoms())
        assert row.raw_mw == pytest.approx(weight, abs=0.01)
    assert main(["resume", str(copy)]) == 0 and "nothing to resume" in capsys.readouterr().out


def test_samples_of_a_bare_model_repeat_with_their_seed(finished, tmp_path):
    model = shutil.copytree(finished / "model", tmp_path / "somewhere" / "model")
    texts = []
    for place, seed in enumerate((4, 4, 5)):
        out = tmp_path / f"{place}.csv"
        argv = ["sample", str(model), "--preference", "1,1,2", "-n", "30", "--seed", str(seed), "--out", str(out)]
        assert main(argv) == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1] != texts[2]
    table = pd.read_csv(tmp_path / "0.csv")
    assert list(table.columns) == ["candidate", "preference_0", "preference_1", "preference_2"]
    assert (table.iloc[:, 1:] == [0.25, 0.25, 0.5]).all(axis=None)
    assert all(Chem.MolFromSmiles(smiles) is not None for smiles in table["candidate"])


@pytest.mark.parametrize(("n", "rows"), [([], 66), (["-n", "100"], 100)])
def test_a_lattice_is_gone_through_in_turn(finished, tmp_path, n, rows):
    model = shutil.copytree(finished / "model", tmp_path / "bare")
    assert main(["sample", str(model), "--lattice", "10", *n, "--out", str(tmp_path / "x.csv")]) == 0
    preference = pd.read_csv(tmp_path / "x.csv").iloc[:, 1:]
    assert len(preference) == rows and len(preference.round(6).drop_duplicates()) == 66
    assert (preference.sum(axis=1) - 1).abs().max() < 1e-6
    assert ((preference * 10).round(6) % 1 == 0).all(axis=None)


def test_own_scorers_in_worker_processes_beside_all_baselines(config, scorers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--objectives", "user/mine.yaml", "--executor.workers", "2", "--out", str(tmp_path / "run")]
    options += ["--executor.chunk", "4", "--baselines", "random,nsga2,graph_ga"]
    assert main(["run", str(config), *options]) == 0
    table = pd.read_parquet(tmp_path / "run" / "candidates.parquet")
    assert set(table["method"]) == {"mogen", "random", "nsga2", "graph_ga"}
    assert set(table["status"]) == {"measured"}
    assert (table["raw_potency"] == table["candidate"].str.upper().str.count("C")).all()
    assert (table["raw_twice"] == 2 * table["candidate"].str.len()).all()
    heavy = table["candidate"].map(lambda smiles: Chem.MolFromSmiles(smiles).GetNumHeavyAtoms())
    assert (table["valid"] == (heavy <= 14)).all() and not table["valid"].all()
    assert (table.loc[~table["valid"], ["utility_potency", "utility_qed"]] == 0).all(axis=None)


def test_a_scorer_that_fails_is_told(config, scorers, tmp_path, capsys):
    (scorers / "mine.yaml").write_text("objectives: [{function: './potency.py:never', worst: 0, best: 1}, qed]")
    argv = ["run", str(config), "--objectives", str(scorers / "mine.yaml"), "--out", str(tmp_path / "run")]
    assert main([*argv, "--baselines", "[]"]) == 0
    said = capsys.readouterr().err
    assert "warning: 'never' could not measure" in said and "RuntimeError: no licence" in said


@pytest.fixture(scope="module")
def slow(config, tmp_path_factory) -> tuple[list[str], Path]:
    """A run that takes its time: its command line, and the folder of one that nobody stopped."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "potency.py").write_text(SCORERS)
    (folder / "slow.yaml").write_text("objectives: [{function: './potency.py:slow', worst: 40, best: 0}, qed]")
    argv = ["run", str(config), "--objectives", str(folder / "slow.yaml"), "--budget", "24", "--executor.chunk", "4"]
    assert main([*argv, "--out", str(folder / "whole")]) == 0
    return argv, folder / "whole"


def heeding() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_leaves_a_run_that_can_be_resumed(slow, tmp_path, workers, capsys):
    argv, whole = slow
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        command(*argv, "--executor.workers", workers, "--out", str(out)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,
    )
    deadline = time.monotonic() + 100
    while not (out / "metrics.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"continue with: mogen resume {out}" in said and "Traceback" not in said
    assert not (out / "summary.json").exists()
    assert main(["resume", str(out)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == f"finished: {out / 'report.html'}"
    assert [line.split()[0] for line in shown[:3]] == ["method", "mogen", "random"] and shown[1].count("*") <= 1
    for name in ("front.csv", "hypervolume.csv"):
        assert (out / name).read_text() == (whole / name).read_text()


def test_default_baselines_are_those_that_suit_the_sampler(capsys):
    from mogen.cli.config import BASELINES
    from mogen.cli.run_command import baselines
    from samplers.environment.hypergrid import HyperGrid
    from samplers.gflownet.sampler import GFlowNetSampler

    sampler = GFlowNetSampler(environment=HyperGrid())
    assert list(baselines(BASELINES, sampler)) == ["random", "nsga2"]
    assert "without the baseline graph_ga: expected" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="expected"):
        baselines(["graph_ga"], sampler)
