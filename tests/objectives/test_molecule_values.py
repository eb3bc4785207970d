"""Values of molecular objectives against answers worked out another way: by hand, or by the formula written again."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, Crippen, Descriptors, rdMolDescriptors

from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, DataError
from mogen.objective import check_objective, load_set
from objectives.molecule import Desirability, ScaffoldMatch, SCScore

FEXOFENADINE = "CC(C)(C(=O)O)c1ccc(cc1)C(O)CCCN1CCC(CC1)C(O)(c1ccccc1)c1ccccc1"
OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc1nccc(n1)-c1cn(C)c2ccccc12"
PERINDOPRIL = "O=C(OCC)[C@@H](N[C@H](C(=O)N1[C@H](C(=O)O)C[C@@H]2CCCC[C@H]12)C)CCC"
SOME = [
    Molecule.from_smiles(smiles)
    for smiles in (
        FEXOFENADINE,
        OSIMERTINIB,
        PERINDOPRIL,
        "CC(=O)Oc1ccccc1C(=O)O",
        "CN1CCC(CC1)OC(c1ccccc1)c1ccccc1",
        "c1ccc2ccccc2c1",
        "CCCCCCCCCC",
        "OCC(O)C(O)C(O)C(O)CO",
    )
]
MOGEN_DATA = os.environ.get("MOGEN_DATA")


def tanimoto(one: dict, two: dict) -> float:
    """Sum of minima over sum of maxima of two tables of counts."""
    keys = {*one, *two}
    return sum(min(one.get(k, 0), two.get(k, 0)) for k in keys) / sum(max(one.get(k, 0), two.get(k, 0)) for k in keys)


def counts(mol: Chem.Mol, kind: str) -> dict:
    """Unfolded counts by RDKit's older functions, not the generators that the objectives use."""
    if kind == "AP":
        return rdMolDescriptors.GetAtomPairFingerprint(mol, maxLength=10).GetNonzeroElements()
    radius = {"4": 2, "6": 3}[kind[-1]]
    return rdMolDescriptors.GetMorganFingerprint(mol, radius, useFeatures=kind.startswith("F")).GetNonzeroElements()


def below(x: float, mu: float, sigma: float) -> float:
    """MaxGaussian of GuacaMol: 1 from mu on."""
    return 1.0 if x >= mu else math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def above(x: float, mu: float, sigma: float) -> float:
    """MinGaussian of GuacaMol: 1 up to mu."""
    return 1.0 if x <= mu else math.exp(-0.5 * ((x - mu) / sigma) ** 2)


def components(name: str, mol: Chem.Mol) -> list[float]:
    """The components of GuacaMol's tasks, after Brown et al. 2019, in our order without the SA score."""
    logp, tpsa = Crippen.MolLogP(mol), Descriptors.TPSA(mol)

    def similar(smiles: str, kind: str) -> float:
        return tanimoto(counts(mol, kind), counts(Molecule.from_smiles(smiles).mol, kind))

    if name == "fexofenadine":
        return [min(similar(FEXOFENADINE, "AP") / 0.8, 1), below(tpsa, 90, 10), above(logp, 4, 1)]
    if name == "osimertinib":
        near, far = min(similar(OSIMERTINIB, "FCFP4") / 0.8, 1), above(similar(OSIMERTINIB, "ECFP6"), 0.85, 0.1)
        return [near, far, below(tpsa, 100, 10), above(logp, 1, 1)]
    rings = rdMolDescriptors.CalcNumAromaticRings(mol)
    return [similar(PERINDOPRIL, "ECFP4"), math.exp(-0.5 * ((rings - 2) / 0.5) ** 2)]


@pytest.mark.parametrize("name", ["fexofenadine", "osimertinib", "perindopril"])
def test_guacamol_components_by_their_formulas(name):
    raw = load_set(name)(SOME).raw
    for row, molecule in zip(raw.tolist(), SOME, strict=True):
        assert row[:-1] == pytest.approx(components(name, molecule.mol), abs=1e-9), molecule.smiles
    assert len({tuple(row) for row in raw.tolist()}) == len(SOME)


def test_guacamol_components_at_points_worked_out_by_hand():
    fexofenadine = load_set("fexofenadine")([Molecule.from_smiles(FEXOFENADINE)]).raw[0]
    assert fexofenadine[0] == 1
    surface = 2 * 20.23 + 37.30 + 3.24  # two alcohols, an acid, an amine (Ertl et al. 2000)
    assert fexofenadine[1].item() == pytest.approx(math.exp(-0.5 * ((surface - 90) / 10) ** 2), abs=1e-6)
    benzene = load_set("perindopril")([Molecule.from_smiles("c1ccccc1")]).raw[0, 1]
    assert benzene.item() == pytest.approx(math.exp(-2))  # one ring, two wanted, sigma one half


@pytest.mark.parametrize(
    ("smiles", "value"),
    [
        ("CC", 0.0),  # no ring: two below the window, which is the whole margin
        ("c1ccccc1", 0.5),  # one below, half the margin
        ("c1ccc2ccccc2c1", 1.0),
        ("c1ccc2cc3ccccc3cc2c1", 1.0),
        ("c1ccc2c(c1)ccc1c2ccc2ccccc21", 0.5),  # four: one above
        ("c1ccc2cc3cc4cc5ccccc5cc4cc3cc2c1", 0.0),  # five: two above
    ],
)
def test_a_desirability_window_on_rings(smiles, value):
    window = Desirability("rings", low=2, high=3, margin=2)
    assert window.evaluate([Molecule.from_smiles(smiles)]).item() == pytest.approx(value)


