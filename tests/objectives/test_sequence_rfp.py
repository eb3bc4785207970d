"""The RFP stand-in: closed forms of its parts, the shipped weights, and the published labels where they are at hand."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mogen.domain.sequence import TokenSequence
from mogen.errors import ConfigError
from mogen.objective import check_objective, load_set
from objectives.sequence.rfp import AMINO_ACIDS, LENGTH, RfpStandIn, features, fitted, random_features


def test_features_are_one_hot_places_and_rectified_sums():
    texts = ["ACD", "WY"]
    found = features(texts, 1, 8)
    weight, bias = random_features(1, 8)
    for row, text in enumerate(texts):
        places = [k * 20 + AMINO_ACIDS.index(letter) for k, letter in enumerate(text)]
        assert found[row, : LENGTH * 20].nonzero().flatten().tolist() == places
        assert torch.allclose(found[row, LENGTH * 20 :], (weight[places].sum(0) + bias).clamp(min=0))


def test_readouts_are_ridge_regressions_in_their_primal_form():
    """w = (F'F + p I)^-1 F'y of centred features and labels of the bootstrap sample, member by member."""
    made = torch.Generator().manual_seed(0)
    texts = ["".join(AMINO_ACIDS[k] for k in row) for row in torch.randint(20, (30, 5), generator=made).tolist()]
    label = torch.randn(30, 2, dtype=torch.float64, generator=made) * torch.tensor([500.0, 30.0]) + 7
    centre, readout, offset = fitted(texts, label, 2, 6, penalty=0.5, seed=3)
    draws = torch.Generator().manual_seed(3)
    for k in range(2):
        rows = torch.randint(30, (30,), generator=draws)
        described = features([texts[row] for row in rows.tolist()], k, 6)
        used = (described - described.mean(0)).abs().sum(0) > 0
        f, y = (described - described.mean(0))[:, used], (label[rows] - label.mean(0)) / label.std(0)
        eye = torch.eye(int(used.sum()), dtype=torch.float64)
        expected = torch.linalg.solve(f.T @ f + 0.5 * eye, f.T @ (y - y.mean(0))) * label.std(0)
        assert torch.allclose(readout[k][used], expected, atol=1e-6)
        assert torch.allclose(centre[k], described.mean(0))
        assert torch.allclose(offset[k], label[rows].mean(0))


def test_the_shipped_set_is_defined_near_the_parents_only():
    objectives = load_set("rfp_standin")
    area, stability = objectives.objectives
    assert isinstance(area, RfpStandIn) and len(area.parents) == 6
    parent = area.parents[0]
    letters = ["W" if letter != "W" else "Y" for letter in parent]
    near, far = "".join(letters[:40]) + parent[40:], "".join(letters[:41]) + parent[41:]
    texts = [*area.parents, near, far, parent[:-1], "?" + parent[1:]]
    candidates = [TokenSequence(text) for text in texts]
    found = objectives(candidates)
    assert found.is_valid.tolist() == [True] * 7 + [False] * 3
    assert float(found.utility[:6].min()) > 0 and float(found.utility[:6].max()) < 1
    check_objective(stability, candidates)
    assert area.held_out["r2"] > 0.99 and 20 < area.held_out["rmse"] < 40 and stability.held_out["rmse"] < 3
    with pytest.raises(ConfigError, match="no property"):
        RfpStandIn("colour")


@pytest.mark.skipif(not os.environ.get("MOGEN_DATA"), reason="needs the data that MOGEN_DATA names")
def test_published_labels_are_foreseen():
    path = Path(os.environ["MOGEN_DATA"]) / "sequences" / "lambo_proxy_rfp_seed_data.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))[::40]
    candidates = [TokenSequence(row["foldx_seq"]) for row in rows]
    for objective, column, spread in ((RfpStandIn("sasa"), "SASA", 467.5), (RfpStandIn(), "stability", 35.0)):
        wrong = objective.evaluate(candidates).numpy() - np.array([float(row[column]) for row in rows])
        assert np.sqrt((wrong**2).mean()) < 0.1 * spread
