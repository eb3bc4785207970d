"""Noise to an intermediate time and back: exact where the answer is known, and what each option promises."""

from __future__ import annotations

import math

import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, atoms_of
from mogen.errors import ConfigError, RunError
from samplers.diffusion import integrate, so3
from samplers.diffusion.product import rows
from samplers.str2str import Denoiser, Frames, Size, Str2StrSampler
from samplers.str2str.process import (
    EndsAtPrediction,
    PredictedScore,
    atoms_of_fields,
    centred,
    fields_of,
    grid_of,
    implied_score,
    network_prediction,
    perturbed,
    process,
    solver_of,
)
from samplers.str2str.sampler import STARTS, Protocol, conformations
from samplers.str2str.steering import breaks

METHODS = ("euler", "heun", "dpm", "sde", "stochastic_heun")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chain(n: int = 12) -> Backbone:
    """An ideal helix: 100 degrees and 1.5 Å a residue."""
    turn = torch.arange(n) * math.radians(100)
    z = so3.exp(torch.stack((torch.zeros(n), torch.zeros(n), turn), -1))
    origins = torch.stack((2.3 * turn.cos(), 2.3 * turn.sin(), 1.5 * torch.arange(n)), -1)
    tilt = so3.exp(torch.tensor([0.4, 0.9, -0.3]))
    atoms = atoms_of(z @ tilt, origins, torch.tensor([0.6, 0.8]).expand(n, 2))[:, :4]
    return Backbone.of(atoms + torch.tensor([10.0, -20, 30]), Residues.numbered("ACDEFGHIKLMNPQRSTVWY"[:n]))


def spread_after(
    method: str, schedule: str, start: float, width: float, steps: int = 60, b: int = 20
) -> tuple[float, float]:
    """Mean and standard deviation of 201 b Gaussian coordinates after noise and back with the exact denoiser (nm)."""
    sde, r = process(), 67

    x_0 = 0.2 + width * torch.randn(b, r, 3, generator=seeded(1))
    clean = {
        "translations": x_0,
        "rotations": torch.eye(3).expand(b, r, 3, 3).contiguous(),
        "exists": torch.ones(b, r, dtype=torch.bool),
        "moves": torch.ones(b, r, dtype=torch.bool),
        "positions": torch.arange(r).expand(b, r),
        "seen": torch.zeros(b, r, 3),
        "psi": torch.tensor([0.0, 1.0]).expand(b, r, 2),
    }

    def predict(fields, t):
        scale, std = (part[:, None, None] for part in sde.sdes["translations"].marginal(t))
        gain = scale * width**2 / (scale**2 * width**2 + std**2)
        expected = 0.2 + gain * (fields["translations"] - scale * 0.2)
        return Frames(clean["rotations"], expected, fields["psi"])

    noisy = perturbed(sde, clean, torch.full((b,), start), generator=seeded(2))
    score = PredictedScore(sde, predict)
    grid = grid_of(schedule, start, steps)
    solver = EndsAtPrediction(solver_of(method, schedule, start, 1.0), score)
    found = integrate(sde, score, solver, noisy, grid, generator=seeded(3))["translations"]
    return float(found.mean()), float(found.std())


@pytest.mark.parametrize(
    "method, steps", [("euler", 200), ("heun", 40), ("dpm", 40), ("sde", 200), ("stochastic_heun", 120)]
)
@pytest.mark.parametrize("start", [0.25, 0.6])
def test_the_exact_schedule_gives_a_gaussian_back(method, steps, start):
    width = 0.5
    mean, spread = spread_after(method, "exact", start, width, steps)
    error = width / math.sqrt(4_020)
    assert mean == pytest.approx(0.2, abs=5 * error)
    assert spread == pytest.approx(width, rel=0.05)


def test_the_released_schedule_loses_the_spread():
    exact = spread_after("euler", "exact", 0.25, 0.15, 249, b=10)[1]
    released = spread_after("euler", "str2str_released", 0.25, 0.15, b=10)[1]
    assert exact == pytest.approx(0.15 * 0.96, rel=0.05)
    assert released < 0.25 * exact


