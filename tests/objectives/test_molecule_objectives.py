"""Objectives of molecules against values known from elsewhere, and through their contract."""

from importlib.metadata import entry_points

import pytest
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from mogen import plugins
from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, DataError
from mogen.objective import check_objective, check_objective_set, load_set
from objectives import molecule as rooms
from objectives.molecule.guacamol import gaussian, max_gaussian, min_gaussian

ASPIRIN = Molecule.from_smiles("CC(=O)Oc1ccccc1C(=O)O")
SOME = [ASPIRIN, *(Molecule.from_smiles(s) for s in ("C", "c1ccccc1O", "O=[N+]([O-])c1ccc(N)cc1", "CCCCCCCCCC"))]
NEEDED = {
    "similarity": {"reference": ASPIRIN.smiles},
    "scaffold_match": {"reference": ASPIRIN.smiles},
    "desirability": {"property": "logp", "low": 1, "high": 3, "margin": 1},
    "modified_property": {"property": "tpsa", "modifier": "gaussian", "mu": 60, "sigma": 10},
    "modified_similarity": {
        "reference": ASPIRIN.smiles, "fingerprint": "AP", "modifier": "min_gaussian", "mu": 0.5, "sigma": 0.1
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("qed", 0.5501218), ("mw", 180.159), ("tpsa", 63.6), ("logp", 1.3101), ("sa", 1.58004), ("rings", 1), ("hbd", 1),
     ("aromatic_rings", 1), ("lipinski_violations", 0)],
)  # fmt: skip
def test_aspirin(name, value):
    assert plugins.load("mogen.objectives", name)().evaluate([ASPIRIN]).item() == pytest.approx(value, abs=1e-4)


def test_modifiers_point_the_right_way():
    assert min_gaussian(-5, 1, 1) == 1 and min_gaussian(2, 1, 1) == pytest.approx(0.6065307)
    assert max_gaussian(5, 1, 1) == 1 and max_gaussian(0, 1, 1) == pytest.approx(0.6065307)
    assert gaussian(1, 1, 1) == 1 and gaussian(0, 1, 1) == gaussian(2, 1, 1) < 1


MOLECULAR = sorted(
    point.name for point in entry_points(group="mogen.objectives") if point.value.startswith("objectives.molecule.")
)


WITH_DATA = {"scscore", "seh", "gsk3b", "jnk3"}
"""objectives that read published weights: tested with them elsewhere"""


@pytest.mark.parametrize("name", sorted(set(MOLECULAR) - WITH_DATA))
def test_every_registered_objective_keeps_its_promise(name):
    check_objective(plugins.load("mogen.objectives", name)(**NEEDED.get(name, {})), SOME)


@pytest.mark.parametrize(
    ("name", "formula"),
    [("druglike", None), ("fexofenadine", "C32H39NO4"), ("osimertinib", "C28H33N7O2"), ("perindopril", "C19H32N2O5")],
)
def test_every_set_keeps_its_promise(name, formula):
    found = load_set(name)
    check_objective_set(found, SOME)
    if formula:
        reference = Molecule.from_smiles(found.objectives[0].parameters["reference"])
        assert CalcMolFormula(reference.mol) == formula
        assert found([reference]).utility[0, 0] == 1


def test_druglike_weight_is_worth_one_up_to_300_and_nothing_at_1000():
    assert load_set("druglike").worst.tolist() == [0, 10, 1000] and load_set("druglike").best.tolist() == [1, 1, 300]


def test_scscore_without_weights_says_where_they_belong(monkeypatch):
    monkeypatch.delenv("MOGEN_DATA", raising=False)
    with pytest.raises(DataError, match="MOGEN_DATA"):
        rooms.SCScore()


def test_constraints():
    assert rooms.SizeLimit(2, 9).passes(SOME).tolist() == [False, False, True, False, False]
    assert rooms.RequiredSubstructure("C(=O)[OH]").passes(SOME).tolist() == [True, False, False, False, False]
    assert not rooms.StructuralAlerts(["BRENK"]).passes(SOME)[3]
    assert rooms.MolecularWeightLimit(100).passes(SOME)[0] and rooms.Valence().passes(SOME).all()
    with pytest.raises(ConfigError, match="SMARTS"):
        rooms.RequiredSubstructure("C(")
