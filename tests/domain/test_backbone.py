"""Backbones: files in and out, frames, torsions, ideal geometry, and sentences for broken input."""

from __future__ import annotations

import gzip
import logging
import math

import numpy as np
import pytest
import torch

from mogen.domain import backbone as room
from mogen.domain.backbone import (
    Backbone,
    Residues,
    atoms_of,
    batch,
    frames,
    psi,
    read_backbone,
    read_backbones,
    torsions,
    with_oxygen,
    write_backbones,
)
from mogen.errors import CandidateError, DataError, MogenError, ShapeError

HELIX = (math.radians(-57.0), math.radians(-47.0))


def built(phi: list[float], psi: list[float]) -> torch.Tensor:
    """N, CA, C, O placed atom by atom from bonds, angles and dihedrals (NeRF)."""

    def place(a, b, c, bond, angle, turn):
        axis = (c - b) / np.linalg.norm(c - b)
        normal = np.cross(b - a, axis)
        normal /= np.linalg.norm(normal)
        side = np.cross(normal, axis)
        return c + bond * (
            -math.cos(angle) * axis + math.sin(angle) * (math.cos(turn) * side + math.sin(turn) * normal)
        )

    rad = math.radians
    n, ca = np.zeros(3), np.array([1.458, 0, 0])
    c = ca + 1.525 * np.array([-math.cos(rad(111)), math.sin(rad(111)), 0])
    atoms = []
    for i in range(len(phi)):
        following = place(n, ca, c, 1.329, rad(117.2), psi[i])
        atoms.append([n, ca, c, place(n, ca, c, 1.231, rad(120.1), psi[i] + math.pi)])
        next_ca = place(ca, c, following, 1.458, rad(121.7), math.pi)
        after = phi[i + 1] if i + 1 < len(phi) else -1.0
        n, ca, c = following, next_ca, place(c, following, next_ca, 1.525, rad(111), after)
    return torch.tensor(np.array(atoms))


def helix(n: int = 8, chain: str = "A") -> Backbone:
    return Backbone.of(built([HELIX[0]] * n, [HELIX[1]] * n), Residues.numbered("ACDEFGHIKLMNPQRSTVWY"[:n], chain))


def random_rotation(generator: torch.Generator, *shape: int) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(*shape, 3, 3, dtype=torch.float64, generator=generator))
    return q * torch.linalg.det(q)[..., None, None]


def test_torsions_are_those_the_chain_was_built_with():
    angles = [(-1.0, 2.3), (1.1, 0.4), (-2.8, 3.0), (-1.2, -0.7), (-1.9, 1.8)]
    chain = Backbone.of(built([a for a, _ in angles], [b for _, b in angles]), Residues.numbered("AGAAA"))
    found = torsions(chain)
    for i, (phi, angle) in enumerate(angles):
        if i:
            assert found[i, 0] == pytest.approx(phi, abs=3e-3)
            assert abs(found[i, 2]) == pytest.approx(math.pi, abs=3e-3)
        if i < 4:
            assert found[i, 1] == pytest.approx(angle, abs=3e-3)
    assert found[0, 0].isnan() and found[0, 2].isnan() and found[4, 1].isnan()
    by_oxygen = psi(chain.coordinates.double())
    assert torch.allclose(
        torch.atan2(by_oxygen[:, 0], by_oxygen[:, 1]), torch.tensor([b for _, b in angles]).double(), atol=3e-3
    )


def test_frames_have_ca_at_the_origin_c_on_x_and_n_above_it():
    atoms = helix().coordinates.double()
    rotations, origins = frames(atoms)
    local = (atoms - origins[:, None]) @ rotations
    assert torch.allclose(local[:, 1], torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert (
        torch.allclose(local[:, 2, 1:], torch.zeros(2, dtype=torch.float64), atol=1e-12)
        and (local[:, 2, 0] > 1.5).all()
    )
    assert (
        torch.allclose(local[:, 0, 2], torch.zeros(8, dtype=torch.float64), atol=1e-12) and (local[:, 0, 1] > 1.3).all()
    )
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(8, dtype=torch.float64))


def test_ideal_atoms_give_back_their_frames_psi_and_handedness():
    generator = torch.Generator().manual_seed(0)
    rotations = random_rotation(generator, 50)
    origins = 20 * torch.randn(50, 3, dtype=torch.float64, generator=generator)
    angle = 6.28 * torch.rand(50, dtype=torch.float64, generator=generator)
    torsion = torch.stack((angle.sin(), angle.cos()), -1)
    atoms = atoms_of(rotations, origins, torsion)
    again, ca = frames(atoms)
    assert torch.allclose(again, rotations, atol=1e-9) and torch.allclose(ca, origins, atol=1e-9)
    assert torch.allclose(psi(atoms[:, :4]), torsion, atol=1e-9)
    n, ca, c, o, cb = atoms.unbind(1)
    for one, other, bond in ((n, ca, 1.4606), (ca, c, 1.526), (c, o, 1.2333), (ca, cb, 1.5274)):
        assert torch.allclose((one - other).norm(dim=-1), torch.tensor(bond).double(), atol=1e-3)
    handed = (torch.linalg.cross(n - ca, c - ca) * (cb - ca)).sum(-1)
    assert (handed > 0).all()  # looking from H to CA: CO, R, N clockwise, an L-residue


