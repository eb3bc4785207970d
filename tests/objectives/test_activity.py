"""Activity models against twins written again in numpy, scikit-learn, published values and known actives."""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import QED, AllChem, Descriptors

from mogen.cli.main import main
from mogen.domain.molecule import Molecule
from mogen.errors import DataError
from mogen.objective import check_objective, load_set
from objectives.molecule import Gsk3b, Jnk3, Seh, save_forest
from objectives.molecule.forest import Forest
from objectives.molecule.message_passing import NAMES, MolecularGraph, SehNetwork

MOGEN_DATA = os.environ.get("MOGEN_DATA")
needs_data = pytest.mark.skipif(
    not MOGEN_DATA or not (Path(MOGEN_DATA) / "oracles").is_dir(),
    reason="needs published activity models (oracles) in the folder MOGEN_DATA",
)
SOME = [
    Molecule.from_smiles(text)
    for text in (
        "O=C(NC1CCCCC1)NC12CC3CC(CC(C3)C1)C2",
        "CC(=O)Oc1ccccc1C(=O)O",
        "C",
        "BrC#CSI",
        "O=[N+]([O-])c1ccc(F)cc1",
        "CC[Si](C)(C)OB(O)O",
        "c1ccc2[nH]ccc2c1",
    )
]


def random_arrays(seed: int = 0) -> list[np.ndarray]:
    """Weights in the shapes of the published ones, small enough to keep twelve rounds tame."""
    rng = np.random.default_rng(seed)
    shapes = [(64, 71), (64,), (64, 64), (64,), (128, 4), (128,), (4096, 128), (4096,), (192, 64), (192, 64)]
    shapes += [(192,), (192,), (512, 64), (512,), (105, 512), (105,), (256, 128), (256, 64), (256,), (256,)]
    shapes += [(1, 128), (1,)]
    return [rng.normal(0, 0.5 * shape[-1] ** -0.5, shape).astype(np.float32) for shape in shapes]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.01 * x)


def atom_row(atom: Chem.Atom) -> np.ndarray:
    """The 71 columns, written again from the table of the paper's code: element, aromatic, sp, sp2, sp3, H, number."""
    hybrid = [Chem.HybridizationType.SP, Chem.HybridizationType.SP2, Chem.HybridizationType.SP3]
    element = [atom.GetSymbol() == symbol for symbol in "HCNOF"]
    other = not any(element)
    kinds = [atom.GetHybridization() == kind for kind in hybrid]
    numbers = [atom.GetAtomicNum() == number for number in range(1, 57)]
    return np.array(
        [*element, other, 0, 0, 0, atom.GetIsAromatic(), *kinds, atom.GetTotalNumHs(), *numbers, 0], dtype=float
    )


def seh_again(mol: Chem.Mol, arrays: list[np.ndarray]) -> float:
    """One molecule, edge by edge and gate by gate."""
    p = [array.astype(float) for array in arrays]
    x = np.stack([atom_row(atom) for atom in mol.GetAtoms()])
    types = [Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC]
    edges = []
    for bond in mol.GetBonds():
        kind = np.eye(4)[types.index(bond.GetBondType())]
        edges += [
            (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), kind),
            (bond.GetEndAtomIdx(), bond.GetBeginAtomIdx(), kind),
        ]
    edges = edges or [(0, 0, np.zeros(4))]
    out = h = leaky(x @ p[0].T + p[1])
    for _ in range(12):
        m = np.zeros_like(out)
        for v in range(len(x)):
            coming = [
                out[u] @ (leaky(kind @ p[4].T + p[5]) @ p[6].T + p[7]).reshape(64, 64) for u, w, kind in edges if w == v
            ]
            m[v] = (sum(coming) / len(coming) if coming else 0) + p[2] @ out[v] + p[3]
        m = leaky(m)
        gi, gh = m @ p[8].T + p[10], h @ p[9].T + p[11]
        reset, update = sigmoid(gi[:, :64] + gh[:, :64]), sigmoid(gi[:, 64:128] + gh[:, 64:128])
        new = np.tanh(gi[:, 128:] + reset * gh[:, 128:])
        out = h = (1 - update) * new + update * h
    query, hidden, cell = np.zeros(128), np.zeros(64), np.zeros(64)
    for _ in range(3):
        gate = p[16] @ query + p[18] + p[17] @ hidden + p[19]
        i, f, g, o = sigmoid(gate[:64]), sigmoid(gate[64:128]), np.tanh(gate[128:192]), sigmoid(gate[192:])
        cell = f * cell + i * g
        hidden = o * np.tanh(cell)
        weight = np.exp(out @ hidden)
        query = np.concatenate([hidden, (weight / weight.sum()) @ out])
    return float(p[20][0] @ query + p[21][0])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    np.savez(tmp_path / "seh.npz", **{f"p{k:02d}": array for k, array in enumerate(random_arrays())})
    return tmp_path / "seh.npz"


