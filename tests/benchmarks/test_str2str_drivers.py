"""The drivers about conformations on made-up chains, reduced."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mogen.domain.backbone import Backbone, Residues, from_torsions, write_backbones
from mogen.errors import DataError
from samplers.str2str import Str2StrSampler

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
METHODS = ["model", "torsion_noise", "elastic_network", "torsion_noise_mended"]
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="experiments/ is not beside tests/")


def chain(n: int = 12, psi: float = -45.0) -> Backbone:
    """A helix of ideal bonds; another psi (degrees) is another conformation."""
    angles = (torch.full((n,), math.radians(angle)) for angle in (-60.0, psi))
    return from_torsions(*angles, Residues.numbered("ACDEFGHIKLMNPQRSTVWY"[:n]))


@pytest.fixture
def model(tmp_path) -> str:
    sampler = Str2StrSampler(size="tiny")
    sampler.network = sampler.build()
    sampler.save(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def archive(tmp_path) -> str:
    """Two clusters with two conformations each, as the archive of backbones has them."""
    items = [chain(12), chain(12, 0.0), chain(14), chain(14, 120.0)]
    atoms = np.concatenate([(item.coordinates.double() * 1000).round().int().numpy() for item in items])
    np.savez(
        tmp_path / "pairs.npz",
        name=np.array(["a1", "b1", "a2", "b2"]),
        sequence=np.array([item.sequence for item in items]),
        cluster=np.array([1, 1, 2, 2]),
        offset=np.array([0, 12, 24, 38, 52]),
        coords_milliA=atoms,
    )
    return str(tmp_path / "pairs.npz")


def rows_of(name: str, arguments: list[str], tmp_path: Path, monkeypatch) -> dict:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = __import__(name)
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--json", str(tmp_path / "rows.json")])
    module.main()
    return json.loads((tmp_path / "rows.json").read_text())


def test_steering_against_everything_else(tmp_path, model, archive, monkeypatch):
    options = [
        "--model",
        model,
        "--data",
        archive,
        "--rounds",
        "1",
        "--groups",
        "2",
        "--particles",
        "2",
        "--steps",
        "2",
    ]
    content = rows_of("str2str_steering", options, tmp_path, monkeypatch)
    methods = [
        "steered",
        "input_structure",
        "best_of_n",
        "noise_sweep",
        "noise_nsga2",
        "torsion_noise",
        "elastic_modes",
    ]
    assert [row["method"] for row in content["rows"]] == methods * 2
    for start in (0, 7):
        steered, _, best, sweep, nsga2, torsion, elastic = content["rows"][start : start + 7]
        assert best["network_evaluations"] >= steered["network_evaluations"] > 0 == torsion["network_evaluations"]
        assert sweep["network_evaluations"] >= steered["network_evaluations"] <= nsga2["network_evaluations"]
        assert best["conformations"] == torsion["conformations"] == elastic["conformations"]
        assert 0 <= steered["hypervolume"] <= steered["hypervolume_with_input"] <= 1
    assert content["rows"][1]["hypervolume"] == pytest.approx(0.5, abs=1e-3)  # (1, 1/2): the input is state A
    assert [test["against"] for test in content["tests"]] == methods[1:] * 2
    assert all(0 < test["p"] <= 1 and test["pairs"] == 2 for test in content["tests"])


def test_conformations_and_pairs_against_everything_else(tmp_path, model, archive, monkeypatch):
    (tmp_path / "in").mkdir()
    for place, psi in enumerate((-45.0, -20.0)):
        write_backbones(tmp_path / "in" / f"p{place}.pdb", [chain(12, psi)])
    options = ["--inputs", str(tmp_path / "in"), "--model", model, "--starts", "0.03", "-n", "4", "--steps", "2"]
    options += ["--repair", "0.5"]
    content = rows_of("str2str_conformations", [*options, "--released", "--pairs", archive], tmp_path, monkeypatch)
    assert [row["method"] for row in content["rows"]] == ["input", *METHODS] * 2
    model_row, noise, network, mended = content["rows"][1:5]
    assert mended["rmsd_to_input"] == pytest.approx(model_row["rmsd_to_input"], rel=0.3)
    assert mended["val_ca"] >= noise["val_ca"]
    assert noise["rmsd_to_input"] == pytest.approx(model_row["rmsd_to_input"], rel=1e-3)
    assert network["rmsd_to_input"] == pytest.approx(model_row["rmsd_to_input"], rel=1e-3)
    assert model_row["relaxed_peptide_above_1_4"] <= model_row["peptide_above_1_4"]
    assert model_row["relaxed_largest_move"] < 0.3
    assert [row["method"] for row in content["released"]] == ["ours", "released"] * 2
    assert [row["evaluations"] for row in content["released"]] == [6, 31] * 2  # 1 + 2 * 2 + 1, 1 + int(1000 T)
    assert content["released_tests"][0]["evaluations_released"] == 31
    assert [row["method"] for row in content["pairs"]] == ["input", *METHODS] * 2
    first = content["pairs"][0]
    assert first["tm_ens"] == pytest.approx((1 + first["tm_to_other"]) / 2, abs=1e-6)
    assert {test["figure"] for test in content["pair_tests"]} == {"tm_ens", "rmsd_to_other"}


def test_speed_beside_plain_products(tmp_path, monkeypatch):
    options = ["--size", "tiny", "--shapes", "2x9", "1x70", "--repeats", "1"]
    rows = rows_of("str2str_speed", options, tmp_path, monkeypatch)
    for row, pairs in zip(rows, (2 * 81, 70 * 70), strict=True):
        assert row["ours"]["largest_deviation_angstrom"] < 1e-3 < row["moved_angstrom"]
        assert 0 < row["bf16"]["mean_deviation_angstrom"] < 0.2
        transition = 2 * pairs * (2 * 96 * 32 + 96 * 96 + 32 * 32) / 1e9  # of the only block that has one
        assert row["gflop_per_structure"] * int(row["shape"][0]) > transition - 0.01


def test_our_weights_have_one_place_each_in_the_public_network(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from str2str_public import published_state

    network = Str2StrSampler(size="tiny").build()
    state = published_state(network)
    assert len(state) == len(network.state_dict()) and not any(name.startswith("blocks") for name in state)
    assert sum(value.numel() for value in state.values()) == sum(p.numel() for p in network.parameters())
    assert {name.split(".")[0] for name in state} == {"embedder", "translator"}
    ours, theirs = network.blocks[0].attention.q_points.weight, state["translator.trunk.ipa_0.linear_q_points.weight"]
    points = len(ours) // 3
    assert torch.equal(theirs[points + 5], ours[3 * 5 + 1])  # y of the sixth point


def test_a_folder_that_is_no_checkout_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from str2str_public import public_network

    with pytest.raises(DataError, match="expected a checkout of the public Str2Str"):
        public_network(tmp_path, Str2StrSampler(size="tiny").build())
