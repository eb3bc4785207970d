"""Relaxation closes peptide bonds within its reach; side chains and trajectories where their packages are."""

from __future__ import annotations

import math

import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, from_torsions, read_backbones, torsions
from mogen.domain.relaxation import relaxed
from mogen.domain.sidechains import packed, write_packed
from mogen.domain.trajectory import write_trajectory
from mogen.errors import DataError
from mogen.metric.ensemble import backbone_validity


def chain(n: int = 10, phi: float = -60.0, psi: float = -45.0) -> Backbone:
    """A chain of ideal bonds and angles; torsions in degrees."""
    angles = (torch.full((n,), math.radians(angle)) for angle in (phi, psi))
    return from_torsions(*angles, Residues.numbered(("ACDEFGHIKLMNPQRSTVWY" * 2)[:n]))


def test_a_chain_of_torsions_has_them_and_ideal_bonds():
    generator = torch.Generator().manual_seed(0)
    phi, psi = (2 * math.pi * (torch.rand(2, 12, generator=generator) - 0.5)).double()
    made = from_torsions(phi, psi, Residues.numbered("ACDEFGHIKLMN"))
    atoms, found = made.coordinates.double(), torsions(made)
    away = torch.stack((found[1:, 0] - phi[1:], found[:-1, 1] - psi[:-1], found[1:, 2] - math.pi))
    assert torch.atan2(away.sin(), away.cos()).abs().max() < 0.01
    assert (atoms[1:, 0] - atoms[:-1, 2]).norm(dim=-1).numpy() == pytest.approx(1.329, abs=2e-3)
    assert (atoms[1:, 1] - atoms[:-1, 1]).norm(dim=-1).numpy() == pytest.approx(3.8, abs=0.03)
    assert (atoms[:, 3] - atoms[:, 2]).norm(dim=-1).numpy() == pytest.approx(1.231, abs=2e-3)


def test_noise_is_relaxed_and_no_ca_moves_by_the_reach():
    generator = torch.Generator().manual_seed(0)
    noisy = [chain().moved(chain().coordinates + 0.12 * torch.randn(10, 4, 3, generator=generator)) for _ in range(6)]
    bonded = torch.tensor(chain().is_bonded)
    before = backbone_validity(torch.stack([item.coordinates for item in noisy]), bonded)
    made = relaxed(noisy)
    after = backbone_validity(torch.stack([item.coordinates for item in made]), bonded)
    assert before.peptide_above_1_4 > 0.2 and after.peptide_above_1_4 <= 0.02 and after.ca == 1
    moved = torch.stack([(a.ca - b.ca).norm(dim=-1).max() for a, b in zip(noisy, made, strict=True)])
    assert float(moved.max()) < 0.3 and made[0].residues == noisy[0].residues
    near = relaxed(noisy, reach=0.05)
    assert all(float((a.ca - b.ca).norm(dim=-1).max()) < 0.05 for a, b in zip(noisy, near, strict=True))
    assert relaxed([]) == []


def test_what_is_whole_stays_nearly_where_it_is_and_breaks_between_numbers_are_left():
    whole = relaxed([chain()])[0]
    away = (whole.coordinates - chain().coordinates).norm(dim=-1)
    assert float(away[:, :3].max()) < 0.06 and float(away[:, 3].max()) < 0.2
    atoms = chain().coordinates.clone()
    atoms[5:] += 20
    residues = Residues(("A",) * 10, (*range(1, 6), *range(20, 25)), ("",) * 10, chain().sequence)
    broken = relaxed([Backbone.of(atoms, residues)])[0]
    assert float((broken.coordinates - atoms).norm(dim=-1).max()) < 0.2


def test_side_chains_are_placed_and_the_backbone_stays(tmp_path):
    pytest.importorskip("pyfaspr", reason="needs the extra sidechains")
    text = packed(chain())
    assert sum(line.startswith("ATOM") for line in text.splitlines()) > 50
    write_packed(tmp_path / "two.pdb", [chain(), chain(phi=-120, psi=130)])
    assert read_backbones(tmp_path / "two.pdb")[0].key == chain().key
    with pytest.raises(DataError, match="standard residues"):
        packed(Backbone.of(chain().coordinates, Residues.numbered("X" * 10)))


@pytest.mark.parametrize("kind", ["xtc", "dcd"])
def test_trajectories_come_back(tmp_path, kind):
    mdtraj = pytest.importorskip("mdtraj", reason="needs the extra trajectories")
    other = chain(phi=-120, psi=130)
    topology = write_trajectory(tmp_path / f"t.{kind}", [chain(), other])
    read = mdtraj.load(str(tmp_path / f"t.{kind}"), top=str(topology)).xyz * 10
    assert read[1].reshape(-1, 4, 3) == pytest.approx(other.coordinates.numpy(), abs=0.006)


def test_other_names_and_chains_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"\.xtc or \.dcd"):
        write_trajectory(tmp_path / "t.trr", [chain()])
    with pytest.raises(DataError, match="one chain"):
        write_trajectory(tmp_path / "t.xtc", [chain(), chain(5)])