def test_the_network_is_the_formula_written_again(weights: Path) -> None:
    found = Seh(str(weights)).evaluate(SOME)
    again = [seh_again(item.mol, random_arrays()) for item in SOME]
    assert found.tolist() == pytest.approx(again, rel=1e-9)
    assert len(set(found.tolist())) == len(SOME)


def test_a_table_of_edge_matrices_is_what_nnconv_computes() -> None:
    network = SehNetwork.of([torch.from_numpy(array) for array in random_arrays(1)], "here")
    graph = MolecularGraph.of([item.mol for item in SOME])
    hot = torch.cat([torch.eye(4), torch.zeros(1, 4)]).double()[graph.kinds]
    out = network.act(network.lin0(graph.atoms))
    h = out[None]
    for _ in range(12):
        out, h = network.gru(network.act(network.conv(out, graph.edges, hot))[None], h)
        out = out[0]
    slow = network.lin3(network.set2set(out, graph.owner))[:, 0]
    assert torch.allclose(network(graph), slow, rtol=1e-10)


def test_a_batch_changes_nothing_and_strangers_are_nan(weights: Path) -> None:
    objective = Seh(str(weights))
    check_objective(objective, [*SOME, Molecule.from_smiles("C[W]")])
    assert math.isnan(objective.evaluate([Molecule.from_smiles("C[W]")]).item())  # tungsten, beyond barium
    many = SOME * 40
    assert torch.allclose(objective.evaluate(many), objective.evaluate(SOME).repeat(40), rtol=1e-12)
    assert objective.evaluate([]).shape == (0,)


