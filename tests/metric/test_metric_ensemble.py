"""Ensemble metrics against pencil and paper, SciPy and biotite."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mogen.domain.conformation import native_contacts, pair_distances, radius_of_gyration, rmsd, superpose, tm_score
from mogen.errors import ShapeError
from mogen.metric import ensemble as room


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def line(n: int, step: float = 3.8) -> torch.Tensor:
    return step * torch.arange(n, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0, 0], dtype=torch.float64)


def walk(n: int, k: int = 1, seed: int = 0) -> torch.Tensor:
    steps = torch.randn(k, n, 3, dtype=torch.float64, generator=seeded(seed))
    return (3.8 * steps / steps.norm(dim=-1, keepdim=True)).cumsum(1)


def turn(seed: int = 0) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=seeded(seed)))
    return q * torch.linalg.det(q)


@pytest.mark.parametrize("gap, is_valid", [(2.99, False), (3.01, True)])
def test_two_ca_clash_below_three_angstrom(gap, is_valid):
    ca = line(4)
    ca[3] = ca[0] + torch.tensor([0, gap, 0])
    bonded = torch.tensor([True, True, False])
    found = room.validity(ca[None], bonded)
    assert (found.clash, found.bond, found.ca) == (float(is_valid), 1.0, float(is_valid))


@pytest.mark.parametrize("step, is_valid", [(4.19, True), (4.21, False)])
def test_a_ca_bond_ends_at_4_2_angstrom_but_not_across_a_gap(step, is_valid):
    ca = line(3)
    ca[2, 0] = ca[1, 0] + step
    assert room.validity(ca[None], torch.tensor([True, True])).bond == float(is_valid)
    assert room.validity(ca[None], torch.tensor([True, False])).bond == 1.0


def test_val_ca_needs_both_and_counts_conformations():
    good, bad = line(4), line(4)
    clash = line(4)
    clash[3] = clash[0] + torch.tensor([0, 1.0, 0])
    bad[3, 0] = 30
    found = room.validity(torch.stack((good, bad, clash, good)), torch.ones(3, dtype=torch.bool))
    assert found.clash == 0.75 and found.bond == 0.5 and found.ca == 0.5


def test_peptide_breaks_are_shares_of_bonds():
    atoms = torch.zeros(2, 3, 4, 3, dtype=torch.float64)
    atoms[:, :, 1] = line(3)
    for row, lengths in enumerate(((1.33, 1.5), (2.1, 1.2))):
        for i, length in enumerate(lengths):
            atoms[row, i, 2] = torch.tensor([0.0, 0, 10 * i])
            atoms[row, i + 1, 0] = torch.tensor([length, 0, 10 * i])
    found = room.backbone_validity(atoms, torch.tensor([True, True]))
    assert found.peptide_above_1_4 == 0.5 and found.peptide_above_2_0 == 0.25
    assert room.backbone_validity(atoms, torch.tensor([False, True])).peptide_above_1_4 == 0.5


def test_distances_and_radius_by_hand():
    ca = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]])
    assert pair_distances(ca, apart=3).tolist() == [[1.0]]
    assert pair_distances(ca, apart=2)[0].tolist() == pytest.approx([math.sqrt(2), 1, math.sqrt(2)])
    assert float(radius_of_gyration(ca)) == pytest.approx(math.sqrt(0.5))


def test_js_of_a_reference_with_itself_is_zero_and_with_something_disjoint_the_most():
    reference = torch.rand(500, 3, generator=seeded())
    assert room.js_of_values(reference, reference) == (0.0, 1.0)
    low, high = torch.rand(500, 1, generator=seeded()) * 0.4, torch.rand(500, 1, generator=seeded(1)) * 0.4 + 0.6
    both = torch.cat((low, high, high))
    one = room.js_of_values(low, torch.cat((high, torch.tensor([[0.0], [0.01]]))))
    assert one.distance > 0.7
    assert room.js_of_values(both, both)[0] == 0


def test_js_is_scipys_on_the_references_range():
    from scipy.spatial.distance import jensenshannon

    mine, theirs = torch.randn(400, 1, generator=seeded()), 1 + torch.randn(300, 1, generator=seeded(1))
    edges = np.linspace(float(theirs.min()), float(theirs.max()), 51)
    p, q = (np.histogram(x.double().numpy()[:, 0], edges, density=True)[0] + 1e-6 for x in (mine, theirs))
    found = room.js_of_values(mine, theirs)
    assert found.distance == pytest.approx(float(jensenshannon(p, q)), abs=1e-9)
    inside = ((mine >= theirs.min()) & (mine <= theirs.max())).double().mean()
    assert found.in_support == pytest.approx(float(inside))


def test_samples_out_of_range_change_the_fraction_in_support_only():
    reference = torch.rand(500, 1, generator=seeded())
    mine = torch.rand(200, 1, generator=seeded(1)) * 0.9 + 0.05
    plain = room.js_of_values(mine, reference)
    more = room.js_of_values(torch.cat((mine, torch.full((200, 1), 7.0))), reference)
    assert more.distance == pytest.approx(plain.distance) and more.in_support == pytest.approx(plain.in_support / 2)


def test_histograms_given_as_counts_agree_with_their_samples():
    reference = 5 + 3 * torch.rand(4000, 1, generator=seeded())
    mine = 5.5 + 3 * torch.rand(1000, 1, generator=seeded(1))
    counts = torch.histc(reference[:, 0], 100, 0, 10)
    first, last = int(counts.nonzero()[0]), int(counts.nonzero()[-1]) + 1
    edges = 0.1 * np.arange(first, last + 1)
    from scipy.spatial.distance import jensenshannon

    p, q = (np.histogram(x.double().numpy()[:, 0], edges, density=True)[0] + 1e-6 for x in (mine, reference))
    found = room.js_of_histograms(mine, [counts], 0.1, bins=None)
    assert found.distance == pytest.approx(float(jensenshannon(p, q)), abs=1e-3) and found.in_support < 1
    own = room.js_of_histograms(reference, [counts], 0.1, bins=10)
    assert own.distance < 0.02 and own.in_support > 0.99


def test_a_density_in_the_plane():
    edges = torch.linspace(0, 1, 11)
    density = torch.zeros(10, 10)
    density[2, 3] = 100.0
    inside = torch.tensor([[0.25, 0.35]] * 4)
    assert room.js_of_density_2d(inside, density, edges, edges).distance < 1e-2
    half = torch.cat((inside, torch.tensor([[5.0, 5.0]] * 4)))
    assert room.js_of_density_2d(half, density, edges, edges).in_support == 0.5
    away = room.js_of_density_2d(torch.tensor([[0.95, 0.95]]), density, edges, edges)
    assert away.distance == pytest.approx(math.sqrt(math.log(2)), abs=1e-2)


def test_tica_finds_the_slow_direction_and_its_autocorrelation():
    """Two independent AR(1) processes, mixed: the slow one comes out first with autocorrelation 0.98^lag."""
    generator, n = seeded(), 20_000
    noise = torch.randn(n, 2, dtype=torch.float64, generator=generator)
    memory = torch.tensor([0.98, 0.5], dtype=torch.float64)
    state, path = torch.zeros(2, dtype=torch.float64), []
    for step in noise:
        state = memory * state + (1 - memory**2).sqrt() * step
        path.append(state)
    hidden = torch.stack(path)
    mixed = hidden @ torch.tensor([[1.0, 0.5], [3.0, -1.0]], dtype=torch.float64) + 5
    tica = room.Tica.fit(mixed, lag=10)
    found = tica(mixed)
    assert abs(float(torch.corrcoef(torch.stack((found[:, 0], hidden[:, 0])))[0, 1])) > 0.99
    assert float((found[:-10, 0] * found[10:, 0]).mean()) == pytest.approx(0.98**10, abs=0.04)
    assert found.std(0).tolist() == pytest.approx([1, 1], abs=0.02)
    assert room.js_tica(tica, mixed, mixed) == (0.0, 1.0)
    with pytest.raises(ShapeError):
        room.Tica.fit(mixed[:5], lag=10)


def test_superposition_never_reflects():
    a = walk(20)[0]
    assert float(rmsd(a @ turn().T + 3, a)) == pytest.approx(0, abs=1e-6)
    assert float(rmsd(-a, a)) > 2
    moved = superpose(a @ turn(2).T - 4, a)
    assert torch.allclose(moved, a, atol=1e-9)


def test_rmsd_agrees_with_biotite_and_by_hand():
    import biotite.structure as struc

    a, b = walk(30, seed=1)[0], walk(30, seed=2)[0]
    fitted, _ = struc.superimpose(b.numpy().astype(np.float32), a.numpy().astype(np.float32))
    assert float(rmsd(a, b)) == pytest.approx(float(struc.rmsd(b.numpy(), fitted)), abs=1e-4)
    short, long = torch.tensor([[0.0, 0, 0], [2, 0, 0]]), torch.tensor([[0.0, 0, 0], [0, 4, 0]])
    assert float(rmsd(short, long)) == pytest.approx(1)


def test_tm_score_is_one_for_itself_and_at_least_what_biotite_finds_after_superposition():
    import biotite.structure as struc

    a = walk(40)[0]
    assert tm_score(a @ turn().T + 7, a) == pytest.approx(1)
    b = a + torch.randn(40, 3, dtype=torch.float64, generator=seeded(5)) * 2
    fitted = superpose(b, a)
    index, arrays = np.arange(40), [struc.AtomArray(40), struc.AtomArray(40)]
    for array, coordinates in zip(arrays, (a, fitted), strict=True):
        array.coord, array.res_id = coordinates.float().numpy(), index + 1
        array.atom_name[:], array.res_name[:], array.chain_id[:], array.element[:] = "CA", "ALA", "A", "C"
    plain = float(struc.tm_score(*arrays, index, index, reference_length=40))
    assert plain - 1e-6 <= tm_score(b, a) < 1
    scale = 1.24 * 25 ** (1 / 3) - 1.8
    square = (fitted - a).square().sum(-1)
    assert float((1 / (1 + square / scale**2)).mean()) == pytest.approx(plain, abs=1e-6)


@pytest.mark.wrong_types
def test_tm_score_finds_the_half_that_fits():
    """Two rigid halves about a hinge: one half superposed exactly gives more than 1/2."""
    a = walk(80, seed=3)[0]
    b = a.clone()
    b[40:] = (a[40:] - a[40]) @ turn(4).T + a[40]
    found = tm_score(b, a)
    scale = 1.24 * 65 ** (1 / 3) - 1.8
    one = (1 / (1 + (b - a).square().sum(-1) / scale**2)).mean()
    assert found >= float(one) - 1e-9 > 0.5 and found < 1
    with pytest.raises(ShapeError):
        tm_score(a, a[:5])


def test_matching_and_ensembles_by_hand():
    """Lines of two points: the RMSD of lengths p and q is |p - q| / 2."""
    lines = {n: torch.tensor([[0.0, 0, 0], [float(n), 0, 0]]) for n in (2, 4, 10, 5)}
    mine, states = torch.stack((lines[2], lines[4])), torch.stack((lines[4], lines[10]))
    found = room.matching(mine, states)
    assert found.precision == pytest.approx((1 + 0) / 2, abs=1e-6) and found.recall == pytest.approx(
        (0 + 3) / 2, abs=1e-6
    )
    assert room.ensemble_rmsd(mine, states) == pytest.approx(1.5, abs=1e-6)
    assert room.mean_pairwise_rmsd(mine) == pytest.approx(1)
    a, b = walk(20, seed=1)[0], walk(20, seed=2)[0]
    both = room.ensemble_tm(torch.stack((a,)), torch.stack((a, b)))
    assert both == pytest.approx((1 + tm_score(a, b)) / 2)
    assert math.isnan(room.mean_pairwise_tm(a[None])) and room.mean_pairwise_tm(torch.stack((a, a))) == pytest.approx(1)


def test_rmsf_is_that_of_the_noise_and_correlates_with_itself():
    base, size = walk(60)[0], torch.linspace(0.05, 0.5, 60, dtype=torch.float64)
    noise = torch.randn(400, 60, 3, dtype=torch.float64, generator=seeded(1)) * size[:, None]
    turned = torch.stack([(base + item) @ turn(i).T + i for i, item in enumerate(noise)])
    found = room.rmsf(turned)
    assert torch.allclose(found, size * math.sqrt(3), rtol=0.15, atol=0.06)
    assert room.rmsf_correlation(turned, base + noise) > 0.99


def test_contacts_and_their_changes_by_hand():
    start = torch.tensor([[0.0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0], [40, 0, 0]])
    opened = start.clone()
    opened[3] = torch.tensor([30.0, 30, 0])
    folded = start.clone()
    folded[4] = torch.tensor([0.0, -4, 0])
    assert room.contacts(torch.stack((start, opened))).tolist() == [0.5, 0.0, 0.0]  # pairs 0-3, 0-4, 1-4
    reference = torch.stack((start, opened))
    assert room.contact_changes(reference, reference, start) == (1.0, 1.0)
    found = room.contact_changes(torch.stack((start, folded)), reference, start)
    assert found.weak == 0.0 and found.transient == 0.0
    assert room.contact_changes(torch.stack((start, start)), torch.stack((start, start)), start) == (1.0, 1.0)


def test_native_contacts_by_the_formula():
    native = torch.tensor([[0.0, 0, 0], [3.8, 0, 0], [3.8, 3.8, 0], [0, 3.8, 0], [0, 3.8, 3.8]])
    distance = math.sqrt(2) * 3.8  # residues 0 and 4, the only pair four apart
    stretched = native.clone()
    stretched[4, 2] = 20.0
    found = native_contacts(torch.stack((native, stretched)), native)
    assert float(found[0]) == pytest.approx(1 / (1 + math.exp(5 * (distance - 1.2 * distance))))
    assert float(found[1]) < 1e-10
    assert native_contacts(native[None], native * 10).isnan().all()


def test_js_of_ensembles_is_that_of_their_distances_and_radii():
    mine, theirs = walk(12, k=60, seed=1), walk(12, k=50, seed=2)
    assert room.js_pair_distances(mine, theirs) == room.js_of_values(pair_distances(mine), pair_distances(theirs))
    assert room.js_pair_distances(mine, mine) == (0.0, 1.0)
    spread = mine - mine.mean(1, keepdim=True)
    by_hand = spread.square().sum(-1).mean(1).sqrt()[:, None]
    found = room.js_radius_of_gyration(mine, theirs)
    other = theirs - theirs.mean(1, keepdim=True)
    expected = room.js_of_values(by_hand, other.square().sum(-1).mean(1).sqrt()[:, None])
    assert found[0] == pytest.approx(expected[0]) and 0 < found[0] < math.log(2) + 1e-9
