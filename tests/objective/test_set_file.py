"""Sets as data: what is accepted, and the sentence for what is not."""

import pickle
import sys

import pytest

from mogen import plugins
from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, MogenError, PluginError
from mogen.objective import CommandObjective, ObjectiveSet, check_objective, load_set
from mogen.oracle import Ledger, Oracle, ProcessExecutor

SOME = [Molecule.from_smiles(s) for s in ("CCO", "c1ccccc1")]


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ({"objectives": []}, ConfigError, "at least one"),
        ({"objectivs": ["qed"]}, ConfigError, "objectives"),
        ({"objectives": ["qedd"]}, PluginError, "did you mean 'qed'"),
        ({"objectives": [{"name": "qed", "wurst": 1}]}, ConfigError, "worst"),
        ({"objectives": [{"name": "qed", "worst": "low"}]}, ConfigError, "number"),
        ({"objectives": [{"name": "qed", "init": {"x": 1}}]}, ConfigError, "worst, best"),
        ("nowhere.yaml", ConfigError, "nowhere.yaml"),
        ("druglik", PluginError, "druglike"),
    ],
)
def test_mistakes_are_named(data, error, match):
    with pytest.raises(error, match=match):
        load_set(data)


@pytest.mark.parametrize("decorator", ["", "@objective(worst=0, best=9)\n"])
def test_a_plain_function_beside_the_yaml(tmp_path, decorator):
    code = f"from mogen.objective import objective\n{decorator}def size(molecule):\n    return len(molecule.key)\n"
    (tmp_path / "size.py").write_text(code)
    (tmp_path / "mine.yaml").write_text("objectives: [{function: './size.py:size', worst: 0, best: 10}]\n")
    found = pickle.loads(pickle.dumps(load_set(tmp_path / "mine.yaml")))
    assert isinstance(found, ObjectiveSet) and found.names == ("size",)
    assert found(SOME).raw[:, 0].tolist() == [3, 8] and found(SOME).utility[0, 0] == 0.3


def test_a_command():
    code = "import sys,json; print(json.dumps({'version':1,'payload':{'predictions':[len(s)-1 for s in sys.stdin]}}))"
    check_objective(CommandObjective([sys.executable, "-c", code], name="length", worst=0, best=9), SOME)


def test_a_function_of_a_file_is_looked_up_once_a_process(tmp_path, monkeypatch):
    (tmp_path / "size.py").write_text("def size(molecule):\n    return len(molecule.key)\n")
    (tmp_path / "mine.yaml").write_text("objectives: [{function: './size.py:size', worst: 0, best: 10}]\n")
    found = load_set(tmp_path / "mine.yaml")
    looked = []
    resolve = plugins.resolve
    monkeypatch.setattr(plugins, "resolve", lambda *args, **options: looked.append(args) or resolve(*args, **options))
    found(SOME * 20)
    assert len(looked) <= 1


@pytest.mark.parametrize("decorator", ["", "@objective(worst=0, best=10)\n"])
def test_a_function_of_a_file_in_spawned_workers(tmp_path, monkeypatch, decorator):
    (tmp_path / "sets").mkdir()
    code = f"from mogen.objective import objective\n{decorator}def size(molecule):\n    return len(molecule.key)\n"
    (tmp_path / "sets" / "size.py").write_text(code)
    (tmp_path / "sets" / "mine.yaml").write_text(
        "objectives: [{function: './size.py:size', worst: 0, best: 10}]\n"
        "constraints: [{name: size, init: {maximum: 4}}]\n"
    )
    monkeypatch.chdir(tmp_path)
    found = load_set("sets/mine.yaml")
    monkeypatch.chdir("/")
    with Ledger(tmp_path / "ledger.sqlite") as ledger, ProcessExecutor(workers=2, chunk=1) as executor:
        evaluation = Oracle(found, ledger, budget=2, executor=executor)(SOME)
    assert evaluation.raw[:, 0].tolist() == [3, 8]
    assert evaluation.is_valid.tolist() == [True, False] and evaluation.utility[:, 0].tolist() == [0.3, 0]


def test_constraints_of_a_set(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from mogen.objective import Constraint\n"
        "class Ring(Constraint):\n"
        "    name = 'ring'\n"
        "    def __init__(self, wanted=True):\n"
        "        self.parameters = {'wanted': wanted}\n"
        "    def passes(self, candidates):\n"
        "        wanted = self.parameters['wanted']\n"
        "        return torch.tensor([('1' in item.key) == wanted for item in candidates])\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "objectives: [qed]\n"
        "constraints: [valence, {name: size, init: {maximum: 9}}, {name: './mine.py:Ring', init: {wanted: false}}]\n"
    )
    found = load_set(tmp_path / "mine.yaml")
    assert [item.name for item in found.constraints] == ["valence", "size", "ring"]
    assert found(SOME).is_valid.tolist() == [True, False]
    without = load_set({"objectives": ["qed"]})
    assert without.identity != found.identity


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"objectives": ["qed"], "constraints": "size"}, "a list under 'constraints'"),
        ({"objectives": ["qed"], "constraints": ["sze"]}, "did you mean 'size'"),
        ({"objectives": ["qed"], "constraints": [{"init": {}}]}, "needs a 'name'"),
        ({"objectives": ["qed"], "constraints": [{"name": "size", "init": {"most": 3}}]}, "minimum, maximum"),
        ({"objectives": ["qed"], "constraints": [{"name": "size", "init": {"maximum": -1}}]}, "minimum <= maximum"),
        ({"objectives": ["qed"], "constraints": ["qed"]}, "constraint"),
        ({"objectives": ["qed", "qed"]}, "different names"),
        ({"objectives": "qed"}, "a list of at least one objective"),
        ({"objectives": [3]}, "a name or a mapping"),
        ({"objectives": [{"function": "./none.py:f", "worst": 0, "best": 1}]}, "none.py"),
        ({"objectives": [{"name": "qed", "init": [1]}]}, "a mapping under 'init'"),
    ],
)
def test_more_mistakes_are_named(data, match):
    with pytest.raises(MogenError, match=match):
        load_set(data)


@pytest.mark.parametrize("code", ["def broken(:\n", "import no_such_library\n", "1 / 0\n"])
def test_a_file_that_cannot_be_loaded(tmp_path, code):
    (tmp_path / "broken.py").write_text(code)
    with pytest.raises(PluginError, match=r"broken\.py cannot be loaded"):
        load_set({"objectives": [{"function": "./broken.py:f", "worst": 0, "best": 1}]}, directory=tmp_path)
