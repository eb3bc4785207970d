import pytest
import torch
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from mogen.errors import ShapeError
from mogen.metric import fingerprints, molecule_diversity, tanimoto

SMILES = ["CCO", "CCCO", "c1ccccc1", "Cc1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "C"]


def test_tanimoto_agrees_with_rdkit():
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    theirs = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in SMILES]
    similarity = tanimoto(fingerprints(SMILES)[1])
    for row, one in zip(similarity.tolist(), theirs, strict=True):
        assert row == pytest.approx(DataStructs.BulkTanimotoSimilarity(one, theirs))


def test_molecules_with_nothing_in_common_are_fully_diverse():
    figures = molecule_diversity(["C", "O", "N"], torch.ones(3, 2))
    assert figures == pytest.approx({"intdiv": 2 / 3, "circles": 3, "vendi": 3.0, "top_k": 1.0})


def test_repeats_and_unreadable_texts_do_not_count():
    clean = molecule_diversity(SMILES, torch.arange(6.0)[:, None])
    utility = torch.tensor([0.0, 9.0, 1.0, 9.0, 2.0, 3.0, 4.0, 5.0])[:, None]
    assert molecule_diversity([SMILES[0], "no", SMILES[1], SMILES[0], *SMILES[2:]], utility) == pytest.approx(clean)


def test_only_the_best_count_for_top_k():
    figures = molecule_diversity(["CCO", "CCCO", "c1ccccc1"], torch.tensor([[1.0], [0.9], [0.0]]), k=2)
    similarity = tanimoto(fingerprints(["CCO", "CCCO"])[1])
    assert figures["top_k"] == pytest.approx(1 - similarity[0, 1].item())


def test_more_molecules_than_the_limit_are_thinned():
    chains = ["C" * length for length in range(1, 41)]
    assert molecule_diversity(chains, torch.ones(40, 1), limit=5)["vendi"] <= 5 + 1e-9


def test_no_molecules_give_no_figures():
    nothing = {"intdiv": None, "circles": None, "vendi": None, "top_k": None}
    assert molecule_diversity([], torch.zeros(0, 2)) == nothing
    assert molecule_diversity(["?!"], torch.zeros(1, 2)) == nothing


def test_one_utility_row_per_molecule_is_needed():
    with pytest.raises(ShapeError, match="2 rows"):
        molecule_diversity(["C", "N"], torch.zeros(1, 2))