def test_a_desirability_window_on_weight_is_linear_outside():
    ethane, propane = (Molecule.from_smiles(smiles) for smiles in ("CC", "CCC"))
    weight = 2 * 12.011 + 6 * 1.008
    window = Desirability("mw", low=40, high=60, margin=20)
    assert window.evaluate([ethane]).item() == pytest.approx(1 - (40 - weight) / 20, abs=1e-6)
    assert window.evaluate([propane]).item() == 1
    check_objective(window, [ethane, propane])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"property": "colour", "low": 1, "high": 2, "margin": 1}, "colour"),
        ({"property": "mw", "low": 3, "high": 2, "margin": 1}, "low=3, high=2"),
        ({"property": "mw", "low": 1, "high": 2, "margin": 0}, "margin=0"),
        ({"property": "mw", "low": math.nan, "high": 2, "margin": 1}, "low=nan"),
    ],
)
def test_a_window_that_is_none(options, said):
    with pytest.raises(ConfigError, match=said):
        Desirability(**options)


@pytest.mark.parametrize(
    ("smiles", "exact", "generic"),
    [
        ("Cc1ccccc1", 1, 1),  # the scaffold of aspirin is benzene
        ("OC(=O)CCc1ccc(N)cc1", 1, 1),
        ("CC1CCCCC1", 0, 1),  # same ring, other bonds
        ("Cc1ccncc1", 0, 1),  # same ring, other element
        ("O=C1CCCCC1", 0, 1),
        ("C1CCCC1", 0, 0),
        ("c1ccc2ccccc2c1", 0, 0),
        ("c1ccccc1-c1ccccc1", 0, 0),
        ("CCCC", 0, 0),
    ],
)
def test_scaffolds_by_eye(smiles, exact, generic):
    aspirin = "CC(=O)Oc1ccccc1C(=O)O"
    molecule = [Molecule.from_smiles(smiles)]
    assert ScaffoldMatch(aspirin).evaluate(molecule).item() == exact
    assert ScaffoldMatch(aspirin, generic=True).evaluate(molecule).item() == generic


def test_a_scaffold_ignores_stereochemistry_and_needs_a_ring():
    left, right = "C[C@H]1CC[C@@H](N)CC1c1ccccc1", "C[C@@H]1CC[C@H](N)CC1c1ccccc1"
    assert ScaffoldMatch(left).evaluate([Molecule.from_smiles(right)]).item() == 1
    with pytest.raises(ConfigError, match="a ring"):
        ScaffoldMatch("CCO")


def scscore_again(smiles: str, arrays: list[np.ndarray]) -> float:
    """SCScore with RDKit's older fingerprint function and float64, layer by layer."""
    bits = AllChem.GetMorganFingerprintAsBitVect(Chem.MolFromSmiles(smiles), 2, nBits=1024, useChirality=True)
    x = np.array([float(bit) for bit in bits.ToBitString()])
    for layer in range(5):
        x = np.maximum(arrays[2 * layer].astype(float).T @ x + arrays[2 * layer + 1], 0)
    return 1 + 4 / (1 + math.exp(-float(arrays[10].astype(float)[:, 0] @ x + arrays[11][0])))


def made_up_weights(path: Path) -> list[np.ndarray]:
    """Random weights in the shapes of the published ones."""
    rng = np.random.default_rng(0)
    shapes = [(1024, 300), *[(300, 300)] * 4, (300, 1)]
    arrays = [
        array for shape in shapes for array in (rng.normal(0, shape[0] ** -0.5, shape), rng.normal(0, 1, shape[1]))
    ]
    np.savez(path, **{f"{place:02d}": array.astype(np.float32) for place, array in enumerate(arrays)})
    return arrays


def test_scscore_layer_by_layer(tmp_path):
    arrays = made_up_weights(tmp_path / "weights.npz")
    made = SCScore(weights=str(tmp_path / "weights.npz"))
    expected = [scscore_again(molecule.smiles, arrays) for molecule in SOME]
    assert made.evaluate(SOME).tolist() == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 4) for value in expected}) > 4
    check_objective(made, SOME)


@pytest.mark.parametrize("content", [b"no archive", None])
def test_scscore_with_other_weights_is_one_sentence(tmp_path, content):
    path = tmp_path / "weights.npz"
    if content is None:
        np.savez(path, a=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.npz"):
        SCScore(weights=str(path)).evaluate(SOME[:1])


@pytest.mark.skipif(not MOGEN_DATA, reason="needs the published SCScore weights in the folder MOGEN_DATA")
def test_scscore_lies_in_its_range_and_orders_what_chemists_order():
    ladder = ["CCO", "CC(=O)Nc1ccc(O)cc1", OSIMERTINIB]  # a solvent, paracetamol, a drug of nine steps
    molecules = [Molecule.from_smiles(smiles) for smiles in ladder]
    values = SCScore().evaluate([*molecules, *SOME])
    assert ((values >= 1) & (values <= 5)).all()
    assert values[0] < values[1] < values[2]
    with np.load(Path(str(MOGEN_DATA)) / "oracles" / "scscore_1024bool.npz") as file:
        arrays = [file[name] for name in sorted(file.files)]
    expected = [scscore_again(molecule.smiles, arrays) for molecule in molecules]
    assert values[:3].tolist() == pytest.approx(expected, abs=1e-4)
