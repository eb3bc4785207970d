"""list, show, doctor and data: every name that is listed is explained."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from mogen import plugins
from mogen.cli.list_command import GROUPS
from mogen.cli.main import main
from mogen.dataset import DATASETS
from mogen.errors import DataError

NAMES = [(kind, name) for kind, group in GROUPS.items() for name in plugins.names(group)]


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(argv) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", GROUPS)
def test_a_list_has_a_name_and_what_it_is_on_each_line(capsys, kind):
    lines = said(capsys, "list", kind).splitlines()
    assert [line.split()[0] for line in lines] == plugins.names(GROUPS[kind])
    assert all(len(line.split()) >= 3 and "cannot be loaded" not in line for line in lines)


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_name_is_explained(capsys, kind, name):
    text = said(capsys, "show", name)
    assert text.startswith(f"{name} ({kind.removesuffix('s')})\n") and len(text.splitlines()) >= 2
    assert "(says nothing)" not in text and "Args:" not in text and "<class" not in text
    if kind == "objectives":
        assert all(f"\n{fact}: " in text for fact in ("unit", "worst", "best", "version"))
    if kind == "sets" and "cannot be built here: " not in text:  # without its data file, say
        assert "identity: " in text and "worst " in text and "best " in text


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("mw", ["unit: g/mol", "worst: 1000", "best: 300", "source: "]),
        ("similarity", ["reference: str", "fingerprint: str = 'ECFP4'", "worst: 0", "source: Brown et al. 2019"]),
        ("http", ["url: str", "the address, http or https", "worst: given by the set"]),
        ("size", ["minimum: int = 1", "maximum: int = 50"]),
        ("gflownet", ["steps: int = 5000", "gradient steps at most", "fragment.FragmentEnvironment"]),
        ("druglike", ["mw", "worst 1000, best 300 g/mol", "recursionpharma/gflownet"]),
        ("samplers.environment.fragment.FragmentEnvironment", ["max_fragments: int = 9", "most fragments"]),
        ("planar", ["planar (data set)", "Delaunay", "graphs: 200, made here from seed 0", "first fifth"]),
        ("zinc250k", ["data set", "Gomez-Bombarelli", "file: not found"]),
    ],
)  # fmt: skip
def test_facts_that_are_shown(capsys, name, facts):
    text = said(capsys, "show", name)
    assert all(fact in text for fact in facts), text


def test_a_set_without_its_data_still_says_what_it_is(capsys, monkeypatch):
    def needy():
        """What needs a file."""
        raise DataError("there is no file")

    monkeypatch.setattr("mogen.plugins.load", lambda group, name: needy)
    assert said(capsys, "show", "druglike") == (
        "druglike (set)\nWhat needs a file.\ncannot be built here: there is no file\n"
    )


def test_files_of_the_users_are_shown(capsys, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from mogen.objective import objective\n"
        "@objective(worst=0, best=7, unit='nM', source='us')\n"
        "def potency(molecule):\n    'Our own measure.'\n    return 1.0\n"
    )
    (tmp_path / "mine.yaml").write_text("objectives: [./mine.py:potency]\nconstraints: [valence]\n")
    one, all_ = said(capsys, "show", "./mine.py:potency"), said(capsys, "show", "mine.yaml")
    assert all(text in one for text in ("Our own measure.", "unit: nM", "worst: 0", "best: 7", "source: us"))
    assert "potency" in all_ and "best 7 nM" in all_ and "valence" in all_


def test_models_are_listed_and_shown(capsys, finished, tmp_path):
    shipped = said(capsys, "list", "models").split()
    assert {"gdss-qm9", "gdss-zinc250k", "str2str"} <= set(shipped)
    shutil.copytree(finished, tmp_path / "runs" / "mine")
    shutil.copytree(finished / "model", tmp_path / "data" / "models" / "theirs")
    listed = said(capsys, "list", "models").split()
    new = ["runs/mine/model", "theirs", str(tmp_path / "data" / "models" / "theirs")]
    assert sorted(listed) == sorted([*shipped, *new])
    for name in new:
        text = said(capsys, "show", name)
        assert "GFlowNetSampler" in text and "objectives: 3" in text
    assert all("data sha256" in said(capsys, "show", name) for name in ("gdss-qm9", "gdss-zinc250k", "str2str")), (
        "their cards"
    )


def test_data_sets_are_listed_and_shown(capsys, tmp_path):
    listed = [line.split()[0] for line in said(capsys, "list", "datasets").splitlines()]
    assert listed == sorted(DATASETS)
    published = {"qm9_smiles_full", "qm9_test_idx", "zinc250k_test_idx", "ego_small", "community_small", "enzymes"}
    assert {*published, "grid"} <= set(listed)
    assert "community, grid_generated, planar, sbm" in said(capsys, "data", "list")
    (tmp_path / "ours.csv").write_text("smiles\nCCO\n")
    told = said(capsys, "data", "import", "ours", "ours.csv")
    assert f"copied to {tmp_path / 'cache' / 'ours.csv'}" in told and "for about" not in told
    assert any("ours.csv" in line for line in said(capsys, "list", "datasets").splitlines())
    text = said(capsys, "show", "ours")
    assert "imported" in text and hashlib.sha256(b"smiles\nCCO\n").hexdigest() in text
    assert "ours.csv" in said(capsys, "data", "list") and "searched: " in said(capsys, "data", "list")


def test_the_doctor_names_what_matters(capsys, tmp_path):
    (tmp_path / "data").mkdir()
    text = said(capsys, "doctor")
    words = ("Python", "torch", "rdkit", "processors", "torch threads", "GPU", "botorch", "C compiler", "not there yet")
    for word in words:
        assert word in text
    assert str(tmp_path / "data") in text and str(tmp_path / "cache") in text


@pytest.mark.parametrize(("given", "said"), [({}, "2000"), ({"GOMP_SPINCOUNT": "70"}, "70")])
def test_threads_of_a_command_wait_awake_for_a_short_time(given, said):
    own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import sys; from mogen.cli.main import main; sys.exit(main(['doctor']))"
    told = own | {"OMP_DISPLAY_ENV": "verbose"} | given
    shown = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True).stderr
    if "OPENMP DISPLAY ENVIRONMENT" in shown and "GOMP_" not in shown:
        pytest.skip("torch has the threads of another OpenMP library here")
    assert f"GOMP_SPINCOUNT = '{said}'" in shown


def test_the_doctor_fails_where_something_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("mogen.cli.doctor_command.PACKAGES", ("torch", "no_such_package"))
    assert main(["doctor"]) == 1
    assert "MISSING" in capsys.readouterr().out


def test_parts_of_samplers_say_what_they_are(capsys) -> None:
    assert main(["list", "parts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("gflownet.environment")
    rows = {row.split()[0]: row for row in lines[place + 1 : lines.index("gflownet.network")]}
    assert {"HyperGrid", "SequenceEnvironment", "SequenceEdit", "FragmentEnvironment", "AtomEnvironment"} <= set(rows)
    assert "stop" in rows["HyperGrid"]
    assert all(len(row.split()) > 2 for row in lines if row.startswith("  ")), "every part says something"
