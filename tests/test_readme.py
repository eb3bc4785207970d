"""What the README shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import mogen
from mogen.cli.main import main
from mogen.objective import load_set

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    """The code of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_example_runs(tmp_path, monkeypatch, capsys) -> None:
    (code,) = blocks("python")
    assert len(code.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "runs/readme/summary.json").is_file() and (tmp_path / "runs/readme/report.html").is_file()
    assert "0." in capsys.readouterr().out


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the README in one folder."""
    (scorer,) = blocks("py")
    (tmp_path / "potency.py").write_text(scorer)
    run, *sets, core, loop = blocks("yaml")
    (tmp_path / "my_run.yaml").write_text(run)
    for place, text in enumerate(sets):
        (tmp_path / f"set{place}.yaml").write_text(text)
    (tmp_path / "my_set.yaml").write_text(sets[0])
    (tmp_path / "loop.yaml").write_text(loop)
    (tmp_path / "compounds.csv").write_text("SMILES,pIC50\nCCO,5.1\nCCN,4.9\n")
    (tmp_path / "core.yaml").write_text(
        "budget: 10\nobjectives: druglike\n" + core.replace("my_fragments.json", "null")
    )
    return tmp_path


def test_the_sets_load_and_the_scorer_measures(project: Path) -> None:
    objectives = load_set(project / "set0.yaml")
    assert objectives.names == ("potency", "qed", "mw")
    assert objectives([mogen.Molecule.from_smiles("CCO")]).raw[0, 0] == pytest.approx(4.3)
    assert load_set(project / "set1.yaml").names == ("docking", "potency")


def test_the_loop_is_accepted(project: Path, capsys) -> None:
    assert main(["run", str(project / "loop.yaml"), "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["loop"]["batch"] == 16 and printed["loop"]["columns"]["potency"] == "pIC50"


@pytest.mark.parametrize("name", ["my_run.yaml", "core.yaml"])
def test_the_configs_are_accepted(project: Path, name: str, capsys) -> None:
    assert main(["run", str(project / name), "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["sampler"]["class_path"].endswith("GFlowNetSampler")
    assert printed["objectives"] in (str(project / "my_set.yaml"), "druglike")


def test_every_option_and_name_it_tells_exists(capsys) -> None:
    text = README.read_text(encoding="utf-8")
    for name in ("qed", "gflownet", "graph_ga", "nsga2", "random"):
        assert f"`{name}`" in text or f"mogen show {name}" in text
        assert main(["show", name]) == 0
    assert main(["run", "--help"]) == 0
    told = capsys.readouterr().out
    for option in ("--overwrite", "--baselines", "--seeds", "--out", "--print_config", "--executor.workers"):
        assert option in told
        assert option.removeprefix("--executor.") in text


def test_every_public_name_is_there() -> None:
    for name in mogen._PUBLIC:
        assert callable(getattr(mogen, name)), name