def test_ideal_atoms_stand_within_a_tenth_of_an_angstrom_of_a_built_chain():
    chain = helix(8)
    rotations, origins = frames(chain.coordinates)
    rebuilt = atoms_of(rotations, origins, psi(chain.coordinates))[:, :4]
    assert float((rebuilt - chain.coordinates).norm(dim=-1).max()) < 0.1


@pytest.mark.parametrize("name", ["x.pdb", "x.cif", "x.mmcif"])
def test_files_round_trip_exactly(tmp_path, name):
    first = helix(8)
    models = [first, first.moved(first.coordinates + 1.2345), first.moved(first.coordinates * -1.5)]
    write_backbones(tmp_path / name, models)
    assert read_backbones(tmp_path / name) == models


def test_chains_gaps_insertions_and_negative_numbers_round_trip(tmp_path):
    residues = Residues(
        ("A",) * 5 + ("B",) * 3, (-1, 0, 1, 52, 52, 1, 2, 9), ("", "", "", "", "A", "", "", ""), "ACDEFGHX"
    )
    assert Residues.parse(residues.text) == residues
    assert residues.positions == (0, 1, 2, 53, 54, 254, 255, 262)
    chain = Backbone.of(built([HELIX[0]] * 8, [HELIX[1]] * 8), residues)
    for name in ("x.pdb", "x.cif"):
        write_backbones(tmp_path / name, [chain])
        assert read_backbone(tmp_path / name) == chain
    assert chain.is_bonded == (True, True, False, True, False, True, False)
    assert read_backbone(tmp_path / "x.cif", chains=["B"]).sequence == "GHX"
    with pytest.raises(DataError, match="a chain among A, B"):
        read_backbone(tmp_path / "x.cif", chains=["C"])


def test_a_key_tells_the_whole_backbone():
    chain = helix(8)
    again = Backbone.from_key(chain.key)
    assert again == chain and hash(again) == hash(chain) and torch.equal(again.coordinates, chain.coordinates)
    assert chain != chain.moved(chain.coordinates + torch.tensor([0.001, 0, 0]))
    for text in ("", "A/1:AC", "A/1:AC|!!", f"A/1:AC|{chain.key.split('|')[1]}", "nonsense|abcd"):
        with pytest.raises(CandidateError):
            Backbone.from_key(text)


def test_a_gzipped_file_is_read(tmp_path):
    write_backbones(tmp_path / "x.pdb", [helix()])
    (tmp_path / "x.pdb.gz").write_bytes(gzip.compress((tmp_path / "x.pdb").read_bytes()))
    assert read_backbone(tmp_path / "x.pdb.gz") == helix()


def atom(serial, name, residue, chain, number, place, *, altloc=" ", ins=" ", occupancy=1.0, record="ATOM  "):
    x, y, z = place
    return (
        f"{record}{serial:5d} {name:^4s}{altloc}{residue:>3s} {chain}{number:4d}{ins}   {x:8.3f}{y:8.3f}{z:8.3f}"
        f"{occupancy:6.2f}  0.00          {name[0]:>2s}\n"
    )


def lines(chain: Backbone, **changes) -> list[str]:
    """One line per atom of a PDB file."""
    found = []
    for i, (number, letter) in enumerate(zip(chain.residues.numbers, chain.sequence, strict=True)):
        for j, name in enumerate(room.ATOMS):
            residue = room.NAMES[letter]
            found.append(atom(4 * i + j, name, residue, "A", number, chain.coordinates[i, j].tolist(), **changes))
    return found


def test_the_alternate_location_of_highest_occupancy_is_read(tmp_path):
    chain = helix(3)
    text = lines(chain)[:4] + lines(chain)[8:]
    for altloc, occupancy, shift in (("A", 0.3, 5.0), ("B", 0.7, 0.0)):
        for j, name in enumerate(room.ATOMS):
            place = (chain.coordinates[1, j] + shift).tolist()
            text.insert(4, atom(9, name, "CYS", "A", 2, place, altloc=altloc, occupancy=occupancy))
    (tmp_path / "x.pdb").write_text("".join(text) + "END\n")
    found = read_backbone(tmp_path / "x.pdb")
    assert torch.equal(found.coordinates[1], chain.coordinates[1])


def test_residues_without_backbone_atoms_are_gaps_and_a_missing_oxygen_is_placed(tmp_path, caplog):
    chain = helix(6)
    text = [line for line in lines(chain) if not (line[22:26] == "   3" and " CA " in line)]
    text = [line for line in text if not (line[22:26] in ("   5", "   6") and line[12:16] == " O  ")]
    text.append(atom(99, "CA", "CA", "A", 300, (0, 0, 0), record="HETATM"))  # a calcium ion is no residue
    text.append(atom(99, "O", "HOH", "A", 301, (0, 0, 0), record="HETATM"))
    (tmp_path / "x.pdb").write_text("".join(text) + "END\n")
    with caplog.at_level(logging.WARNING):
        found = read_backbone(tmp_path / "x.pdb")
    assert "1 residues without N, CA or C are left out, the first ASP A3" in caplog.text
    assert found.residues.numbers == (1, 2, 4, 5, 6) and found.is_bonded == (True, False, True, True)
    assert float((found.coordinates[3, 3] - chain.coordinates[4, 3]).norm()) < 0.1
    last = found.coordinates[4]
    assert float((last[3] - last[2]).norm()) == pytest.approx(1.233, abs=2e-3)


