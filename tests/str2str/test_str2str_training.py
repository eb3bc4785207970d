"""Losses against plain sums, batches by length, splits by cluster, training that goes on, overfitting on purpose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, atoms_of, write_backbones
from mogen.errors import DataError
from mogen.training.loop import NEWEST
from samplers.diffusion import so3
from samplers.str2str import Denoiser, Frames, Size, Str2StrSampler
from samplers.str2str.data import (
    Batches,
    Chain,
    conformer_pairs,
    is_compact,
    numbered,
    read_chains,
    split,
    superposed_rmsd,
)
from samplers.str2str.loss import clashes, losses, near_distances, peptide_distances
from samplers.str2str.module import DenoiserModule, train
from samplers.str2str.process import fields_of, network_prediction, perturbed, process
from samplers.str2str.sampler import Protocol, conformations

SMALL = Size(32, 16, hidden=8, heads=4, query_points=4, value_points=4, blocks=2, skip=8, layers=1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chain(n: int = 12, bend: float = 100.0) -> Backbone:
    """A helix of ideal residues; another angle per residue is another conformation."""
    turn = torch.arange(n) * math.radians(bend)
    spin = so3.exp(torch.stack((torch.zeros(n), torch.zeros(n), turn), -1)) @ so3.exp(torch.tensor([0.4, 0.9, -0.3]))
    origins = torch.stack((2.3 * turn.cos(), 2.3 * turn.sin(), 1.0 * torch.arange(n)), -1)
    atoms = atoms_of(spin, origins, torch.tensor([0.6, 0.8]).expand(n, 2))[:, :4]
    return Backbone.of(atoms, Residues.numbered(("ACDEFGHIKLMNPQRSTVWY" * 4)[:n]))


def test_losses_are_zero_for_the_truth_and_the_sums_they_say_otherwise():
    sde, clean = process(), fields_of([chain(), chain(9)], [(), (2, 3)])
    t = torch.tensor([0.2, 0.6])
    noisy = perturbed(sde, clean, t, generator=seeded())
    truth = Frames(clean["rotations"], clean["translations"], clean["psi"])
    for part in losses(sde, clean, noisy, truth, t):
        assert float(part.abs().max()) < 1e-6
    guess = Frames(clean["rotations"], clean["translations"] + torch.tensor([0.1, 0.0, 0.0]), clean["psi"])
    found = losses(sde, clean, noisy, guess, t)
    assert found.translations.tolist() == pytest.approx([0.01, 0.01], rel=1e-4)  # 1 Å = 0.1 nm, squared
    assert found.atoms.tolist() == pytest.approx([1.0, 1.0], rel=1e-3)
    assert float(found.rotations.abs().max()) < 1e-6 and float(found.distances.abs().max()) < 1e-4
    assert found.total.tolist() == pytest.approx([0.01 + 0.25, 0.01], rel=1e-3)  # atoms count below t = 1/4 only


def test_the_loss_of_rotations_compares_scores_of_unit_variance():
    sde, clean = process(), fields_of([chain(20)] * 64)
    t = torch.full((64,), 0.5)
    noisy = perturbed(sde, clean, t, generator=seeded())
    stays = Frames(noisy["rotations"], clean["translations"], clean["psi"])  # the guess "no noise" has the score 0
    assert float(losses(sde, clean, noisy, stays, t).rotations.mean()) == pytest.approx(3, rel=0.1)


def test_near_distances_go_by_the_true_structure():
    right = torch.tensor([[[[0.0, 0, 0], [3, 0, 0]], [[8, 0, 0], [20, 0, 0]]]])
    made = right.clone()
    made[0, 1, 0, 0] = 7.0  # 3 - 8: true distance 5, now 4; 0 - 8 is too far to count; 20 is far from all
    exists = torch.ones(1, 2)
    # near pairs, both ways: (0, 3), (3, 8): the sum of squares is 2 * 1, their number 4
    assert float(near_distances(right, made, exists)) == pytest.approx(2 / 4)
    collapsed = right * 100
    assert float(near_distances(right, collapsed, exists)) > 1e4  # a broken pair does not escape the loss
    assert float(near_distances(right, made, torch.tensor([[1.0, 0.0]]))) == 0


def test_losses_have_finite_gradients_also_where_the_guess_is_perfect_or_far_off():
    sde, clean = process(), fields_of([chain()] * 3)
    t = torch.tensor([0.01, 0.2, 0.9])
    noisy = perturbed(sde, clean, t, generator=seeded())
    for turn in (torch.zeros(3), torch.tensor([3.14159, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])):
        v = (torch.zeros(3, 12, 3) + turn).requires_grad_()
        x = clean["translations"].clone().requires_grad_()
        guess = Frames(clean["rotations"] @ so3.exp(v), x, clean["psi"])
        losses(sde, clean, noisy, guess, t).total.sum().backward()
        assert v.grad is not None and x.grad is not None and v.grad.isfinite().all() and x.grad.isfinite().all()


def chains() -> list[Chain]:
    made = [Chain(f"c{n}", chain(n), n) for n in (20, 21, 22, 30, 31, 40)]
    return [*made, Chain("c20b", chain(20, 60.0), 20)]


def test_batches_depend_on_seed_and_step_alone_and_hold_chains_of_like_length():
    one, two = Batches(chains(), budget=2000, largest=4), Batches(chains()[::-1], budget=2000, largest=4)
    for step in range(40):
        first, second = (item.at(step, item.generator(step)) for item in (one, two))
        assert [item.key for item in first] == [item.key for item in second]
        assert 1 <= len(first) <= 4 and len(first) == max(1, min(4, 2000 // len(first[0]) ** 2))
    seen = {len(item) for step in range(60) for item in one.at(step, one.generator(step))}
    assert seen == {20, 21, 22, 30, 31, 40}
    assert [x.key for x in Batches(chains(), seed=1).at(0, Batches(chains(), seed=1).generator(0))] != [
        x.key for x in one.at(0, one.generator(0))
    ]


def test_clusters_with_two_conformations_are_held_out_whole():
    pairs = conformer_pairs(chains())
    assert [(chains()[a].name, chains()[b].name) for a, b, _ in pairs] == [("c20", "c20b")]
    found = split(chains(), share=0.3)
    assert {item.cluster for item in found.held_out} == {20} and len(found.held_out) == 2
    assert {item.cluster for item in (*found.train, *found.validation)} == {21, 22, 30, 31, 40}
    again = split(chains()[::-1], share=0.3)
    assert {item.name for item in again.validation} == {item.name for item in found.validation}
    with pytest.raises(DataError, match="not held out"):
        split(chains()[:1] + chains()[-1:])


def test_superposed_rmsd_ignores_motions_but_not_reflections():
    ca = chain(20).ca
    turned = ca @ so3.exp(torch.tensor([1.0, 2.0, 0.5])).T + 5
    assert superposed_rmsd(ca, turned) == pytest.approx(0, abs=1e-3)
    assert superposed_rmsd(ca, -ca) > 1
    assert superposed_rmsd(
        torch.tensor([[0.0, 0, 0], [1, 0, 0]]), torch.tensor([[0.0, 0, 0], [0, 3, 0]])
    ) == pytest.approx(1)


def test_archives_and_folders_are_read(tmp_path):
    step = 3.8 * torch.arange(20.0)[:, None, None] * torch.tensor([1.0, 0, 0])
    unit = torch.tensor([[0.0, 0, 0], [1.2, 0.5, 0], [2.4, 0, 0], [2.9, 1, 0]])
    line = Backbone.of(unit + step, Residues.numbered("A" * 20))
    assert numbered(line.coordinates, "A" * 20) == line.residues
    item = line
    broken = torch.cat((item.coordinates[:10], item.coordinates[13:]))
    assert numbered(broken, "A" * 17).numbers == (*range(1, 11), *range(14, 21))
    milli = (torch.cat((item.coordinates, broken)) * 1000).round().int().numpy()
    np.savez(
        tmp_path / "x.npz",
        name=np.array(["a", "b"]),
        sequence=np.array([item.sequence, "A" * 17]),
        cluster=np.array([3, 4], dtype=np.int32),
        offset=np.array([0, 20, 37], dtype=np.int32),
        coords_milliA=milli,
    )
    found = read_chains(tmp_path / "x.npz")
    assert [(x.name, x.cluster) for x in found] == [("a", 3), ("b", 4)] and found[0].backbone == item
    folder = tmp_path / "folder"
    folder.mkdir()
    write_backbones(folder / "one.pdb", [item])
    write_backbones(folder / "two.cif", [chain(15)])
    (folder / "bad.pdb").write_text("nothing\n")
    assert [x.name for x in read_chains(folder)] == ["one", "two"]
    for path in (tmp_path / "none.npz", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError):
            read_chains(path)
    np.savez(tmp_path / "y.npz", other=np.zeros(3))
    with pytest.raises(DataError, match=r"y\.npz"):
        read_chains(tmp_path / "y.npz")
    assert is_compact(chain(20)) and not is_compact(line) and not is_compact(chain(20).moved(chain(20).coordinates * 3))


def module(seed: int = 0) -> DenoiserModule:
    torch.manual_seed(seed)
    size = Size(16, 8, hidden=4, heads=2, query_points=2, value_points=2, blocks=1, skip=8, layers=1)
    return DenoiserModule(
        Denoiser(size), Batches([Chain("a", chain(12), 0), Chain("b", chain(10), 1)], largest=3), [chain(8)]
    )


@pytest.mark.parametrize("then", [2, 1, 3, 6])
def test_training_that_was_stopped_ends_as_if_it_was_not(tmp_path, then):
    """Also with checkpoints farther apart or closer together than before."""
    whole, first, second = module(), module(), module(seed=1)
    train(whole, steps=6, every=2, folder=tmp_path / "whole", accelerator="cpu")
    train(first, steps=4, every=2, folder=tmp_path / "parts", accelerator="cpu")
    assert (tmp_path / "parts" / NEWEST).is_file()
    train(second, steps=6, every=then, folder=tmp_path / "parts", accelerator="cpu")
    assert second.global_step == 6
    for one, two in zip(whole.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert whole.validate() == second.validate()
    assert not torch.equal(whole.average.embedder.node.first.weight, whole.network.embedder.node.first.weight)


def test_a_sampler_trains_on_a_folder_and_keeps_a_card(tmp_path):
    folder = tmp_path / "chains"
    folder.mkdir()
    for n in (20, 24, 28):
        write_backbones(folder / f"c{n}.pdb", [chain(n)])
    sampler = Str2StrSampler(data=str(folder), size="tiny", steps=2, checkpoint_every=1, accelerator="cpu")
    sampler.train(tmp_path / "run")
    sampler.save(tmp_path / "model")
    card = Str2StrSampler.load(tmp_path / "model").card
    assert card["steps"] == 2 and card["chains"] == 3 and len(card["data_sha256"]) == 64
    with pytest.raises(DataError, match="data to train on"):
        Str2StrSampler(size="tiny").train()


def test_a_tiny_network_overfits_one_chain():
    """A reduced form of experiments/benchmarks/str2str_overfit.py: one short helix, seen again from noise at 0.3."""
    torch.manual_seed(0)
    target = chain(10)
    made = DenoiserModule(
        Denoiser(SMALL),
        Batches([Chain("a", target, 0)], largest=16),
        learning_rate=3e-3,
        warmup=10,
        decay=0.98,
        latest=0.35,
        fixed_share=0.0,
    )
    train(made, steps=150, every=150, accelerator="cpu")
    predict = network_prediction(made.average)
    found, _ = conformations(predict, target, 0.3, 8, Protocol((0.3,), steps=10, method="heun"), generator=seeded())
    before, _ = conformations(
        network_prediction(Denoiser(SMALL).requires_grad_(False)),
        target,
        0.3,
        8,
        Protocol((0.3,), steps=10, method="heun"),
        generator=seeded(),
    )
    rmsd, untrained = (
        sum(
            superposed_rmsd(x.coordinates[:, :3].reshape(-1, 3), target.coordinates[:, :3].reshape(-1, 3)) for x in part
        )
        / 8
        for part in (found, before)
    )

    assert rmsd < 2.0 and untrained > 6.0


def test_peptide_distances_and_clashes_by_hand() -> None:
    right = torch.zeros(1, 2, 5, 3)
    right[0, 0, :4] = torch.tensor([[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    right[0, 1, :2] = torch.tensor([[2.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    made = right.clone()
    made[0, 1, 0, 0] = 2.5  # N moves along x: CA-N 2 -> 2.5, C-N 1 -> 1.5, O-N sqrt 2 -> sqrt 3.25
    expected = 0.25 + 0.25 + (3.25**0.5 - 2**0.5) ** 2
    assert float(peptide_distances(right, made, torch.ones(1, 1))) == pytest.approx(expected, rel=1e-5)
    assert float(peptide_distances(right, made, torch.zeros(1, 1))) == 0
    ca = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [3, 2.8, 0], [0, 2.8, 0]]])  # 0 and 3 clash, neighbours do not count
    assert float(clashes(ca, torch.ones(1, 4))) == pytest.approx(1, rel=1e-5)
    ca.requires_grad_(True)
    clashes(ca, torch.ones(1, 4)).sum().backward()
    assert ca.grad is not None and bool(ca.grad.isfinite().all())
    assert float(ca.grad[0, 0, 1]) == pytest.approx(2 * 1.0, rel=1e-5)  # towards less: away from the other


def test_the_losses_of_our_own_count_below_a_quarter_only_and_not_by_default() -> None:
    sde, generator = process(), torch.Generator().manual_seed(0)
    clean = fields_of([chain(9)] * 2)
    t = torch.tensor([0.1, 0.4])
    noisy = perturbed(sde, clean, t, generator=generator)
    guess = Frames(noisy["rotations"], noisy["translations"], clean["psi"])
    guess.translations[:, 5] = guess.translations[:, 0] + 0.1  # 1.7 Å between two CA
    plain = losses(sde, clean, noisy, guess, t)
    more = losses(sde, clean, noisy, guess, t, chain_weight=2.0, clash_weight=3.0)
    assert plain.chain.tolist() == plain.clash.tolist() == [0, 0]
    assert more.chain[0] > 0 and more.clash[0] > 1 and more.chain[1] == more.clash[1] == 0
    assert torch.allclose(more.total, plain.total + 2 * more.chain + 3 * more.clash)


def test_the_learning_rate_rises_and_cools_down() -> None:
    module = DenoiserModule(
        Denoiser(Size.named("tiny")), Batches([Chain("helix", chain(9), 0)]), warmup=10, steps=100, cooldown=20
    )
    assert [module.rate(step) for step in (0, 9, 50, 80, 90, 100)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0])
