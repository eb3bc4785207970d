"""Training, importing, saving, sampling and steering of graph diffusion, with networks that are tiny."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mogen.cli.main import main
from mogen.domain.graph import Graph, MolecularGraphs, is_valid
from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, DataError, RunError
from mogen.objective import ObjectiveSet, objective
from mogen.oracle import Ledger, Oracle
from mogen.sampler import Sampler
from samplers.diffusion import VE, EulerMaruyama, Langevin, PredictorCorrector, times
from samplers.gdss.data import GraphBatches, buckets, training_graphs
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.sampler import GDSSSampler, Steering
from samplers.gdss.training import GraphTraining, Published, Transformer
from samplers.gdss.transformer import GraphTransformer

SMILES = ["CCO", "CCN", "CC(=O)O", "C1CC1", "CC#N", "OCCO", "NCCO", "CC(C)C", "COC", "CCC=O", "C1CCC1", "CNC"]
TINY = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "walks": 2, "hops": 2}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of small molecules, two of them broken, and an empty cache."""
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "some.smi"
    path.write_text("\n".join([*SMILES * 3, "C(", "CS"]) + "\n")
    return str(path)


def training(file: str, **options: Any) -> GraphTraining:
    settings = {"updates": 6, "batch": 8, "warmup": 0, "checkpoint_every": 3, "accelerator": "cpu", "steps": 6}
    settings["skip_broken"] = True
    return GraphTraining(file, Transformer(**TINY), atoms=["C", "N", "O"], **{**settings, **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hops": 0},
        {"hops": 3},
        {"walks": 0},
        {"is_self_conditioned": True},
        {"paths": 5},
        {"paths": 2, "is_self_conditioned": True},
    ],
)
def test_the_transformer_is_equivariant_symmetric_and_masked(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = GraphTransformer(3, 4, **TINY | options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    mask = (torch.arange(6) < torch.tensor([[6], [4]])).float()
    pair = (mask.unsqueeze(1) * mask.unsqueeze(2) * (1 - torch.eye(6))).unsqueeze(-1)
    adj = torch.randn(2, 6, 6, 4)
    fields = {
        "x": torch.randn(2, 6, 3) * mask.unsqueeze(-1),
        "adj": (adj + adj.transpose(1, 2)) * pair,
        "mask": mask,
    }
    last = torch.rand(2, 6, 6, 4)
    fields |= {"last_x": torch.rand(2, 6, 3), "last_adj": last + last.transpose(1, 2)}
    order = torch.randperm(6)
    moved = {
        "x": fields["x"][:, order],
        "adj": fields["adj"][:, order][:, :, order],
        "mask": mask[:, order],
        "last_x": fields["last_x"][:, order],
        "last_adj": fields["last_adj"][:, order][:, :, order],
    }
    t = torch.tensor([0.3, 0.7])
    with torch.no_grad():
        here, there, later = network(fields, t), network(moved, t), network(fields, t + 0.2)
        small = {"x": fields["x"][1:, :4], "adj": fields["adj"][1:, :4, :4], "mask": mask[1:, :4]}
        small |= {"last_x": fields["last_x"][1:, :4], "last_adj": fields["last_adj"][1:, :4, :4]}
        alone = network(small, t[1:])
        untold = network({**fields, "last_x": fields["last_x"] * 0, "last_adj": last * 0}, t)
        unsaid = network({name: fields[name] for name in ("x", "adj", "mask")}, t)
    assert torch.allclose(here["x"][:, order], there["x"], atol=1e-5)
    assert torch.allclose(here["adj"][:, order][:, :, order], there["adj"], atol=1e-5)
    assert torch.allclose(here["adj"], here["adj"].transpose(1, 2), atol=1e-6)
    assert (here["adj"] * (1 - pair)).abs().max() == 0
    assert torch.allclose(here["adj"].sum(-1), pair.squeeze(-1), atol=1e-5)
    assert not torch.allclose(here["x"], later["x"], atol=1e-4)
    assert torch.allclose(alone["x"][0], here["x"][1, :4], atol=1e-5)
    assert torch.equal(untold["x"], unsaid["x"])
    assert torch.equal(here["x"], unsaid["x"]) == (not options.get("is_self_conditioned", False))


def test_a_self_conditioned_model_is_told_what_it_says_of_half_the_graphs(file: str, tmp_path: Path) -> None:
    graphs, kind, _ = training_graphs(file, ["C", "N", "O"], None, is_lenient=True)
    kind = GraphKind(kind.types, kind.features, kind.max_nodes, kind.sizes, "classes")
    torch.manual_seed(0)
    network = Transformer(**TINY, is_self_conditioned=True).build(kind)
    model = GraphModel(network, kind, VE(), VE(), "data", spacing=2.0)
    clean = GraphBatches(graphs, kind, 36).at(0)
    t = torch.linspace(0.05, 1, 36)
    generator = torch.Generator().manual_seed(0)
    noisy = model.process.perturb(clean, t, generator=generator).fields
    told = model.told_itself(noisy, t, generator)
    assert told["last_x"].requires_grad is False
    said = network(noisy, t)
    for name in ("x", "adj"):
        heard = told[f"last_{name}"].flatten(1).abs().sum(1) > 0
        assert 6 < int(heard.sum()) < 30
        assert torch.allclose(told[f"last_{name}"][heard], said[name][heard], atol=1e-6)
    model.eval()
    again = GraphModel.load(tmp_path, model.save(tmp_path))
    assert again.is_self_conditioned and again.spacing == 2.0
    assert torch.equal(again.grid(5), model.grid(5))
    old = {name: value for name, value in model.facts().items() if name != "spacing"}
    assert GraphModel.build(old).spacing == 1.0
    kept = tmp_path / "kept"
    GDSSSampler.of(model, EulerMaruyama(), 4).save(kept)
    sampler = GDSSSampler(model=str(kept), spacing=3.0)
    assert sampler.trained()[0].spacing == 3.0 and GDSSSampler(model=str(kept)).trained()[0].spacing == 2.0
    for wrong in (0.0, (4.0, 0.0), (1.0, 2.0, 3.0)):
        with pytest.raises(ConfigError, match="expected a spacing above 0"):
            GDSSSampler(spacing=wrong)  # type: ignore[arg-type]
    assert "in 4 steps, at evenly spaced numbers to the power 2\n" in (kept / "card.md").read_text(encoding="utf-8")
    uneven = GDSSSampler.of(GraphModel(network, kind, VE(), VE(), "data", spacing=(4.0, 16.0)), EulerMaruyama(), 4)
    uneven.save(kept)
    found = GDSSSampler(model=str(kept)).trained()[0]
    assert found.spacing == (4.0, 16.0) and torch.equal(found.grid(5), times(5, end=1e-3, spacing=(4.0, 16.0)))
    assert "most of them at quantiles of Beta(4, 16)" in (kept / "card.md").read_text(encoding="utf-8")
    text = (kept / "sampler.yaml").read_text(encoding="utf-8")
    (kept / "sampler.yaml").write_text(text.replace("- 16.0", "- -1.0"), encoding="utf-8")
    with pytest.raises(RunError, match="expected a spacing above 0, or two numbers above 0, in a saved model"):
        GDSSSampler(model=str(kept))
    drawn = [
        made.draw(torch.tensor([4, 4]), EulerMaruyama(), made.grid(4), generator=torch.Generator().manual_seed(1))[0]
        for made in (model, again)
    ]
    assert torch.equal(drawn[0]["adj"], drawn[1]["adj"]) and "last_x" in drawn[0]


def test_a_perfect_prediction_of_classes_has_the_conditional_score() -> None:
    kind = GraphKind(("C", "N"), 2, 4, (0, 0, 0, 0, 1), "classes")
    clean = kind.fields(encode(["CNC=C"]).dense(2))

    class Oracle(torch.nn.Module):
        def forward(self, fields: Any, t: Any) -> Any:
            return {name: clean[name] for name in ("x", "adj")}

    model = GraphModel(Oracle(), kind, VE(), VE(), "data")
    t = torch.tensor([0.4])
    noisy = model.process.perturb(clean, t, generator=torch.Generator().manual_seed(0))
    found = model.score(noisy.fields, t)
    for name in ("x", "adj"):
        assert torch.allclose(found[name], noisy.score[name], atol=1e-4)
    assert float(sum(value.sum() for value in model_losses(model, clean, noisy, t))) < 1e-6


def model_losses(model: GraphModel, clean: Any, noisy: Any, t: Any) -> list[Any]:
    from samplers.diffusion import matching

    return list(matching(model.process, model.score(noisy.fields, t), noisy.score, t).values())


def encode(smiles: list[str]) -> Any:
    from mogen.domain.graph import encode_molecules

    return encode_molecules(smiles, ("C", "N"), 4)[0]


def test_buckets_hold_every_graph_once_and_batches_depend_on_the_step_alone(file: str) -> None:
    graphs, kind, left_out = training_graphs(file, ["C", "N", "O"], None, is_lenient=True)
    with pytest.raises(DataError, match=r"got 2 of 38 that do not .*row 36.*skip_broken"):
        training_graphs(file, ["C", "N", "O"], None)
    assert left_out == 2 and kind.max_nodes == 4 and sum(kind.sizes) == 36
    sizes = torch.randint(2, 40, (500,), generator=torch.Generator().manual_seed(0))
    found = buckets(sizes, 32)
    assert torch.cat([rows for _, rows in found]).sort().values.tolist() == list(range(500))
    assert all(int(sizes[rows].max()) == width for width, rows in found)
    batches = GraphBatches(graphs, kind, 8, seed=1)
    again = GraphBatches(graphs, kind, 8, seed=1)
    for step in (7, 0, 3):
        assert torch.equal(batches.at(step)["x"], again.at(step)["x"])
    seen = [len(batches.at(step)["x"]) for step in range(batches.per_epoch)]
    assert sum(seen) == 36 and max(seen) <= 8 and min(seen) >= 7  # none of the few that were left
    assert not torch.equal(batches.epoch(0)[0][1], batches.epoch(1)[0][1])


@pytest.mark.parametrize(
    "shape",
    [
        Transformer(**TINY),
        Transformer(**TINY, is_self_conditioned=True),
        Published(depth_x=1, hidden=8, depth_adj=2, attention=8),
    ],
)
def test_the_loss_falls_on_a_few_graphs(file: str, shape: Any) -> None:
    graphs, kind, _ = training_graphs(file, ["C", "N", "O"], None, is_lenient=True)
    kind = GraphKind(kind.types, kind.features, kind.max_nodes, kind.sizes, shape.encoding)
    torch.manual_seed(0)
    model = GraphModel(shape.build(kind), kind, VE(), VE(), shape.prediction)
    clean = GraphBatches(graphs, kind, 36).at(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    values = []
    for _ in range(60):
        t = torch.linspace(0.05, 1, 36)
        loss = sum(part.mean() for part in model.losses(clean, t, generator=torch.Generator().manual_seed(0)).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.75 * values[0]


@pytest.mark.parametrize("options", [{"optimizer": "adam"}, {"optimizer": "muon", "times": (2.0, 6.0)}])
def test_a_training_that_was_killed_ends_as_an_uninterrupted_one(
    options: dict[str, Any], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = training(file, **options).run(tmp_path / "whole", 3)
    at = GraphBatches.at

    def stop(self: GraphBatches, step: int) -> Any:
        if step == 4:
            raise OSError("killed")
        return at(self, step)

    monkeypatch.setattr(GraphBatches, "at", stop)
    with pytest.raises(OSError, match="killed"):
        training(file, **options).run(tmp_path / "cut", 3)
    monkeypatch.setattr(GraphBatches, "at", at)
    cut, _ = training(file, **options).run(tmp_path / "cut", 3)
    for one, two in zip(whole.state_dict().values(), cut.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    curves = [(tmp_path / name / "log" / "metrics.csv").read_text().splitlines() for name in ("whole", "cut")]
    assert len(curves[0]) == 7, "a header and six updates"
    assert [line.partition(",")[2] for line in curves[0]] == [line.partition(",")[2] for line in curves[1]]


def test_train_save_load_and_sample(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.yaml"
    shape = {"class_path": "samplers.gdss.training.Transformer", "init_args": TINY}
    options = {"data": file, "atoms": ["C", "N", "O"], "network": shape, "updates": 80, "batch": 36, "steps": 6}
    options |= {"learning_rate": 0.01, "warmup": 0, "skip_broken": True}
    given = {"class_path": "gdss", "init_args": {"training": {**options, "accelerator": "cpu"}}}
    config.write_text(json.dumps({"sampler": given, "out": str(tmp_path / "model")}))
    assert main(["train", str(config), "--sampler.init_args.training.updates", "80", "--print_config"]) == 0
    whole = capsys.readouterr().out
    assert "is_self_conditioned: " in whole and not (tmp_path / "model").exists()
    (tmp_path / "whole.yaml").write_text(whole)
    assert main(["train", str(config)]) == 0
    assert main(["train", str(config)]) == 2  # it is there already
    assert main(["train", str(tmp_path / "whole.yaml"), "--out", str(tmp_path / "again")]) == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("model", "again")]
    assert weights[0] == weights[1]
    assert main(["sample", str(tmp_path / "model"), "-n", "5", "--out", str(tmp_path / "five.csv")]) == 0
    assert len((tmp_path / "five.csv").read_text().splitlines()) == 6
    one, two = GDSSSampler.load(tmp_path / "model"), GDSSSampler.load(tmp_path / "model")
    drawn = [s.sample(torch.zeros(6, 0), generator=torch.Generator().manual_seed(1)).candidates for s in (one, two)]
    assert drawn[0] == drawn[1] and all(isinstance(item, Molecule) for item in drawn[0])
    other = one.sample(torch.zeros(6, 0), generator=torch.Generator().manual_seed(2)).candidates
    assert other != drawn[0]
    assert main(["sample", str(tmp_path / "model"), "--preference", "1,1"]) == 2


def test_published_settings_are_saved_and_read_back(tmp_path: Path) -> None:
    kind = GraphKind((), 5, 6, (0, 0, 0, 1, 1, 1, 1))
    model = GraphModel(Published(hidden=8, attention=8).build(kind), kind, VE(spread=1.0), VE(0.2, 0.8), "published")
    solver = PredictorCorrector(EulerMaruyama(), Langevin(0.05, 0.7, norms="batch"))
    GDSSSampler.of(model, solver, 3).save(tmp_path)
    again = GDSSSampler.load(tmp_path)
    found = again.trained()
    assert found[0].facts() == model.facts() and found[2] == 3
    assert isinstance(found[1], PredictorCorrector) and found[1].corrector.norms == "batch"
    graphs = again.sample(torch.zeros(4, 0), generator=torch.Generator().manual_seed(0)).candidates
    assert len(graphs) == 4 and all(isinstance(item, Graph) for item in graphs)
    with pytest.raises(ConfigError, match="plain graphs"):
        _ = again.environment


@objective(worst=0, best=1)
def oxygen(molecule: Molecule) -> float:
    """The share of oxygen."""
    return molecule.smiles.upper().count("O") / len(molecule.smiles)


@objective(worst=0, best=1)
def nitrogen(molecule: Molecule) -> float:
    """The share of nitrogen."""
    return molecule.smiles.upper().count("N") / len(molecule.smiles)


@pytest.mark.parametrize("trial", [None, 24])
def test_steering_asks_within_the_budget_and_moves_candidates_along_the_preference(
    trial: int | None, file: str, tmp_path: Path
) -> None:
    sampler: Sampler[Molecule] = GDSSSampler(
        training=training(file, updates=120, batch=36, learning_rate=1e-2, checkpoint_every=120),
        steps=10,
        steering=Steering(particles=16, round=32, looks=5, start=0.9, strength=40.0, oversample=8, trial=trial),
    )
    objectives: ObjectiveSet[Molecule] = ObjectiveSet([oxygen, nitrogen])
    ledger = Ledger(tmp_path / "ledger.sqlite")
    oracle: Oracle[Molecule] = Oracle(objectives, ledger, budget=60)
    sampler.fit(oracle, m=2, generator=torch.Generator().manual_seed(0), folder=tmp_path / "fit")
    assert oracle.asked == 60
    sampler.save(tmp_path / "model")
    loaded = GDSSSampler.load(tmp_path / "model")
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(6, 0)
    more = torch.zeros(2, dtype=torch.float64)
    for seed in range(12):
        samples = loaded.sample(preference, generator=torch.Generator().manual_seed(seed))
        assert len(samples) == 12
        utility = objectives(samples.candidates).utility
        more += (utility[:6].mean(0) - utility[6:].mean(0)) / 12
    assert more[0] > 0 and more[1] < 0
    card = loaded.card
    assert (
        0 < card["measured"] <= 60
        and card["looks"] > 0
        and 0 < card["effective_share"] <= 1
        and card["network_evaluations"] > 0
    )
    with pytest.raises(ConfigError, match="n x 2"):
        loaded.sample(torch.zeros(3, 0))
    ledger.close()


def test_after_the_trial_only_what_is_new_and_thought_best_of_its_group_is_measured(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler: GDSSSampler = GDSSSampler(
        training=training(file, updates=60, batch=36, learning_rate=1e-2, checkpoint_every=60),
        steps=10,
        steering=Steering(particles=4, round=8, looks=5, start=0.9, trial=20, oversample=4),
    )
    objectives: ObjectiveSet[Molecule] = ObjectiveSet([oxygen, nitrogen])
    asked: list[list[str]] = []
    wished: list[bool] = []
    begun: list[tuple[int, int]] = []
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        oracle: Oracle[Molecule] = Oracle(objectives, ledger, budget=50)

        def measure(candidates: Sequence[Molecule], *, preference: torch.Tensor | None = None) -> Any:
            asked.append([item.key for item in candidates])
            wished.append(preference is not None)
            return oracle(candidates, preference=preference)

        believed = sampler._ask_believed

        def watched(*arguments: Any) -> None:
            assert sampler.record is not None
            begun.append((len(asked), len(sampler.record)))
            believed(*arguments)

        monkeypatch.setattr(sampler, "_ask_believed", watched)
        sampler.fit(measure, m=2, generator=torch.Generator().manual_seed(0))
    assert len(begun) >= 2
    assert not any(wished[:2]) and wished[begun[0][0]], "the trial is of the model's own samples"
    first = wished.index(True)
    if first < begun[0][0]:  # predictions are measured after a round of samples that were all known
        assert set(asked[first - 1]) <= {key for part in asked[: first - 1] for key in part}
    for start, before in begun:
        assert before >= 20
        call, known = asked[start], {key for part in asked[:start] for key in part}
        assert len(call) <= 8, "as many of every group as it has places"
        assert not known & set(call) and len(set(call)) == len(call), "nothing is asked for twice"
    for (start, _), (end, _) in pairwise(begun):
        assert end == start + 1 or not asked[start], "no prediction on the way is measured, unless all was known"
    assert sampler.belief is not None
    for wrong in (0, 1):
        with pytest.raises(ConfigError, match="expected trial of at least 2"):
            Steering(trial=wrong)


def published_file(folder: Path, *, strange: bool = False) -> Path:
    """A checkpoint in the published form, with random weights."""
    x = {"model_type": "ScoreNetworkX", "max_feat_num": 3, "depth": 1, "nhid": 4}
    adj = {"model_type": "ScoreNetworkA", "max_feat_num": 3, "max_node_num": 4, "nhid": 4, "num_layers": 2}
    adj |= {"num_linears": 2, "c_init": 2, "c_hid": 2, "c_final": 2, "adim": 4, "num_heads": 2, "conv": "GCN"}
    generator = torch.Generator().manual_seed(0)

    def linear(name: str, d_in: int, d_out: int) -> dict[str, torch.Tensor]:
        return {
            f"{name}.weight": torch.randn(d_out, d_in, generator=generator),
            f"{name}.bias": torch.randn(d_out, generator=generator),
        }

    def convolution(name: str, d_in: int, d_out: int) -> dict[str, torch.Tensor]:
        made = linear(name, d_in, d_out)
        return {**made, f"{name}.weight": made[f"{name}.weight"].T.contiguous()}

    state_x = convolution("layers.0", 3, 4)
    for k, (a, b) in enumerate([(7, 14), (14, 14), (14, 3)]):
        state_x |= linear(f"final.linears.{k}", a, b)
    state_adj: dict[str, torch.Tensor] = {}
    for layer, d_in in enumerate([3, 4]):
        for c in range(2):
            for role in "qkv":
                state_adj |= convolution(f"layers.{layer}.attn.{c}.gnn_{role}", d_in, 4)
        for k, (a, b) in enumerate([(4, 4), (4, 2)]):
            state_adj |= linear(f"layers.{layer}.mlp.linears.{k}", a, b)
        for k, (a, b) in enumerate([(8, 4), (4, 4)]):
            state_adj |= linear(f"layers.{layer}.multi_channel.linears.{k}", a, b)
    for k, (a, b) in enumerate([(6, 12), (12, 12), (12, 1)]):
        state_adj |= linear(f"final.linears.{k}", a, b)
    sde = {"type": "VP", "beta_min": 0.1, "beta_max": 1.0}
    config = {"data": {"data": "ego_small", "max_node_num": 4}, "sde": {"x": sde, "adj": {**sde, "type": "VE"}}}
    content: dict[str, Any] = {
        "model_config": config,
        "params_x": x,
        "params_adj": adj,
        "x_state_dict": state_x,
        "adj_state_dict": state_adj,
    }
    if strange:
        content["other"] = Path("x")
    torch.save(content, folder / "model.pth")
    return folder / "model.pth"


def test_a_published_file_becomes_a_model_that_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graphs = [{"n": n, "edges": [[k, k + 1] for k in range(n - 1)]} for n in (2, 3, 4, 4, 3)]
    (tmp_path / "paths.json").write_text(json.dumps(graphs))
    file, out = published_file(tmp_path), tmp_path / "model"
    assert main(["import", "gdss", str(file), "--out", str(out), "--data", str(tmp_path / "paths.json")]) == 0
    sampler = GDSSSampler.load(out)
    model, solver, steps = sampler.trained()
    assert isinstance(solver, EulerMaruyama) and steps == 1000
    assert model.kind.sizes == (0, 0, 0, 2, 2)
    state = torch.load(file, weights_only=True)["adj_state_dict"]
    assert torch.equal(model.network.adj.layers[1].weight[1, :, 4:8], state["layers.1.attn.1.gnn_k.weight"])
    sampler.steps = 5
    assert len(sampler.sample(torch.zeros(3, 0), generator=torch.Generator().manual_seed(0))) == 3
    capsys.readouterr()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: published_file(folder, strange=True), "got the class pathlib"),
        (lambda folder: _written(folder, pickle.dumps({"a": 1})), "without params_x"),
        (lambda folder: _written(folder, b"PK\x03\x04 cut"), "got part of one"),
        (lambda folder: folder / "none.pth", "there is none"),
    ],
)
def test_other_files_are_one_sentence(
    tmp_path: Path, make: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "gdss", str(make(tmp_path)), "--out", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def _written(folder: Path, content: bytes) -> Path:
    (folder / "other.pth").write_bytes(content)
    return folder / "other.pth"


def test_labels_of_nodes_are_learned_and_drawn(tmp_path: Path) -> None:
    chain = {"n": 4, "edges": [[0, 1], [1, 2], [2, 3]], "node_labels": [3, 8, 8, 3]}  # ends 3, the middle 8
    (tmp_path / "chains.json").write_text(json.dumps([chain] * 20))

    def trained(folder: str, updates: int, has_labels: bool) -> GDSSSampler:
        training = GraphTraining(
            str(tmp_path / "chains.json"),
            Transformer(width=32, edge_width=16, depth=2, heads=4),
            updates=updates,
            batch=20,
            learning_rate=5e-3,
            warmup=0,
            accelerator="cpu",
            steps=40,
            has_labels=has_labels,
        )
        sampler: GDSSSampler = GDSSSampler(training=training)
        sampler.train(None, seed=0)
        sampler.save(tmp_path / folder)
        return GDSSSampler.load(tmp_path / folder)

    sampler = trained("labels", 400, True)
    drawn = sampler.sample(torch.zeros(40, 0), generator=torch.Generator().manual_seed(0)).candidates
    told = [pair for graph in drawn for pair in zip(graph.adjacency.sum(1), graph.labels, strict=True)]
    ends, inner = [b for a, b in told if a == 1], [b for a, b in told if a == 2]
    assert ends.count(3) > 0.65 * len(ends) > 10 and inner.count(8) > 0.65 * len(inner) > 10
    assert sampler.trained()[0].kind.labels == (3, 8)
    assert sampler.trained()[0].kind.fits(Graph.from_key("2:0-1;3,8"))
    assert not any(sampler.trained()[0].kind.fits(Graph.from_key(key)) for key in ("2:0-1", "2:0-1;3,4"))
    plain = (
        trained("degrees", 2, False).sample(torch.zeros(3, 0), generator=torch.Generator().manual_seed(0)).candidates
    )
    assert not any(graph.labels for graph in plain)


@pytest.mark.parametrize(
    ("lines", "settings", "words"),
    [
        (["CCO", "C1CC", "CN", "hello"], {}, ["2 of 4", "row 1", "skip_broken"]),
        (["CCO", "CS", "CN"], {"atoms": ["C", "N", "O"]}, ["1 of 3", "row 1", "S", "skip_broken"]),
        (["CCO", "CN", "CCCC=O"], {"max_nodes": 3}, ["1 of 3", "row 2", "3", "skip_broken"]),
        (["C(", "N("], {"skip_broken": True}, ["got none"]),
    ],
)
def test_molecules_that_do_not_fit_are_counted_and_refused_or_skipped(
    lines: list[str],
    settings: dict[str, Any],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my.smi").write_text("\n".join(lines) + "\n")
    shape = {"class_path": "samplers.gdss.training.Transformer", "init_args": TINY}
    training = {"data": str(tmp_path / "my.smi"), "network": shape, "updates": 2, "batch": 2, "accelerator": "cpu"}

    def trained(**more: Any) -> int:
        init = {"training": {**training, "steps": 3, **settings, **more}}
        config = {"sampler": {"class_path": "gdss", "init_args": init}, "out": str(tmp_path / "model")}
        (tmp_path / "my.yaml").write_text(json.dumps(config))
        return main(["train", str(tmp_path / "my.yaml")])

    assert trained() == 2
    said = capsys.readouterr().err.strip()
    assert all(word in said for word in words), said
    if "skip_broken" in settings:
        return
    assert trained(skip_broken=True) == 0
    assert f"left out {words[0].split()[0]} molecules" in capsys.readouterr().err
    assert "left out: " + words[0].split()[0] in (tmp_path / "model" / "card.md").read_text()


@pytest.mark.parametrize(("name", "part"), [("weights.safetensors", 2), ("sampler.yaml", 4), ("sampler.yaml", 30)])
def test_a_cut_model_is_one_sentence(name: str, part: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = GraphKind(("C", "N"), 2, 4, (0, 0, 1, 1, 1))
    model = GraphModel(Published(hidden=4, attention=4).build(kind), kind, VE(), VE(), "published")
    GDSSSampler.of(model, EulerMaruyama(), 2).save(tmp_path / "model")
    content = (tmp_path / "model" / name).read_bytes()
    (tmp_path / "model" / name).write_bytes(content[: len(content) // part])
    assert main(["sample", str(tmp_path / "model"), "-n", "2"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mogen: error: expected") and said.count("\n") == 1


def test_a_device_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    kind = GraphKind((), 3, 4, (0, 0, 1, 1, 1))
    model = GraphModel(Published(hidden=4, attention=4).build(kind), kind, VE(), VE(), "published")
    GDSSSampler.of(model, EulerMaruyama(), 2).save(tmp_path)
    for device in ("cuda:77", "abacus"):
        with pytest.raises(ConfigError, match=f"expected a device that is there, got '{device}'"):
            GDSSSampler(model=str(tmp_path), device=device)


def test_no_model_and_broken_models_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="without"):
        GDSSSampler().sample(torch.zeros(1, 0))
    with pytest.raises(RunError, match=r"sampler\.yaml"):
        GDSSSampler.load(tmp_path)
    for wrong in (
        {"updates": 0},
        {"least_time": 0.0},
        {"times": (0.0, 1.0)},
        {"times": (float("inf"), 1.0)},
        {"optimizer": "sgd"},
    ):
        with pytest.raises(ConfigError, match="expected"):
            GraphTraining(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "smallest"), [("gdss-qm9", 4), ("gdss-zinc250k", 12)])
def test_shipped_models_draw_valid_molecules_of_their_kind(name: str, smallest: int) -> None:
    sampler = GDSSSampler(model=name, steps=40)
    model = sampler.trained()[0]
    (fields,) = sampler.draw(24, generator=torch.Generator().manual_seed(0))
    graphs = model.kind.decode(fields)
    assert isinstance(graphs, MolecularGraphs) and int(is_valid(graphs, model.kind.types).sum()) >= 18
    made = sampler.candidates(fields)
    sizes = [item.mol.GetNumAtoms() for item in made if item is not None]
    assert len({item.key for item in made if item is not None}) >= 20
    assert smallest <= sum(sizes) / len(sizes) <= model.kind.max_nodes
