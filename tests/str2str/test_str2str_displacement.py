"""Baselines of the Str2Str drivers: torsion noise keeps bonds and angles, an elastic network has six still modes."""

from __future__ import annotations

import math

import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, torsions
from mogen.domain.conformation import rmsd
from samplers.str2str import displacement as baselines


def chain(n: int = 10) -> Backbone:
    """A zigzag of N, CA, C and O, bent in space."""
    place = torch.arange(float(n))
    middle = torch.stack((3.2 * place, 2 * (place % 2), 1.5 * (place / 2).sin()), -1)[:, None]
    unit = torch.tensor([[-1.2, 0.6, 0.1], [0, 0, 0], [1.2, 0.7, -0.1], [1.3, 1.9, 0]])
    return Backbone.of(unit + middle, Residues.numbered("ACDEFGHIKL"[:n]))


def test_turning_torsions_changes_them_by_as_much_and_nothing_else():
    start = chain()
    change = torch.zeros(1, 10, 2, dtype=torch.float64)
    change[0, 4] = torch.tensor([0.3, -0.5])
    made = start.moved(baselines.turned(start, change)[0])
    shift = torsions(made) - torsions(start)
    shift = torch.atan2(shift.sin(), shift.cos())
    expected = torch.zeros(10, 2, dtype=torch.float64)
    expected[4] = torch.tensor([0.3, -0.5])
    known = ~shift[:, :2].isnan()
    assert torch.allclose(shift[:, :2][known], expected[known], atol=5e-3)
    for bond in ((0, 1), (1, 2), (2, 3), (0, 2)):
        before, after = ((x.coordinates[:, bond[0]] - x.coordinates[:, bond[1]]).norm(dim=-1) for x in (start, made))
        assert torch.allclose(before, after, atol=2e-3)
    assert torch.equal(made.coordinates[:4], start.coordinates[:4])


def test_both_baselines_have_the_rmsd_that_is_asked_for():
    for make in (baselines.torsion_noise, baselines.elastic_network):
        atoms, width = make(chain(), 16, 1.5, generator=torch.Generator().manual_seed(0))
        assert atoms.shape == (16, 10, 4, 3) and width > 0
        assert float(rmsd(atoms[:, :, 1], chain().ca).mean()) == pytest.approx(1.5, abs=0.01)


def test_an_elastic_network_has_six_still_modes_and_the_spring_energy():
    ca = chain().ca.double()
    values, _ = torch.linalg.eigh(baselines.hessian(ca, 15.0))
    assert int((values.abs() < 1e-8).sum()) == 6 and (values > -1e-8).all()
    shift = 1e-4 * torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def energy(x: torch.Tensor) -> float:
        before, now = torch.cdist(ca, ca), (x[:, None] - x[None]).norm(dim=-1)
        near = (before < 15) & (before > 0)
        return float(((now - before) ** 2 * near).sum() / 4)

    quadratic = float(shift.flatten() @ baselines.hessian(ca, 15.0) @ shift.flatten()) / 2
    assert energy(ca + shift) == pytest.approx(quadratic, rel=1e-3) and math.isfinite(quadratic)
