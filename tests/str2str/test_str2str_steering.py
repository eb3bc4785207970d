"""Gradients on predictions, particles, and both through the sampler and `mogen run`'s way."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, atoms_of, read_backbone, write_backbones
from mogen.domain.conformation import rmsd
from mogen.errors import ConfigError
from mogen.objective import DifferentiableObjective, ObjectiveSet, objectives_behind
from mogen.oracle import Ledger, Oracle
from objectives.structure import EndToEnd, RadiusOfGyration, RmsdTo, SurfaceArea, ValidBackbone
from samplers.diffusion import so3
from samplers.str2str import Frames, Str2StrSampler
from samplers.str2str.process import NM, PredictedScore, fields_of, process
from samplers.str2str.protocol import Protocol, backbones_of, denoised, grouped
from samplers.str2str.record import Record
from samplers.str2str.steering import (
    CoordinateGuidance,
    PushedScore,
    Steering,
    breaks,
    carried,
    groups_of,
    steered,
    worth_of,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chain(n: int = 12, bend: float = 100.0) -> Backbone:
    """A helix of ideal residues; another angle per residue is another conformation."""
    turn = torch.arange(n) * math.radians(bend)
    spin = so3.exp(torch.stack((torch.zeros(n), torch.zeros(n), turn), -1)) @ so3.exp(torch.tensor([0.4, 0.9, -0.3]))
    origins = torch.stack((2.3 * turn.cos(), 2.3 * turn.sin(), 1.5 * torch.arange(n)), -1)
    atoms = atoms_of(spin, origins, torch.tensor([0.6, 0.8]).expand(n, 2))[:, :4]
    return Backbone.of(atoms, Residues.numbered("ACDEFGHIKLMNPQRSTVWY"[:n]))


def itself(fields, t) -> Frames:
    """A denoiser that believes what it sees, but for the shrinking of translations."""
    scale = process().sdes["translations"].marginal(t).scale
    return Frames(fields["rotations"], fields["translations"] / scale[:, None, None], fields["psi"])


@pytest.fixture
def ends(tmp_path) -> tuple[str, str]:
    write_backbones(tmp_path / "a.pdb", [chain()])
    write_backbones(tmp_path / "b.pdb", [chain(bend=60.0)])
    return str(tmp_path / "a.pdb"), str(tmp_path / "b.pdb")


def two(ends) -> ObjectiveSet:
    return ObjectiveSet([RmsdTo(reference=path, name=name) for path, name in zip(ends, "ab", strict=True)])


def test_a_push_moves_predictions_by_so_many_angstrom_towards_what_is_preferred(ends):
    backbone, sde = chain(), process()
    group = torch.tensor([0, 1])
    clean = grouped(fields_of([backbone] * 2), group)
    other = RmsdTo(reference=ends[1])
    size = RadiusOfGyration(worst=20.0, best=0.0)
    preference = torch.eye(2)
    guide = CoordinateGuidance([other, size], preference, Steering(push=0.1, longest=1.0))
    score = guide.tilt(sde, PredictedScore(sde, itself, self_conditioning=False))
    assert isinstance(score, PushedScore)
    t = torch.tensor([0.1, 0.1])
    plain, pushed = itself(clean, t), score.clean(clean, t)
    scale, std = sde.sdes["translations"].marginal(t)
    shift = (pushed.translations - plain.translations) / NM
    assert shift.square().sum(-1).mean(1).sqrt().tolist() == pytest.approx((0.1 * std / scale / NM).tolist(), rel=1e-3)
    before, after = (
        backbones_of(backbone, {**clean, "rotations": item.rotations, "translations": item.translations})
        for item in (plain, pushed)
    )
    assert float(rmsd(after[0].ca, read_backbone(ends[1]).ca)) < float(rmsd(before[0].ca, read_backbone(ends[1]).ca))
    assert float(size.evaluate(after)[1]) < float(size.evaluate(before)[1]) - 0.1
    assert guide.gradients == 4


def test_nothing_is_pushed_near_the_end_nor_beyond_the_best(ends):
    sde = process()
    clean = grouped(fields_of([chain()]), torch.zeros(1, dtype=torch.long))
    for objective, t in ((RmsdTo(reference=ends[1]), 0.05), (EndToEnd(worst=0, best=1.0), 0.3)):
        guide = CoordinateGuidance([objective], torch.ones(1, 1), Steering(end=0.05))
        score = guide.tilt(sde, PredictedScore(sde, itself, self_conditioning=False))
        time = torch.tensor([t])
        assert torch.equal(score.clean(clean, time).translations, itself(clean, time).translations)


def test_frames_turn_with_their_neighbourhood():
    clean = fields_of([chain()])
    before = Frames(clean["rotations"], clean["translations"], clean["psi"])
    turn = so3.exp(torch.tensor([0.3, -1.0, 0.5]))
    after = before._replace(translations=before.translations @ turn.T + 0.3)
    made = carried(clean, before, after)
    assert torch.allclose(made.rotations, turn @ before.rotations, atol=1e-4)
    assert torch.equal(made.translations, after.translations)
    half = before.translations.clone()
    half[:, 6:] = (half[:, 6:] - half[:, 6:7]) @ turn.T + half[:, 6:7]
    bent = carried(clean, before, before._replace(translations=half)).rotations
    assert torch.allclose(bent[:, :4], before.rotations[:, :4], atol=1e-4)
    assert torch.allclose(bent[:, 8:], (turn @ before.rotations)[:, 8:], atol=1e-4)


def test_what_is_fixed_is_never_pushed(ends):
    sde = process()
    clean = grouped(fields_of([chain()], [[0, 1, 2]]), torch.zeros(1, dtype=torch.long))
    guide = CoordinateGuidance([RmsdTo(reference=ends[1])], torch.ones(1, 1), Steering())
    score = guide.tilt(sde, PredictedScore(sde, itself, self_conditioning=False))
    t = torch.tensor([0.2])
    moved = score.clean(clean, t).translations != itself(clean, t).translations
    assert not bool(moved[:, :3].any()) and bool(moved[:, 3:].any())


def test_repair_closes_a_bond_and_parts_a_clash():
    atoms = chain().coordinates.clone()
    atoms[6:] += 1.5 * torch.tensor([0.0, 0.0, 1.0])
    atoms[0] += atoms[4, 1] - atoms[0, 1] + torch.tensor([2.5, 0, 0])
    sde, clean = process(), grouped(fields_of([chain().moved(atoms)]), torch.zeros(1, dtype=torch.long))
    guide = CoordinateGuidance([None], torch.ones(1, 1), Steering(repair=0.3))
    frames = Frames(clean["rotations"], clean["translations"], clean["psi"])
    losses = []
    for _ in range(15):
        losses.append(float(breaks(atoms_of(frames.rotations, frames.translations / NM, frames.psi), clean)))
        frames = guide.pushed(sde, clean, frames, torch.tensor([0.02]))
    assert losses[0] > 1 and losses[-1] < 0.1 * losses[0]
    assert float(breaks(chain(4).coordinates[None], fields_of([chain(4)]))) == pytest.approx(
        float(breaks(atoms_of(*by_hand(chain(4))), fields_of([chain(4)]))), abs=0.05
    )


def by_hand(backbone: Backbone) -> tuple:
    fields = fields_of([backbone])
    return fields["rotations"], fields["translations"] / NM, fields["psi"]


def test_gradients_and_particles_reach_more_of_what_each_group_wants(ends):
    backbone = chain()
    objectives = two(ends)
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    group = groups_of(2, 8)
    assert group.tolist() == [0] * 8 + [1] * 8
    clean = grouped(fields_of([backbone] * 16), group)
    protocol = Protocol((0.15,), steps=8, method="euler", self_conditioning=False)

    from mogen.preference import WeightedSum

    means = {}
    for name, options in (
        ("blind", Steering(push=0.0, looks=0)),
        ("push", Steering(push=0.3, looks=0)),
        ("particles", Steering(particles=8, push=0.0, looks=3, strength=100)),
    ):
        worth = worth_of(list(objectives.objectives), WeightedSum(), preference)
        guide = steered(list(objectives.objectives), preference, worth, options, protocol.steps)
        ended, evaluations = denoised(itself, clean, 0.15, protocol, guidance=guide, generator=seeded())
        assert evaluations == protocol.steps + 1 + (2 if name == "particles" else 0)
        raw = objectives(backbones_of(backbone, ended)).raw
        means[name] = (float(raw[:8, 0].mean()), float(raw[8:, 1].mean()))
    for name in ("push", "particles"):
        assert means[name][0] < means["blind"][0] and means[name][1] < means["blind"][1], means


def tiny(path: str, **options) -> Str2StrSampler:
    settings = {"protocol": Protocol((0.1, 0.2), steps=2, method="euler"), **options}
    sampler = Str2StrSampler(input=path, size="tiny", **settings)
    sampler.network = sampler.build()
    return sampler


def test_fit_asks_for_finished_conformations_only_where_all_have_gradients(tmp_path, ends):
    objectives = ObjectiveSet(two(ends).objectives, [ValidBackbone(clash=0.1, bond=50, peptide=50)])
    sampler = tiny(ends[0], steering=Steering(particles=2, groups=2, looks=1))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        oracle = Oracle(objectives, ledger, budget=12)
        assert objectives_behind(oracle) == objectives.objectives
        sampler.fit(oracle, m=2, generator=seeded())
        assert oracle.asked == 12 and sampler.record is not None and 0 < len(sampler.record) <= 12
    # 4 rounds of 4 (the last is beyond the budget), 2 steps, the first look, the end and self-conditioning
    assert sampler.spent == 4 * 4 * 5 and sampler.gradients > 0
    sampler.save(tmp_path / "model")
    again = Str2StrSampler.load(tmp_path / "model")
    assert again.m == 2 and again.record is not None and again.record.backbones == sampler.record.backbones
    assert torch.equal(again.record.utility, sampler.record.utility) and again.steering == sampler.steering
    wish = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    one, two_ = (item.sample(wish, generator=seeded(1)).candidates for item in (sampler, again))
    assert one == two_ and len(one) == 3
    assert all(item not in sampler.record.backbones for item in one)


def test_without_gradients_predictions_are_measured_and_particles_steer(tmp_path, ends):
    objectives = ObjectiveSet([RadiusOfGyration(), SurfaceArea(points=20)])
    assert not isinstance(objectives.objectives[1], DifferentiableObjective)
    sampler = tiny(ends[0], steering=Steering(particles=2, groups=2, looks=1, push=0.0))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        oracle = Oracle(objectives, ledger, budget=16)
        sampler.fit(oracle, m=2, generator=seeded())
        assert oracle.asked == 16
    # an untrained network believes what it sees: the last predictions are the conformations, so a round asks for 4
    assert sampler.spent == 4 * 4 * 5


def test_a_record_keeps_what_is_not_dominated_and_finds_the_best(tmp_path):
    items = [chain(bend=angle) for angle in (100.0, 90.0, 80.0)]
    objectives = ObjectiveSet([EndToEnd(worst=0, best=100), RadiusOfGyration(worst=0, best=100, name="size")])
    record = Record([], torch.zeros(0, 2))
    record.add(items, objectives.evaluation(torch.tensor([[10.0, 90.0], [90.0, 10.0], [9.0, 89.0]])))
    assert record.backbones == items[:2]
    from mogen.preference import WeightedSum

    assert record.best(WeightedSum(), torch.tensor([[1.0, 0.0], [0.0, 1.0]])) == [1, 0]
    record.save(tmp_path)
    again = Record.load(tmp_path)
    assert again is not None and again.backbones == items[:2] and Record.load(tmp_path / "none") is None


@pytest.mark.parametrize("wrong", [{"particles": 0}, {"push": -1.0}, {"near": 0.0}, {"threshold": float("nan")}])
def test_settings_out_of_range_are_one_sentence(wrong):
    with pytest.raises(ConfigError, match=r"expected .* in steering"):
        Steering(**wrong)


def test_steering_needs_predictions(ends):
    guide = CoordinateGuidance([None], torch.ones(1, 1), Steering())
    with pytest.raises(ConfigError, match="predicts clean frames"):
        guide.tilt(process(), lambda fields, t: fields)
    assert Path(ends[0]).is_file()
