"""Structure objectives by hand, by differences, and through the contract of objectives."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, write_backbones
from mogen.errors import ConfigError, DataError
from mogen.objective import (
    DifferentiableObjective,
    ObjectiveSet,
    check_objective,
    check_objective_set,
    objectives_behind,
    unclamped,
)
from objectives.sets import compact_helical
from objectives.structure import (
    Contacts,
    DistanceRestraint,
    EndToEnd,
    NativeContacts,
    OpenMMEnergy,
    RadiusOfGyration,
    RmsdTo,
    SecondaryStructure,
    SurfaceArea,
    TmTo,
    ValidBackbone,
)


def chain(n: int = 12, seed: int = 0, wobble: float = 0.0) -> Backbone:
    """A helix of N, CA, C and O on circles of the radii and rises of Pauling's helix."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.arange(n)[:, None] * math.radians(100) + torch.tensor([-0.484, 0.0, 0.459, 0.33])
    rise = 1.5 * torch.arange(n)[:, None] + torch.tensor([-0.9, 0.0, 1.05, 2.2])
    radius = torch.tensor([1.55, 2.29, 1.68, 2.03])
    atoms = torch.stack((radius * turn.cos(), radius * turn.sin(), rise.expand(n, 4)), -1)
    atoms = atoms + wobble * torch.randn(n, 4, 3, generator=generator)
    return Backbone.of(atoms, Residues.numbered(("ACDEFGHIKLMNPQRSTVWY" * 2)[:n]))


def placed(ca: list[list[float]]) -> Backbone:
    """A backbone whose CA are given; the other atoms stand beside them."""
    centre = torch.tensor(ca)[:, None]
    atoms = centre + torch.tensor([[-1.0, 0.8, 0], [0, 0, 0], [1.5, 0, 0], [2.0, 1, 0]])
    return Backbone.of(atoms, Residues.numbered("A" * len(ca)))


@pytest.fixture
def native(tmp_path) -> str:
    write_backbones(tmp_path / "native.pdb", [chain()])
    return str(tmp_path / "native.pdb")


def everything(native: str) -> list:
    return [
        RadiusOfGyration(),
        RadiusOfGyration(target=7.0, name="size"),
        EndToEnd(),
        DistanceRestraint(first=0, second=5, target=10),
        SecondaryStructure(),
        SecondaryStructure(kind="strand", name="strand"),
        SurfaceArea(points=50),
        NativeContacts(native=native),
        Contacts(pairs=((0, 5), (1, 9))),
        RmsdTo(reference=native),
        TmTo(reference=native),
    ]


def test_every_objective_keeps_the_contract(native):
    candidates = [chain(), chain(wobble=0.5), chain(seed=1, wobble=1.0)]
    for item in everything(native):
        check_objective(item, candidates)
        assert item.evaluate(candidates).isfinite().all(), item.name
    check_objective_set(ObjectiveSet(everything(native), constraints=[ValidBackbone()], name="all"), candidates)


def test_two_references_are_two_measurements(tmp_path, native):
    write_backbones(tmp_path / "other.pdb", [chain(wobble=1.0)])
    one, other = RmsdTo(reference=native, name="a"), RmsdTo(reference=str(tmp_path / "other.pdb"), name="b")
    assert one.identity != other.identity and one.name != other.name
    assert float(one.evaluate([chain()])) == pytest.approx(0, abs=1e-6) and float(other.evaluate([chain()])) > 0.5
    assert RmsdTo(reference=native).identity == RmsdTo(reference=native).identity


def test_sizes_and_distances_by_hand():
    square = placed([[0.0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]])
    assert float(RadiusOfGyration().evaluate([square])) == pytest.approx(math.sqrt(8), abs=1e-6)
    assert float(RadiusOfGyration(target=5.0).evaluate([square])) == pytest.approx(5 - math.sqrt(8), abs=1e-6)
    assert float(EndToEnd().evaluate([square])) == pytest.approx(4)
    assert float(DistanceRestraint(first=0, second=2, target=5).evaluate([square])) == pytest.approx(math.sqrt(32) - 5)
    assert DistanceRestraint(first=0, second=9, target=5).evaluate([square]).isnan().all()


def test_contacts_by_the_formula():
    square = placed([[0.0, 0, 0], [10, 0, 0], [10, 1, 0], [0, 50, 0]])
    found = Contacts(pairs=((0, 1), (1, 2), (0, 3))).evaluate([square])
    assert float(found) == pytest.approx((0.5 + 1 + 1 / (1 + 6**6)) / 3)
    assert Contacts(pairs=((0, 7),)).evaluate([square]).isnan().all()


