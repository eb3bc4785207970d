"""The named sets of grids and of small molecules."""

from __future__ import annotations

import math

import pytest
import torch
from rdkit.Chem import Crippen, Descriptors

from mogen.domain.molecule import Molecule
from mogen.domain.point import Point
from mogen.objective import check_objective_set, load_set

NAMES = ("branin", "currin", "shubert", "sphere", "beale")


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("variant", ["2022", "op_gfn"])
def test_hypergrid_sets_are_the_first_objectives_of_a_variant(size: int, variant: str) -> None:
    name = f"hypergrid{size}" if variant == "2022" or size == 2 else f"hypergrid{size}_{variant}"
    found = load_set(name)
    assert found.name == name and found.names == NAMES[:size]
    assert found.worst.tolist() == [0.0] * size and found.best.tolist() == [1.0] * size
    if size > 2:
        assert found.objectives[2].parameters["variant"] == variant
    check_objective_set(found, [Point.of([x / 4, y / 4]) for x in range(-4, 4) for y in range(-4, 4)])


def test_corners_take_any_dimension() -> None:
    corners = load_set("hypergrid_corners")
    assert corners([Point.of([0.7] * 6)]).utility.item() == 1.0
    check_objective_set(corners, [Point.of([x / 10] * 3) for x in range(-10, 11)])


def test_small_molecules_are_scored_by_the_published_formulas() -> None:
    molecules = [Molecule.from_smiles(text) for text in ("CCO", "c1ccoc1", "CC1CC1N", "N#CC(F)F", "O=C1CCCCO1")]
    found = load_set("qm9_small")(molecules)
    expected = [
        [
            math.exp(-((Crippen.MolLogP(item.mol) - 2.5) ** 2) / 2),
            math.exp(-((Descriptors.MolWt(item.mol) - 105) ** 2) / 150),
        ]
        for item in molecules
    ]
    assert torch.allclose(found.utility[:, 2:], torch.tensor(expected, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(found.utility[:, 1], (10 - found.raw[:, 1]) / 9)
    check_objective_set(load_set("qm9_small"), molecules)
