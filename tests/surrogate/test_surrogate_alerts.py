"""Alerts against closed forms, a naive twin of their objective, and rules that are known."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from mogen.domain.molecule import Molecule
from mogen.domain.sequence import TokenSequence
from mogen.surrogate import Alerts, Feasibility, Observations
from mogen.surrogate.classifier import _risks

BANNED = {"AC", "GG", "TA", "CT"}


def words(count: int, seed: int, length: int = 12, alphabet: str = "ACGTUVWX") -> list[TokenSequence]:
    made = torch.Generator().manual_seed(seed)
    places = torch.randint(len(alphabet), (count, length), generator=made).tolist()
    return [TokenSequence("".join(alphabet[place] for place in row)) for row in places]


def breaks(candidates: list[TokenSequence]) -> torch.Tensor:
    return torch.tensor([any(word in item.text for word in BANNED) for item in candidates])


def test_parts_of_valid_candidates_have_the_risk_in_closed_form():
    known = [TokenSequence("AB"), TokenSequence("AC"), TokenSequence("DE")]
    alerts = Alerts().fit(known, torch.tensor([False, False, True]))
    a, r = alerts.shape, alerts.unseen
    once, twice = a / (a / r + 1), a / (a / r + 2)
    assert float(-alerts.log_probability([TokenSequence("AB")])) == pytest.approx(twice + 2 * once)  # A; B, AB
    assert float(-alerts.log_probability([TokenSequence("XY")])) == pytest.approx(3 * r)  # X, Y, XY were never seen


def test_risks_minimise_the_objective_as_it_is_written():
    made = np.random.default_rng(0)
    table = (made.random((40, 7)) < 0.4).astype(float)
    failed = made.random(40) < 0.1 + 0.8 * table[:, 2]
    table[failed & (table.sum(1) == 0), 0] = 1

    def objective(risk: np.ndarray) -> float:
        total = 0.0
        for row, bad in zip(table, failed, strict=True):
            s = float(row @ risk)
            total += -math.log(1 - math.exp(-s)) if bad else s
        return total + sum(0.1 / 0.3 * value - 0.1 * math.log(value) for value in risk)

    found = _risks(csr_matrix(table), failed, 0.1, 0.3)
    for column in range(7):
        for factor in (0.97, 1.03):
            other = found.copy()
            other[column] *= factor
            assert objective(other) > objective(found)


def test_what_contains_a_banned_word_is_found_out():
    known, new = words(150, seed=0), words(300, seed=1)
    likely = Alerts().fit(known, breaks(known)).log_probability(new).exp()
    bad = breaks(new)
    assert 0.2 < float(bad.double().mean()) < 0.8
    higher = (likely[~bad][:, None] > likely[bad][None]).double().mean()  # area under the ROC curve
    assert float(higher) > 0.95


def test_the_better_classifier_is_taken():
    known = words(150, seed=2)
    nothing = torch.zeros(150, 1, dtype=torch.float64)
    bad = breaks(known)
    assert isinstance(Feasibility.learned(Observations(known, nothing, nothing, ~bad, nothing)).classifier, Alerts)
    many = torch.tensor([item.text.count("G") >= 3 for item in known])  # no single word tells
    seen = Observations(known, nothing, nothing, ~many, nothing)
    assert not isinstance(Feasibility.learned(seen).classifier, Alerts)


def test_molecules_fail_by_a_group_they_contain():
    good = ["CCO", "CCCO", "CCCCO", "c1ccccc1O", "CC(C)O", "CCOC", "CCCOC", "c1ccccc1C", "CC(C)C", "CCN", "CCCN"]
    bad = ["CC[N+](=O)[O-]", "CCC[N+](=O)[O-]", "c1ccccc1[N+](=O)[O-]", "OCC[N+](=O)[O-]"]
    known = [Molecule.from_smiles(text) for pair in zip(good, bad * 3, strict=False) for text in pair]
    failed = torch.tensor(["[N+]" in item.smiles for item in known])
    alerts = Alerts().fit(known, failed)
    new = [Molecule.from_smiles(text) for text in ("CCCC[N+](=O)[O-]", "CCCCCO")]
    dangerous, harmless = alerts.log_probability(new).exp().tolist()
    assert dangerous < 0.3 < 0.7 < harmless