def test_a_helix_is_a_helix_and_no_strand():
    helix, strand = (float(SecondaryStructure(kind=kind).evaluate([chain(16)])) for kind in ("helix", "strand"))
    assert helix > 0.6 and strand < 0.05
    gap = Residues(("A",) * 12, (*range(1, 7), *range(20, 26)), ("",) * 12, "A" * 12)
    broken = Backbone.of(chain().coordinates, gap)
    assert float(SecondaryStructure().evaluate([broken])) == pytest.approx(
        float(SecondaryStructure().evaluate([chain()])), abs=0.05
    )
    single = Residues(("A",) * 3, (1, 5, 9), ("",) * 3, "AAA")
    assert SecondaryStructure().evaluate([Backbone.of(chain(3).coordinates, single)]).isnan().all()


def test_references_know_themselves_and_refuse_other_lengths(native):
    assert float(TmTo(reference=native).evaluate([chain()])) == pytest.approx(1)
    assert float(NativeContacts(native=native).evaluate([chain()])) > 0.95
    for item in (TmTo(reference=native), RmsdTo(reference=native), NativeContacts(native=native)):
        assert item.evaluate([chain(9)]).isnan().all()
    far = chain(wobble=3.0)
    assert float(RmsdTo(reference=native).evaluate([far])) > 2 > 1 > float(TmTo(reference=native).evaluate([far]))


def test_the_area_of_distant_atoms_is_that_of_spheres():
    """N, CA, C, O each alone: 4 pi (r + 1.4)^2 with the radii of single atoms."""
    from biotite.structure.info import vdw_radius_single

    atoms = 50.0 * torch.arange(8)[:, None] * torch.tensor([1.0, 0, 0])
    apart = Backbone.of(atoms.view(2, 4, 3), Residues.numbered("AA"))
    expected = 2 * sum(4 * math.pi * (vdw_radius_single(element) + 1.4) ** 2 for element in "NCCO")
    assert float(SurfaceArea().evaluate([apart])) == pytest.approx(expected, rel=1e-3)
    assert float(SurfaceArea().evaluate([chain()])) < 0.7 * float(SurfaceArea().evaluate([apart])) * 6


def test_gradients_are_difference_quotients(native):
    atoms = chain(wobble=0.6).coordinates.double()[None]
    for item in everything(native):
        if not hasattr(item, "value"):
            continue
        x = atoms.clone().requires_grad_()
        (slope,) = torch.autograd.grad(item.value(x).sum(), x)
        direction = torch.randn(atoms.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        step = 1e-5
        quotient = (item.value(atoms + step * direction) - item.value(atoms - step * direction)) / (2 * step)
        assert float((slope * direction).sum()) == pytest.approx(float(quotient), rel=1e-4, abs=1e-8), item.name
        many = item.value(torch.cat((atoms, atoms + 1)))
        assert float(many[0]) == pytest.approx(float(many[1]), abs=1e-9)  # where a chain lies does not matter


def test_validity_is_a_constraint():
    good = chain()
    clash = good.moved(good.coordinates * 0.5)
    gap = good.coordinates.clone()
    gap[6:] += 5
    numbers = Residues(("A",) * 12, (*range(1, 7), *range(10, 16)), ("",) * 12, "A" * 12)
    assert ValidBackbone().passes([good, clash, good.moved(gap), Backbone.of(gap, numbers)]).tolist() == [
        True,
        False,
        False,
        True,
    ]


def test_mistakes_are_one_sentence(native, tmp_path):
    for make in (
        lambda: SecondaryStructure(kind="sheet"),
        lambda: DistanceRestraint(first=1, second=1, target=3),
        lambda: Contacts(pairs=()),
        lambda: Contacts(pairs=((0, 0),)),
    ):
        with pytest.raises(ConfigError):
            make()
    with pytest.raises(DataError):
        RmsdTo(reference=str(tmp_path / "none.pdb"))


@pytest.mark.parametrize("missing", ["openmm", "pdbfixer"])
def test_an_energy_without_its_packages_is_one_sentence(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'mogen\[openmm,sidechains\]'"):
        OpenMMEnergy().evaluate([chain()])


def test_the_energy_keeps_the_contract():
    for package in ("openmm", "pdbfixer", "pyfaspr"):
        pytest.importorskip(package, reason="needs the extras openmm and sidechains")
    check_objective(OpenMMEnergy(iterations=5), [chain(6)])


def test_the_set_for_conformations_measures_and_says_what_has_gradients():
    objectives = compact_helical()
    check_objective_set(objectives, [chain(), chain(wobble=0.4)])
    smooth = [isinstance(item, DifferentiableObjective) for item in objectives.objectives]
    assert smooth == [True, True, False] and objectives_behind(objectives) == objectives.objectives
    x = chain().coordinates[None].double().requires_grad_()
    value = unclamped(objectives.objectives[0], x)
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(float(objectives([chain()]).value[0, 0])) and bool(
        (x.grad[0, :, 1] != 0).any()
    )
