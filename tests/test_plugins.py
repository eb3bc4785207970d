import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from mogen import plugins
from mogen.errors import PluginError

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny-plugin"
version = "1"
[project.entry-points."mogen.objectives"]
tiny = "tiny_plugin:tiny"
[project.entry-points."mogen.objective_sets"]
tiny_set = "tiny_plugin:tiny_set"
[project.entry-points."mogen.constraints"]
tiny_limit = "tiny_plugin:TinyLimit"
[project.entry-points."mogen.samplers"]
tiny_sampler = "tiny_plugin:TinySampler"
[project.entry-points."mogen.baselines"]
tiny_baseline = "tiny_plugin:TinySampler"
[project.entry-points."mogen.commands"]
greet = "tiny_plugin:greet"
[tool.setuptools]
py-modules = ["tiny_plugin"]
"""
MODULE = """
from pathlib import Path

import torch
import yaml

from mogen.domain.molecule import Molecule
from mogen.errors import BudgetExhausted
from mogen.objective import Constraint, ObjectiveSet, load_set, objective
from mogen.sampler import Sampler, Samples


@objective(worst=0, best=30, unit="letters", source="counting")
def tiny(candidate):
    "How long a key is."
    return len(candidate.key)


class TinyLimit(Constraint):
    "At most so many letters."

    name = "tiny_limit"

    def __init__(self, letters: int = 20) -> None:
        self.parameters = {"letters": letters}

    def passes(self, candidates):
        return torch.tensor([len(item.key) <= self.parameters["letters"] for item in candidates])


def tiny_set() -> ObjectiveSet:
    "Long keys that look like a drug."
    return load_set({"name": "tiny_set", "objectives": ["tiny", "qed"], "constraints": ["tiny_limit"]})


class TinySampler(Sampler):
    "Alcohols of random length."

    def __init__(self, longest: int = 12) -> None:
        self.longest = longest

    @classmethod
    def beside(cls, sampler):
        return cls(sampler.longest)

    def sample(self, preference, *, generator=None):
        counts = torch.randint(1, self.longest + 1, (len(preference), 2), generator=generator).tolist()
        return Samples([Molecule.from_smiles("C" * a + "O" + "C" * b) for a, b in counts], preference)

    def fit(self, measure, *, m, generator=None, folder=None):
        for _ in range(4):
            preference = torch.full((5, m), 1 / m)
            try:
                measure(self.sample(preference, generator=generator).candidates, preference=preference)
            except BudgetExhausted:
                return

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"class_path": "tiny_plugin.TinySampler", "objectives": 2, "longest": self.longest}
        (folder / "sampler.yaml").write_text(yaml.safe_dump(facts))

    @classmethod
    def load(cls, folder: Path):
        return cls(yaml.safe_load((folder / "sampler.yaml").read_text())["longest"])


def greet(name: str) -> None:
    "Says hello.\\n\\nArgs:\\n    name: to whom"
    print(f"hello {name}")
"""


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(PluginError, match="did you mean 'gflownet'"):
        plugins.load("mogen.samplers", "gflownt")


def test_a_function_of_a_file_pickles_into_another_process(tmp_path: Path):
    file = tmp_path / "potency.py"
    file.write_text("def potency(candidate):\n    return 7.0\n")
    function = plugins.load_path("./potency.py:potency", directory=tmp_path)
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())(None))"
    preamble = "import mogen.plugins; "
    done = subprocess.run(
        [sys.executable, "-c", preamble + code], input=pickle.dumps(function), capture_output=True, cwd=tmp_path
    )
    assert done.stdout.decode().strip() == "7.0", done.stderr.decode()
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("text", ["./nothing.py:a", "noattribute", "./here.py:b"])
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str):
    (tmp_path / "here.py").write_text("a = 1\n")
    with pytest.raises(PluginError):
        plugins.load_path(text, directory=tmp_path)


def test_a_shadowed_room_is_refused_and_named(tmp_path: Path):
    (tmp_path / "objectives.py").write_text("raise SystemExit(9)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mogen.cli.main", "show", "qed"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert str(tmp_path / "objectives.py") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the tiny distribution."""
    folder = tmp_path_factory.mktemp("plugin")
    source, target = folder / "source", folder / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "tiny_plugin.py").write_text(MODULE)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


