"""Sets as data: what is accepted, and the sentence for what is not."""

import pickle
import sys

import pytest

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, PluginError
from mogen.objective import CommandObjective, ObjectiveSet, check_objective, load_set

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
