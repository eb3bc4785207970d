"""Every mistake is one sentence on standard error, with exit code 2 and no traceback."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mogen.cli.main import COMMANDS, main

CONFIG = {"budget": 10, "objectives": "druglike", "sampler": "gflownet"}
HELP_SECONDS = 2.0


def failed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    code = main(argv)
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("mogen: error: ") and error.count("\n") == 1 and len(error) < 700
    return error


def written(tmp_path: Path, **change: object) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG | change))
    return str(path)


def test_a_run_config_is_not_for_training(capsys, tmp_path):
    assert "try `mogen run" in failed(capsys, "train", written(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bugdet": 3}, ["'bugdet'", "did you mean 'budget'", "executor"]),
        ({"budget": -1}, ["a whole number above 0 for budget, got '-1'"]),
        ({"budget": 0}, ["a whole number above 0 for budget, got '0'"]),
        ({"budget": "many"}, ["a whole number above 0 for budget, got 'many'"]),
        ({"budget": 2.5}, ["a whole number above 0 for budget, got '2.5'"]),
        ({"budget": None}, ["a value for budget, got none"]),
        ({"seed": "x"}, ["a whole number for seed, got 'x'"]),
        ({"seeds": 0}, ["a whole number above 0 for seeds, got '0'"]),
        ({"sampler": {"class_path": "gflownt"}}, ["did you mean 'gflownet'"]),
        ({"sampler": 4}, ["for sampler, got 4"]),
        ({"sampler": "mogen.preference.Dirichlet"}, ["'mogen.preference.Dirichlet', which is none"]),
        ({"sampler": {"class_path": "gflownet", "init_args": {"stepz": 3}}}, ["did you mean 'steps'", "batch"]),
        ({"sampler": {"init_args": {"steps": "few"}}}, ["a whole number for sampler.steps, got 'few'"]),
        ({"sampler": {"init_args": {"batch": 0}}}, ["batch of at least 1", "got 0"]),
        ({"sampler": {"init_args": {"network": 7}}}, ["Network or null for sampler.network, got '7'"]),
        ({"sampler": {"init_args": {"network": "Perceptronn"}}}, ["HistoryTransformer", "sampler.network"]),
        ({"sampler": {"init_args": {"network": "no.such.Thing"}}}, ["HistoryTransformer", "No module named 'no'"]),
        ({"sampler": {"init_args": {"beta": {"value": 3}}}}, ["class_path for sampler.beta", "ConstantBeta"]),
        ({"sampler": {"init_args": {"replay": {"shar": 1}}}}, ["sampler.replay", "did you mean 'share'"]),
        (
            {"sampler": {"init_args": {"environment": {"class_path": "FragmentEnvironment", "max_fragmets": 3}}}},
            ["sampler.environment", "'max_fragmets'", "did you mean 'max_fragments'", "vocabulary"],
        ),
        (
            {"sampler": {"init_args": {"environment": {"init_args": {"vocabulary": "none.json"}, "class_path":
             "samplers.environment.fragment.FragmentEnvironment"}}}},
            ["none.json", "vocabulary"],
        ),
        ({"executor": {"worker": 3}}, ["did you mean 'workers'"]),
        ({"executor": {"workers": -2}}, ["a whole number of at least 0 for executor.workers, got '-2'"]),
        ({"executor": {"timeout": "long"}}, ["a number above 0 or null for executor.timeout, got 'long'"]),
        ({"executor": 3}, ["executor, got 3"]),
        ({"final": {"partitions": 0}}, ["a whole number above 0 for final.partitions"]),
        ({"baselines": ["rndom"]}, ["did you mean 'random'"]),
        ({"baselines": 3}, ["a list for baselines, got '3'"]),
        ({"progress": "maybe"}, ["true or false for progress"]),
        ({"objectives": {"name": "x", "objectives": ["qde"]}}, ["'qde'", "qed"]),
        ({"objectives": {"name": "x", "objectives": []}}, ["at least one"]),
        ({"objectives": []}, ["at least one"]),
        ({"objectives": {"objectives": ["qed"], "constraints": ["sze"]}}, ["did you mean 'size'"]),
        ({"objectives": "nothing_like_it"}, ["'nothing_like_it'", "druglike"]),
        ({"objectives": "none.yaml"}, ["none.yaml"]),
        ({"objectives": 3}, ["a text or keys and values for objectives, got '3'"]),
    ],
)  # fmt: skip
def test_a_config_with_a_mistake_is_one_sentence(tmp_path, capsys, change, said):
    sentence = failed(capsys, "run", written(tmp_path, **change), "--out", str(tmp_path / "out"))
    assert all(part in sentence for part in said), sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bugdet", "3"], "did you mean 'budget'"),
        (["--budget"], "a value after --budget"),
        (["budget"], "'budget'"),
        (["--budget", "{"], "'{'"),
        (["--objectives.name", "x"], "--objectives.name has no place: objectives is 'druglike'"),
        (["--sampler.stepz", "3"], "did you mean 'steps'"),
    ],
)
def test_an_option_with_a_mistake_is_one_sentence(tmp_path, capsys, options, said):
    assert said in failed(capsys, "run", written(tmp_path), *options)


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "an empty file"), ("- 1\n", "list"), ("a: [", "YAML"), ("a: \x00", "YAML"), (b"\xff\xfe\xfa", "YAML")],
)
def test_a_file_that_is_no_config_is_one_sentence(tmp_path, capsys, content, said):
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert said in failed(capsys, "run", str(tmp_path / "config.yaml"))


def test_a_vocabulary_with_broken_smiles_is_one_sentence(tmp_path, capsys):
    fragments = [{"smiles": "CC", "sites": [0]}, {"smiles": "c1ccc((", "sites": [0]}]
    vocabulary = {"format": "mogen-fragments", "version": 1, "fragments": fragments}
    (tmp_path / "broken.json").write_text(json.dumps(vocabulary))
    environment = {"class_path": "FragmentEnvironment", "init_args": {"vocabulary": "broken.json"}}
    config = written(tmp_path, sampler={"class_path": "gflownet", "init_args": {"environment": environment}})
    sentence = failed(capsys, "run", config, "--out", str(tmp_path / "out"))
    assert "c1ccc((" in sentence and "entry 1" in sentence


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("run",), "CONFIG"),
        (("run", "nowhere.yaml"), "nowhere.yaml"),
        (("resume", "nowhere"), "nowhere"),
        (("resume",), "folder"),
        (("report", "nowhere"), "nowhere"),
        (("report", "."), "summary.json"),
        (("sample", "nowhere", "--preference", "1,1", "--out", "x.csv"), "nowhere"),
        (("sample", "nowhere", "--out", "x.csv"), "there is none at nowhere"),
        (("sample", "nowhere", "--preference", "1,1"), "there is none at nowhere"),
        (("show", "nothing"), "mogen list objectives|sets"),
        (("show", "fexofenadin"), "did you mean 'fexofenadine'"),
        (("show", "nothing.like.it"), "nothing.like.it"),
        (("show", "nothing.yaml"), "nothing.yaml"),
        (("show", "nothing.py:f"), "nothing.py"),
        (("show",), "name"),
        (("list", "nothing"), "objectives"),
        (("list", "objektives"), "did you mean 'objectives'"),
        (("nothing",), "resume"),
        (("smaple",), "did you mean 'sample'"),
        (("report", "--foo", "3"), "'--foo'"),
        (("report", "a", "b"), "got b"),
        (("data", "fetch"), "get, import, list"),
        (("data", "import", "a b", "x.csv"), "'a b'"),
        (("data", "import", "ab", "nowhere.csv"), "nowhere.csv"),
        (("data", "get", "ab", "--url", "http://127.0.0.1:9/x", "--sha256", "12"), "64 hexadecimal digits"),
        (("vocabulary", "bild"), "did you mean 'build'"),
        (("vocabulary", "build", "nowhere.smi", "--out", "x.json"), "nowhere.smi"),
        (("vocabulary", "build", "nowhere.smi"), "out"),
        (("vocabulary", "build", "nowhere.smi", "--out", "x.json", "--size", "few"), "a whole number for size"),
        (("vocabulary", "build", "nowhere.smi", "--out", "x.json", "--size", "0"), "size of at least 1"),
    ],
)
def test_what_does_not_exist_is_one_sentence(tmp_path, monkeypatch, capsys, argv, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    assert said in failed(capsys, *argv)
    assert not (tmp_path / "x.csv").exists() and not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("molecules.csv", "a,b\n1,2\n", "column 'smiles'"),
        ("molecules.smi", "c1ccc(((\nhello\n", "0 molecules"),
        ("molecules.smi", "", "0 molecules"),
        ("molecules.smi.gz", "no gzip", "gzip"),
    ],
)
def test_molecules_no_vocabulary_can_be_built_from(tmp_path, capsys, name, content, said):
    (tmp_path / name).write_text(content)
    assert said in failed(capsys, "vocabulary", "build", str(tmp_path / name), "--out", str(tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preference", "1,1"], "3 numbers, one per objective, for --preference, got 2"),
        (["--preference", "-1,1,1"], "at least 0, not all of them 0, for --preference, got '-1,1,1'"),
        (["--preference", "0,0,0"], "not all of them 0"),
        (["--preference", "nan,1,1"], "at least 0"),
        (["--preference", "a,b,c"], "numbers such as 0.5,0.3,0.2 for --preference, got 'a,b,c'"),
        (["--preference", "1,1,1", "--lattice", "2"], "got both"),
        (["--preference", "1,1,1", "-n", "0"], "-n of at least 1, got 0"),
        (["--preference", "1,1,1", "-n", "abc"], "a whole number or null for n, got 'abc'"),
        (["--lattice", "0"], "--lattice of at least 1 step, got 0"),
        (["--lattice", "3", "-n", "9"], "-n of at least 10, one per point of the lattice, got 9"),
    ],
)
@pytest.mark.parametrize("is_bare", [False, True])
def test_preferences_that_make_no_sense(finished, tmp_path, capsys, options, said, is_bare):
    source = finished / "model" if is_bare else finished
    if is_bare:
        source = shutil.copytree(source, tmp_path / "copy")
    assert said in failed(capsys, "sample", str(source), "--out", str(tmp_path / "x.csv"), *options)
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("out", ["/proc/nothing/x.csv", "."])
def test_a_file_that_cannot_be_written(finished, capsys, out):
    assert "can be written" in failed(capsys, "sample", str(finished), "--preference", "0.5,0.3,0.2", "--out", out)


def test_a_model_that_is_broken(finished, tmp_path, capsys):
    model = shutil.copytree(finished / "model", tmp_path / "model")
    argv = ("sample", str(model), "--lattice", "1", "--out", str(tmp_path / "x.csv"))
    (model / "weights.safetensors").unlink()
    assert "complete model" in failed(capsys, *argv)
    (model / "sampler.yaml").write_text("class_path: os.system\n")
    assert "'os.system'" in failed(capsys, *argv)
    (model / "sampler.yaml").write_text("weights: 3\n")
    assert "class_path" in failed(capsys, *argv)


def test_folders_that_cannot_hold_the_run(config, finished, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "got a file at" in failed(capsys, "run", str(config), "--out", str(tmp_path / "file"))
    assert "can be written to" in failed(capsys, "run", str(config), "--out", "/proc/nothing/run")
    assert "finished" in failed(capsys, "run", str(config), "--out", str(finished))
    assert "another budget" in failed(capsys, "run", str(config), "--out", str(finished), "--budget", "30")
    assert "one run" in failed(capsys, "run", str(config), "--out", str(finished), "--seeds", "2")


def test_the_system_speaks_in_one_sentence_too(monkeypatch, capsys):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mogen.cli.main._dispatch", full)
    assert "No space left on device" in failed(capsys, "doctor")


def test_help_is_quick_and_imports_nothing_heavy():
    code = "import sys; from mogen.cli.main import main; main([*sys.argv[1:]]); print('torch' in sys.modules)"
    for argv in ([], ["run"]):
        seconds = []
        for _ in range(3):  # the fastest of three, as other tests may keep the machine busy
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code, *argv, "--help"], capture_output=True, text=True)
            seconds.append(time.perf_counter() - start)
            assert done.stdout.strip().endswith("False"), done.stderr
        assert min(seconds) < HELP_SECONDS


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["vocabulary", "build"], ["data", "get"]])
def test_every_command_explains_itself(capsys, command):
    assert main([*command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: mogen {' '.join(command)}")
    assert "Path to a configuration file" not in said and "skip_default" not in said


def test_the_shell_sees_the_exit_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mogen.cli.main", "report", "nowhere"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("mogen: error: ") and "Traceback" not in done.stderr