def mogen(site: Path | None, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process that sees a folder of installed distributions."""
    environment = os.environ | ({"PYTHONPATH": str(site)} if site else {})
    command = [sys.executable, "-m", "mogen.cli.main", *argv]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)


SHOWN = {
    ("objectives", "tiny"): ["How long a key is.", "unit: letters", "worst: 0", "best: 30", "source: counting"],
    ("sets", "tiny_set"): ["Long keys that look like a drug.", "worst 0, best 30 letters", "letters 20"],
    ("constraints", "tiny_limit"): ["At most so many letters.", "letters: int = 20"],
    ("samplers", "tiny_sampler"): ["Alcohols of random length.", "longest: int = 12"],
    ("baselines", "tiny_baseline"): ["Alcohols of random length."],
}


def test_an_installed_distribution_is_listed_and_shown(installed, tmp_path):
    code = "import sys; from mogen.cli.main import main; "
    code += "[print(main(['list', kind]), main(['show', name]), '---') for kind, name in eval(sys.argv[1])]"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code, repr(list(SHOWN))]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    parts = done.stdout.split("0 0 ---\n")
    assert len(parts) == len(SHOWN) + 1, done.stderr
    for part, ((_, name), said) in zip(parts, SHOWN.items(), strict=False):
        assert any(line.startswith(f"{name} ") and said[0] in line for line in part.splitlines()), part
        assert all(text in part.partition(f"{name} (")[2] for text in said), part


def test_without_the_distribution_its_names_are_unknown(tmp_path):
    done = mogen(None, "show", "tiny_set", cwd=tmp_path)
    assert done.returncode == 2 and "'tiny_set'" in done.stderr


def test_a_command_of_a_distribution(installed, tmp_path):
    assert mogen(installed, "greet", "you", cwd=tmp_path).stdout == "hello you\n"
    assert "greet" in mogen(installed, "--help", cwd=tmp_path).stdout
    assert "name" in mogen(installed, "greet", cwd=tmp_path).stderr


def test_a_run_made_of_plugins_only(installed, tmp_path):
    options = ["--objectives", "tiny_set", "--sampler", "tiny_sampler", "--sampler.longest", "10", "--budget", "24"]
    options += ["--baselines", "tiny_baseline", "--executor.workers", "2", "--out", "run", "--progress", "false"]
    done = mogen(installed, "run", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    table = pandas.read_parquet(tmp_path / "run" / "candidates.parquet")
    assert set(table["method"]) == {"mogen", "tiny_baseline"}
    assert (table["raw_tiny"] == table["candidate"].str.len()).all() and set(table["status"]) == {"measured"}
    assert (table["valid"] == (table["candidate"].str.len() <= 20)).all()
    assert (tmp_path / "run" / "report.html").is_file()
    sampled = mogen(installed, "sample", "run", "--lattice", "4", "--out", "x.csv", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    assert len(pandas.read_csv(tmp_path / "x.csv")) == 5


def test_a_sampler_without_an_environment_beside_our_baselines(installed, tmp_path):
    options = ["--objectives", "tiny_set", "--sampler", "tiny_sampler", "--budget", "24", "--out", "run"]
    done = mogen(installed, "run", *options, cwd=tmp_path)
    assert done.returncode == 0 and "without the baseline" in done.stderr and "cannot stand beside" in done.stderr
    named = mogen(installed, "run", *options, "--baselines", "[random]", "--overwrite", "true", cwd=tmp_path)
    assert named.returncode == 2 and "'random' cannot stand beside" in named.stderr and "--baselines" in named.stderr
    assert "Traceback" not in done.stderr + named.stderr


def test_a_distribution_that_cannot_be_imported_is_one_line(installed, tmp_path):
    broken = shutil.copytree(installed, tmp_path / "site")
    (broken / "tiny_plugin.py").write_text("import no_such_library\n")
    listed = mogen(broken, "list", "objectives", cwd=tmp_path)
    assert listed.returncode == 0 and "cannot be loaded" in listed.stdout and "qed" in listed.stdout
    shown = mogen(broken, "show", "tiny", cwd=tmp_path)
    assert shown.returncode == 2 and "no_such_library" in shown.stderr and "Traceback" not in shown.stderr