def test_the_score_of_the_true_structure_is_the_score_of_the_noise():
    sde, clean = process(), fields_of([chain(), chain(9)])
    t = torch.tensor([0.2, 0.5])
    made = sde.perturb(clean, t, generator=seeded())
    truth = Frames(clean["rotations"], clean["translations"], clean["psi"])
    found = implied_score(sde, made.fields, truth, t)
    there = clean["exists"][..., None]
    for name, allowed in (("translations", 1e-3), ("rotations", 2e-2)):
        assert float(((found[name] - made.score[name]) * there).abs().max()) < allowed


def tiny(seed: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    net = Denoiser(Size(16, 8, hidden=4, heads=2, query_points=2, value_points=2, blocks=1, skip=8, layers=1))
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    return net.eval().requires_grad_(False)


def drawn(method: str = "euler", n: int = 3, start: float = 0.3, fixed=(), seed: int = 0, **options) -> list[Backbone]:
    protocol = Protocol(**({"starts": (start,), "method": method, "steps": 4} | options))
    predict = network_prediction(tiny())
    return conformations(predict, chain(), start, n, protocol, fixed=fixed, generator=seeded(seed))[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_finite_l_chains_near_the_input_and_repeats_itself(method):
    first, second = drawn(method), drawn(method)
    assert first == second and len(set(first)) == 3 and first != drawn(method, seed=1)
    for item in first:
        assert item.residues == chain().residues
        away = (item.ca - chain().ca).norm(dim=-1)
        assert float(away.min()) > 1e-3 and float(away.max()) < 60
        assert torch.allclose(item.ca.mean(0), chain().ca.mean(0), atol=2e-3)


@pytest.mark.parametrize("method, schedule", [(name, "exact") for name in METHODS] + [("euler", "str2str_released")])
def test_fixed_residues_keep_their_coordinates_bit_for_bit(method, schedule):
    for item in drawn(method, fixed=(3, 4, 5, 11), schedule=schedule):
        held = torch.tensor([3, 4, 5, 11])
        assert torch.equal(item.coordinates[held], chain().coordinates[held])
        assert float((item.coordinates[:3] - chain().coordinates[:3]).abs().min()) > 0


def test_a_perfect_denoiser_gives_the_input_back_from_any_time():
    clean = fields_of([chain()])
    frames = Frames(clean["rotations"], clean["translations"], clean["psi"])

    def predict(fields, t):
        n = len(t)
        return Frames(*(part.expand(n, *part.shape[1:]) for part in frames))

    for start in (0.05, 0.5, 1.0):
        protocol = Protocol(starts=(start,), steps=5, method="euler")
        for item in conformations(predict, chain(), start, 2, protocol, generator=seeded())[0]:
            assert float((item.coordinates[:, :3] - chain().coordinates[:, :3]).abs().max()) < 2e-3


def test_more_noise_goes_further_and_the_least_noise_nearly_nowhere():
    torch.manual_seed(0)
    still = Denoiser(Size(16, 8, hidden=4, heads=2, query_points=2, value_points=2, blocks=1, skip=8, layers=1))
    predict = network_prediction(still.requires_grad_(False))  # a new network predicts what it is given
    away = []
    for start in (0.0101, 0.1, 0.3, 0.6):
        protocol = Protocol(starts=(start,), steps=4, method="euler")
        found = conformations(predict, chain(), start, 4, protocol, generator=seeded())[0]
        away.append(sum(float((item.ca - chain().ca).square().sum(-1).mean().sqrt()) for item in found) / 4)
    assert away[0] < 1.2 and away == sorted(away)


def test_plain_generation_does_not_look_at_the_input():
    other = chain().moved(chain().coordinates * 1.5)
    protocol = Protocol(starts=(1.0,), steps=3, is_prior=True)
    predict = network_prediction(tiny())
    one, two = (conformations(predict, item, 1.0, 2, protocol, generator=seeded())[0] for item in (chain(), other))
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a.ca - a.ca.mean(0), b.ca - b.ca.mean(0), atol=5e-3)


def test_the_centre_is_the_inputs_and_nothing_is_moved_where_something_is_fixed():
    fields = fields_of([chain(), chain(9)], [(), (1,)])
    shifted = fields["translations"] + 3.0
    found = centred(fields, shifted)
    assert torch.allclose(found[0], fields["translations"][0], atol=1e-5) and torch.equal(found[1], shifted[1])


def test_what_was_seen_is_remembered_in_place_and_follows_resampling():
    fields = fields_of([chain(), chain()])
    score = PredictedScore(
        process(), lambda f, t: Frames(f["rotations"], f["translations"] + t[:, None, None], f["psi"])
    )
    score(fields, torch.tensor([0.2, 0.4]))
    assert torch.allclose(fields["seen"][1] - fields["seen"][0], torch.tensor(0.2))
    chosen = rows(fields, torch.tensor([1, 1]))
    assert torch.equal(chosen["seen"][0], fields["seen"][1]) and score.evaluations == 1


def test_evaluations_are_counted():
    protocol = Protocol(starts=(0.3,), steps=5, method="heun")
    _, count = conformations(network_prediction(tiny()), chain(), 0.3, 2, protocol, generator=seeded())
    assert count == 1 + 2 * 5 + 1  # one to see first, two a step, one for the end


def test_options_that_make_no_sense_are_one_sentence():
    for options in (
        {"method": "magic"},
        {"schedule": "slow"},
        {"schedule": "str2str_released", "method": "heun"},
        {"starts": ()},
        {"starts": (1.5,)},
        {"steps": 0},
        {"batch": 0},
        {"precision": "float16"},
        {"repair": -1.0},
    ):
        with pytest.raises(ConfigError):
            Protocol(**options)
    assert Protocol().starts == STARTS and len(STARTS) == 10


def sampler(tmp_path) -> Str2StrSampler:
    from mogen.domain.backbone import write_backbones

    write_backbones(tmp_path / "in.pdb", [chain()])
    made = Str2StrSampler(input=str(tmp_path / "in.pdb"), size="tiny", protocol=Protocol((0.2, 0.4), steps=2, batch=2))
    made.network = made.build().eval().requires_grad_(False)
    return made


def test_a_saved_sampler_draws_the_same_conformations(tmp_path):
    made = sampler(tmp_path)
    made.save(tmp_path / "model")
    again = Str2StrSampler.load(tmp_path / "model")
    asked = torch.zeros(5, 0)
    one, two = (item.sample(asked, generator=seeded()) for item in (made, again))
    assert one.candidates == two.candidates and len(one) == 5
    _, starts = made.conformations(chain(), 5, generator=seeded())
    assert starts == [0.2, 0.4, 0.2, 0.4, 0.2]


def test_repair_mends_what_is_used_on_the_way(tmp_path):
    made, left = sampler(tmp_path), {}  # an untrained network leaves the noise, and with it broken bonds, as it is
    for repair in (0.0, 1.0):
        made.protocol = Protocol((0.05,), steps=6, method="euler", repair=repair)
        found = fields_of(made.conformations(chain(), 4, generator=seeded())[0])
        left[repair] = breaks(atoms_of_fields(found), found)
    assert (left[1.0] < 0.5 * left[0.0]).all()


def test_bfloat16_is_an_option_that_stays_near_float32(tmp_path):
    made = sampler(tmp_path)
    with torch.no_grad():
        for parameter in made.network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02, generator=seeded(1))
    found = {}
    for precision in ("float32", "bf16"):
        made.protocol = Protocol((0.2,), steps=3, method="euler", precision=precision)
        found[precision] = torch.stack([b.ca for b in made.conformations(chain(), 4, generator=seeded())[0]])
    away = (found["bf16"] - found["float32"]).norm(dim=-1)
    moved = (found["float32"] - chain().ca).norm(dim=-1)
    assert 0 < float(away.mean()) < 0.1 * float(moved.mean())


def test_what_a_model_cannot_do_is_one_sentence(tmp_path):
    made = sampler(tmp_path)
    with pytest.raises(ConfigError, match="at most 512 residues"):
        longest = Backbone.of(torch.zeros(2000, 4, 3), Residues.numbered("A" * 2000))
        made.conformations(longest, 1)
    with pytest.raises(ConfigError, match="fixed residues from 0 to 11"):
        made.conformations(chain(), 1, fixed=[12])
    with pytest.raises(RunError, match="neither fitted nor loaded"):
        Str2StrSampler(size="tiny").conformations(chain(), 1)
    with pytest.raises(RunError, match=r"sampler\.yaml"):
        Str2StrSampler.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="input structure"):
        nothing = sampler(tmp_path)
        nothing.input = None
        nothing.sample(torch.zeros(1, 0))
