import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mogen.cli.main import main

CONFIG = {"budget": 10, "objectives": "druglike", "sampler": "gflownet"}


def failed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    code = main(argv)
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("mogen: error: ") and error.count("\n") == 1
    return error


def written(tmp_path: Path, **change: object) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | change))
    return str(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bugdet": 3}, "did you mean 'budget'"),
        ({"budget": -1}, "budget"),
        ({"sampler": {"class_path": "gflownt"}}, "did you mean 'gflownet'"),
        ({"sampler": {"class_path": "gflownet", "init_args": {"stepz": 3}}}, "did you mean 'steps'"),
        ({"executor": {"worker": 3}}, "did you mean 'workers'"),
        ({"objectives": {"name": "x", "objectives": ["qde"]}}, "qed"),
        ({"objectives": {"name": "x", "objectives": []}}, "at least one"),
        ({"objectives": "nothing_like_it"}, "nothing_like_it"),
    ],
)
def test_a_config_with_a_mistake_is_one_sentence(tmp_path, capsys, change, said):
    assert said in failed(capsys, "run", written(tmp_path, **change), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "nowhere.yaml"),
        ("resume", "nowhere"),
        ("report", "nowhere"),
        ("sample", "nowhere", "--preference", "1,1", "--out", "x.csv"),
        ("show", "nothing"),
        ("list", "nothing"),
        ("nothing",),
        ("report", "--foo", "3"),
    ],
)
def test_what_does_not_exist_is_one_sentence(capsys, argv):
    failed(capsys, *argv)


def test_help_is_quick_and_imports_nothing_heavy():
    code = "import sys; from mogen.cli.main import main; main([*sys.argv[1:]]); print('torch' in sys.modules)"
    for argv in ([], ["run"]):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *argv, "--help"], capture_output=True, text=True)
        assert done.stdout.strip().endswith("False"), done.stderr
        assert time.perf_counter() - start < 2


def test_print_config_is_complete(tmp_path, capsys):
    assert main(["run", written(tmp_path), "--print_config", "--sampler.init_args.steps", "7"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["sampler"]["init_args"]["steps"] == 7
    assert content["baselines"] == ["random", "nsga2", "graph_ga"]