def test_with_oxygen_leaves_what_is_there():
    atoms = helix().coordinates
    assert with_oxygen(atoms) is atoms


def test_modified_residues_are_their_parents_and_strange_ones_x(tmp_path, caplog):
    chain = helix(4)
    text = lines(chain)
    text[4:8] = [line.replace("ATOM  ", "HETATM").replace("CYS", "MSE") for line in text[4:8]]
    text[8:12] = [line.replace("ATOM  ", "HETATM").replace("ASP", "4HB") for line in text[8:12]]
    (tmp_path / "x.pdb").write_text("".join(text) + "END\n")
    with caplog.at_level(logging.WARNING):
        assert read_backbone(tmp_path / "x.pdb").sequence == "AMXE"
    assert "1 residues are none of the 20 and stand as UNK, the first 4HB A3" in caplog.text


def sentence_of(path) -> str:
    with pytest.raises(MogenError) as error:
        read_backbones(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bad_files_get_one_sentence(tmp_path):
    chain, path = helix(6), tmp_path / "x.pdb"
    good = lines(chain)

    def wrote(text):
        path.write_text("".join(text))
        return path

    assert "there are no CA atoms" in sentence_of(wrote([line for line in good if line[12:16] != " CA "]))
    assert "N and C of every residue are missing" in sentence_of(
        wrote([line for line in good if line[12:16] == " CA "])
    )
    assert "at least two residues" in sentence_of(wrote(good[:4]))
    broken = [*good[:5], good[5][:30] + "     nan" + good[5][38:], *good[6:]]
    assert "finite coordinates in line 6" in sentence_of(wrote(broken))
    assert "got none" in sentence_of(wrote([])) or "no CA" in sentence_of(wrote([]))
    assert "there is none at" in sentence_of(tmp_path / "missing.pdb")
    assert "ends in .pdb" in sentence_of(wrote(good).rename(tmp_path / "x.txt"))
    mirror = chain.coordinates * torch.tensor([1.0, 1.0, -1.0])
    rotations, origins = frames(mirror)
    left = atoms_of(rotations, origins, psi(mirror))[:, 4]
    reflected = left - 2 * ((left - origins) * rotations[..., 2]).sum(-1, keepdim=True) * rotations[..., 2]
    text = lines(chain.moved(mirror))
    text[4:4] = [atom(99, "CB", "ALA", "A", 1, reflected[0].tolist())]
    assert "expected L-amino acids" in sentence_of(wrote(text)) and "ALA A1" in sentence_of(path)
    text[4:4] = []
    flat = chain.coordinates.clone()
    flat[2, :3] = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    assert "got a line in ASP A3" in sentence_of(wrote(lines(chain.moved(flat))))


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_cut_mmcif_gets_one_sentence(tmp_path, share):
    path = tmp_path / "x.cif"
    write_backbones(path, [helix(8)])
    text = path.read_text()
    cut = int(len(text) * share)
    while text[cut - 1] == "\n" or text[cut] == "\n":
        cut += 3
    path.write_text(text[:cut])
    assert "x.cif" in sentence_of(path)


def test_an_mmcif_in_the_pdb_format_and_the_other_way_round_get_one_sentence(tmp_path):
    write_backbones(tmp_path / "x.cif", [helix()])
    (tmp_path / "y.pdb").write_text((tmp_path / "x.cif").read_text())
    sentence_of(tmp_path / "y.pdb")
    (tmp_path / "z.cif").write_text("".join(lines(helix())))
    sentence_of(tmp_path / "z.cif")


def test_what_cannot_be_written_is_refused(tmp_path):
    chain = helix()
    for path, models, sentence in (
        (tmp_path / "x.pdb", [], "at least one"),
        (tmp_path / "x.xyz", [chain], "ends in .pdb or .cif"),
        (tmp_path / "x.pdb", [chain, helix(7)], "same residues"),
        (tmp_path / "x.pdb", [chain.moved(chain.coordinates + 20_000)], "write .cif"),
        (tmp_path / "x.pdb", [helix(8, "AB")], "one letter"),
    ):
        with pytest.raises(DataError, match=sentence):
            write_backbones(path, models)
    with pytest.raises(CandidateError, match="finite"):
        chain.moved(chain.coordinates * float("nan"))
    with pytest.raises(ShapeError):
        chain.moved(chain.coordinates[:3])


def test_a_batch_is_padded_with_zeros():
    atoms, positions, mask = batch([helix(8), helix(5)])
    assert atoms.shape == (2, 8, 4, 3) and mask.sum(1).tolist() == [8, 5]
    assert not atoms[1, 5:].any() and positions[0].tolist() == list(range(8))