def test_the_published_form_is_imported_and_read(tmp_path: Path, weights: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOGEN_DATA", raising=False)
    assert main(["show", "seh_qed"]) == 0
    assert "mogen data import seh_proxy_bengio2021 FILE" in capsys.readouterr().out
    with gzip.open(tmp_path / "best_params.pkl.gz", "wb") as file:
        pickle.dump(random_arrays(), file, protocol=3)
    assert main(["data", "import", "seh_proxy_bengio2021", str(tmp_path / "best_params.pkl.gz")]) == 0
    assert torch.equal(Seh().evaluate(SOME), Seh(str(weights)).evaluate(SOME))
    assert main(["show", "seh_qed"]) == 0
    assert "cannot be built" not in capsys.readouterr().out


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    with gzip.open(tmp_path / "evil.pkl.gz", "wb") as file:
        pickle.dump([Evil()], file)
    with pytest.raises(DataError, match="system"):
        Seh(str(tmp_path / "evil.pkl.gz")).evaluate(SOME)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kept", [21, 22])
def test_other_arrays_are_one_sentence(tmp_path: Path, kept: int) -> None:
    arrays = random_arrays()[:kept]
    arrays[0] = arrays[0][:, : 71 if kept < 22 else 70]
    np.savez(tmp_path / "w.npz", **{f"p{k:02d}": array for k, array in enumerate(arrays)})
    with pytest.raises(DataError, match="expected the 22 arrays of the sEH proxy"):
        Seh(str(tmp_path / "w.npz")).evaluate(SOME)
    with pytest.raises(DataError, match="none at"):
        Seh(str(tmp_path / "gone.npz"))


def test_a_forest_scores_as_scikit_learn_does(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (300, 50)).astype(np.float32)
    y = (x[:, :5].sum(1) + rng.normal(0, 1, 300) > 2.5).astype(int)
    model = sklearn.RandomForestClassifier(20, random_state=0, max_depth=7).fit(x[:200], y[:200])
    save_forest(model, tmp_path / "f.npz")
    forest = Forest.read(tmp_path / "f.npz")
    assert forest.score(x) == pytest.approx(model.predict_proba(x)[:, 1], abs=1e-6)
    assert forest.score(x[:0]).shape == (0,)


def broken(forest: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    if how == "a circle":
        return forest | {"left": np.array([0, -1, -1])}
    if how == "out of the tree":
        return forest | {"right": np.array([3, -1, -1])}
    if how == "too short":
        return forest | {"p1": forest["p1"][:2]}
    return {name: array for name, array in forest.items() if name != "offset"}


@pytest.mark.parametrize("how", ["a circle", "out of the tree", "too short", "no offsets"])
def test_a_broken_forest_is_one_sentence(tmp_path: Path, how: str) -> None:
    stump = {
        "offset": np.array([0, 3]),
        "left": np.array([1, -1, -1]),
        "right": np.array([2, -1, -1]),
        "feature": np.array([7, 0, 0]),
        "threshold": np.array([0.5, 0, 0]),
        "p1": np.array([0.5, 0.25, 0.75]),
    }
    np.savez(tmp_path / "good.npz", **stump)
    assert Forest.read(tmp_path / "good.npz").score(np.eye(8)[[6, 7]]).tolist() == [0.25, 0.75]
    np.savez(tmp_path / "bad.npz", **broken(stump, how))
    with pytest.raises(DataError, match=r"bad\.npz"):
        Gsk3b(str(tmp_path / "bad.npz")).evaluate(SOME)


def test_a_forest_sees_morgan_bits_of_radius_two(tmp_path: Path) -> None:
    """A forest of stumps, one for each bit of a molecule, gives that molecule 1 and others the share of shared bits."""
    old = [np.array(AllChem.GetMorganFingerprintAsBitVect(item.mol, 2, nBits=2048)) for item in SOME]
    on = np.flatnonzero(old[0])
    np.savez(
        tmp_path / "f.npz",
        offset=np.arange(len(on) + 1) * 3,
        left=np.tile([1, -1, -1], len(on)),
        right=np.tile([2, -1, -1], len(on)),
        feature=np.repeat(on, 3),
        threshold=np.full(3 * len(on), 0.5),
        p1=np.tile([0, 0, 1], len(on)),
    )
    objective = Jnk3(str(tmp_path / "f.npz"))
    assert objective.evaluate(SOME).tolist() == pytest.approx([bits[on].mean() for bits in old])
    check_objective(objective, SOME)


@needs_data
def test_kinases_give_the_values_that_tdc_tests_for() -> None:
    vectors = json.loads((Path(str(MOGEN_DATA)) / "oracles/test_vectors.json").read_text())
    for objective, name in ((Gsk3b(), "GSK3B"), (Jnk3(), "JNK3")):
        molecules = [Molecule.from_smiles(smiles) for smiles, _ in vectors[name]]
        assert objective.evaluate(molecules).tolist() == pytest.approx([value for _, value in vectors[name]], abs=1e-4)


@needs_data
def test_kinases_give_the_published_scores_of_known_dual_actives() -> None:
    rows = list(csv.DictReader((Path(str(MOGEN_DATA)) / "oracles/gsk3_jnk3_dual_actives.csv").open()))
    molecules = [Molecule.from_smiles(row["smiles"]) for row in rows]
    for objective, column in ((Gsk3b(), "gsk3"), (Jnk3(), "jnk3")):
        published = torch.tensor([float(row[column]) for row in rows], dtype=torch.float64)
        agree = ((objective.evaluate(molecules) - published).abs() < 5.1e-3).sum().item()
        assert len(rows) == 315 and agree >= 312, f"{column}: {agree}"


@needs_data
def test_the_proxy_ranks_strong_inhibitors_above_zinc() -> None:
    folder = Path(str(MOGEN_DATA))
    with gzip.open(folder / "oracles/seh_chembl.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file, delimiter=";") if float(row["pChEMBL Value"] or 0) >= 8]
    actives = [Molecule.from_smiles(row["Smiles"]) for row in rows][:300]
    with gzip.open(folder / "molecules/zinc250k.csv.gz", "rt") as file:
        zinc = [Molecule.from_smiles(row["smiles"]) for row, _ in zip(csv.DictReader(file), range(300), strict=False)]
    ours, theirs = Seh().evaluate(actives), Seh().evaluate(zinc)
    auc = (ours[:, None] > theirs[None]).double().mean().item()
    assert len(actives) == 300 and auc > 0.65, auc


@needs_data
def test_sets_are_scored_as_published_and_end_at_one() -> None:
    found = load_set("seh_qed_sa_mw")(SOME)
    proxy = [seh_again(item.mol, published()) for item in SOME]
    assert found.raw[:, 0].tolist() == pytest.approx(proxy, rel=1e-6)
    assert found.utility[:, 0].tolist() == pytest.approx([min(max(value / 8, 0), 1) for value in proxy], rel=1e-6)
    assert found.utility[:, 1].tolist() == pytest.approx([QED.qed(item.mol) for item in SOME])
    assert torch.allclose(found.utility[:, 2], (10 - found.raw[:, 2]) / 9)
    weights = [min(max((300 - Descriptors.MolWt(item.mol)) / 700 + 1, 0), 1) for item in SOME]
    assert found.utility[:, 3].tolist() == pytest.approx(weights)
    assert load_set("gsk3b_jnk3_qed_sa").names == ("gsk3b", "jnk3", "qed", "sa")
    assert load_set("gsk3b_jnk3").worst.tolist() == [0, 0]


def published() -> list[np.ndarray]:
    with np.load(Path(str(MOGEN_DATA)) / "oracles/seh_proxy_bengio2021.npz") as file:
        return [file[name] for name in sorted(file.files)]


def test_the_order_of_arrays_names_every_weight_of_the_network() -> None:
    assert {name for name in NAMES if name} == set(SehNetwork().state_dict())
