"""Learned guidance, cores and named models of graph diffusion, with networks that are tiny."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rdkit import Chem

from mogen.cli.main import main
from mogen.domain.graph import core_of
from mogen.domain.molecule import Molecule
from mogen.errors import CandidateError, ConfigError
from mogen.objective import ObjectiveSet, objective
from mogen.oracle import Ledger, Oracle
from mogen.preference import Tchebycheff, WeightedSum
from samplers.diffusion import VE, VP, DPMSolverPlusPlus
from samplers.gdss.learner import DOUBT, Conditioning, Predictor, size_weights
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.predictor import ValueModel, ValueNetwork
from samplers.gdss.sampler import GDSSSampler
from samplers.gdss.training import GraphTraining, Published, Transformer
from samplers.gdss.transformer import GraphTransformer

SMILES = ["CCO", "CCN", "CC(=O)O", "C1CC1", "CC#N", "OCCO", "NCCO", "CC(C)C", "COC", "CCC=O", "C1CCC1", "CNC", "NCCN"]
TINY = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "walks": 2}


@objective(worst=0, best=1)
def oxygen(molecule: Molecule) -> float:
    """The share of oxygen."""
    return molecule.smiles.upper().count("O") / len(molecule.smiles)


@objective(worst=0, best=1)
def nitrogen(molecule: Molecule) -> float:
    """The share of nitrogen."""
    return molecule.smiles.upper().count("N") / len(molecule.smiles)


OBJECTIVES: ObjectiveSet[Molecule] = ObjectiveSet([oxygen, nitrogen])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a model trained a little, and the file it was trained on."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "some.smi").write_text("\n".join(SMILES * 3) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOGEN_CACHE", str(folder / "cache"))
        training = GraphTraining(
            str(folder / "some.smi"),
            Transformer(**TINY),
            atoms=["C", "N", "O"],
            updates=150,
            batch=39,
            learning_rate=1e-2,
            warmup=0,
            checkpoint_every=150,
            accelerator="cpu",
            steps=12,
        )
        sampler: GDSSSampler = GDSSSampler(training=training)
        sampler.train(None, seed=0)
        sampler.save(folder / "model")
    return folder / "model", str(folder / "some.smi")


def learner(guidance: str) -> dict[str, Any]:
    common = {"labels": 48, "updates": 150, "more": 20, "batch": 48, "round": 16, "accelerator": "cpu"}
    if guidance == "predictor":
        return {"predictor": Predictor(**common, learning_rate=2e-3, strength_x=20.0, strength_adj=20.0)}
    return {"conditioning": Conditioning(**common, learning_rate=5e-3, weight=2.0)}


@pytest.mark.parametrize("guidance", ["predictor", "classifier_free"])
def test_learned_guidance_moves_candidates_along_their_preference(
    guidance: Any, base: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler: GDSSSampler = GDSSSampler(
        model=str(base[0]), guidance=guidance, scalarization=Tchebycheff(), **learner(guidance)
    )
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        oracle: Oracle[Molecule] = Oracle(OBJECTIVES, ledger, budget=30)
        sampler.fit(oracle, m=2, generator=torch.Generator().manual_seed(0))
        assert oracle.asked == 30  # labels and guided rounds alike
    said = capsys.readouterr().err
    assert "candidates asked for" in said and "network evaluations" in said
    sampler.save(tmp_path / "model")
    loaded = GDSSSampler.load(tmp_path / "model")
    assert loaded.guidance == guidance and isinstance(loaded.scalarization, Tchebycheff)
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(40, 0)
    before = loaded.evaluations
    candidates = loaded.sample(preference, generator=torch.Generator().manual_seed(1)).candidates
    spent = loaded.evaluations - before
    utility = OBJECTIVES(candidates).utility
    assert float(utility[:40, 0].mean()) > float(utility[40:, 0].mean()) + 0.02
    assert float(utility[40:, 1].mean()) > float(utility[:40, 1].mean()) + 0.02
    # 12 steps: the score once and a forward with a gradient, or the score twice
    assert spent >= 80 * 12 * (4 if guidance == "predictor" else 2)
    assert loaded.card["training_evaluations"] > 0 and 0 < loaded.card["measured"] <= 30


def test_a_new_condition_changes_nothing_until_it_is_trained(base: tuple[Path, str]) -> None:
    model = GDSSSampler(model=str(base[0])).trained()[0]
    value = torch.rand(20, 2)
    told = model.conditional(value)
    fields = model.process.prior(model.kind.blank(torch.tensor([3, 4])), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.3, 0.8])
    asked = {**fields, "value": value[:2], "told": torch.ones(2)}
    with torch.no_grad():
        for name, found in told.score(asked, t).items():
            assert torch.allclose(found, model.score(fields, t)[name], atol=1e-6)
        torch.nn.init.normal_(told.network.condition.layers[2].weight)
        heard, silent = told.score(asked, t), told.score({**asked, "told": torch.zeros(2)}, t)
        other = told.score({**asked, "value": value[2:4], "told": torch.zeros(2)}, t)
    assert not torch.allclose(heard["x"], silent["x"], atol=1e-4)
    assert torch.equal(silent["x"], other["x"])
    kind = GraphKind((), 3, 4, (0, 0, 1, 1, 1))
    blind = GraphModel(Published(hidden=4, attention=4).build(kind), kind, VE(), VE(), "published")
    with pytest.raises(ConfigError, match="not told the time"):
        blind.conditional(value)


def test_the_predictor_learns_what_clean_graphs_are_worth_and_is_blind_to_names_of_nodes() -> None:
    torch.manual_seed(0)
    network = ValueNetwork(GraphTransformer(3, 2, **TINY), 2, width=16)
    kind = GraphKind(("C", "N", "O"), 3, 5, (0, 0, 0, 0, 0, 1))
    model = GraphModel(Published(hidden=4, attention=4).build(kind), kind, VE(), VE(), "published")
    x = torch.nn.functional.one_hot(torch.randint(3, (64, 5)), 3).float()
    adj = torch.randint(0, 2, (64, 5, 5)).float().triu(1)
    clean = {"x": x, "adj": adj + adj.mT, "mask": torch.ones(64, 5)}
    value = torch.stack([x[..., 2].mean(1), (adj + adj.mT).mean((1, 2))], 1)
    network.scale(value)
    learned = ValueModel(network, model.process)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(120):
        t = torch.full((64,), 0.02)
        generator = torch.Generator().manual_seed(step)
        loss = learned.losses({**clean, "value": value}, t, generator=generator)["value"].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3  # in units of the variance of the values
    order = torch.randperm(5)
    moved = {"x": x[:, order], "adj": clean["adj"][:, order][:, :, order], "mask": clean["mask"]}
    with torch.no_grad():
        assert torch.allclose(network(clean, t), network(moved, t), atol=1e-5)


def test_a_predictor_begins_with_what_the_model_knows(base: tuple[Path, str]) -> None:
    model = GDSSSampler(model=str(base[0])).trained()[0]
    network = Predictor().build(model, 2).network
    fields = model.process.prior(model.kind.blank(torch.tensor([3, 4])), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.6])
    with torch.no_grad():
        for own, known in zip(network.body.logits(fields, t), model.network.logits(fields, t), strict=True):
            assert torch.equal(own, known)
    assert network.body.node_in.weight.data_ptr() != model.network.node_in.weight.data_ptr()


def test_sizes_are_as_frequent_as_in_the_data_times_what_they_are_worth() -> None:
    known = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 2.0]])
    nodes = torch.tensor([3, 3, 4, 4])
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    found = size_weights(preference, known, nodes, (0, 0, 5, 10, 20), WeightedSum(), 6.0)
    # values count up to 1; of each size also DOUBT graphs that are worth the mean of all
    mean = torch.tensor([0.375, 0.5, 0.4375])
    two, three, four = 5 * (6 * mean).exp(), torch.tensor([1.5, 0.0, 0.75]), torch.tensor([0.0, 2.0, 1.0])
    three = 10 * (6 * (three + DOUBT * mean) / (2 + DOUBT)).exp()
    four = 20 * (6 * (four + DOUBT * mean) / (2 + DOUBT)).exp()
    expected = torch.stack([torch.zeros(3), torch.zeros(3), two, three, four], 1)
    assert torch.allclose(found / found.sum(1, keepdim=True), expected / expected.sum(1, keepdim=True))
    learner = Predictor(size_strength=200.0)
    learner.known, learner.nodes = known, nodes
    kind = GraphKind(("C", "N"), 2, 4, (0, 0, 5, 10, 20))
    drawn = learner.sizes(kind, preference[:2], WeightedSum(), generator=torch.Generator().manual_seed(0))
    assert drawn.tolist() == [3, 4]
    assert learner.sizes(kind, preference[:1], WeightedSum(), least=4).tolist() == [4]


def has_core(items: list[Any], smarts: str) -> list[bool]:
    query = Chem.MolFromSmarts(smarts)
    return [Chem.MolFromSmiles(item.smiles).HasSubstructMatch(query) for item in items]


@pytest.mark.parametrize("encoding", ["classes", "order"])
def test_a_core_is_in_every_molecule_and_grows_where_it_is_open(
    encoding: str, base: tuple[Path, str], tmp_path: Path
) -> None:
    sampler: GDSSSampler = GDSSSampler(model=str(base[0]))
    if encoding == "order":
        torch.manual_seed(0)
        kind = GraphKind(("C", "N", "O"), 3, 6, (0, 0, 0, 0, 1, 2, 3))
        blind = GraphModel(Published(hidden=8, attention=8).build(kind), kind, VP(), VP(), "published")
        sampler = GDSSSampler.of(blind, DPMSolverPlusPlus(), 8)
    sampler.contain("*CC=O")
    plain = torch.zeros(40, 0)
    found = sampler.sample(plain, generator=torch.Generator().manual_seed(0)).candidates
    assert all(has_core(found, "CC=O"))
    assert all(has_core(found, "[CX4,CX3,CX2][CX3;D2;H1]=[OX1]"))  # the closed carbon and oxygen took no other bonds
    assert len({item.smiles for item in found}) > 1
    if encoding == "order":  # untrained: what is bound to what is up to chance
        return
    sampler.contain("CO", keep="atoms")
    found = sampler.sample(plain, generator=torch.Generator().manual_seed(0)).candidates
    assert all("C" in item.smiles.upper() and "O" in item.smiles.upper() for item in found)


def test_a_core_is_kept_while_it_is_guided(base: tuple[Path, str], tmp_path: Path) -> None:
    sampler: GDSSSampler = GDSSSampler(model=str(base[0]), core="C=O", guidance="predictor", **learner("predictor"))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        sampler.fit(Oracle(OBJECTIVES, ledger, budget=24), m=2, generator=torch.Generator().manual_seed(0))
        assert all(has_core([Molecule(row.key) for row in ledger.asked("mogen")], "C=O"))
    sampler.save(tmp_path / "model")
    again = GDSSSampler.load(tmp_path / "model")
    preference = torch.tensor([[0.5, 0.5]]).expand(6, 2)
    assert all(has_core(again.sample(preference, generator=torch.Generator().manual_seed(0)).candidates, "C=O"))


def test_cores_are_read_with_their_open_atoms() -> None:
    core = core_of("*c1ccncc1", ("C", "N"))
    assert len(core) == 6 and core.is_open.sum() == 1 and int(core.bonds.sum()) // 2 == 9
    assert core_of("CCO", ("C", "O")).is_open.all()
    assert core.kept_bonds(8).sum() == 12
    for wrong in ("C(", "", "CS", "C[N+](C)(C)C", "*"):
        with pytest.raises(CandidateError, match="expected a core"):
            core_of(wrong, ("C", "N", "O"))


def test_models_have_names(
    base: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(base[0], tmp_path / "models" / "tiny-one")
    card = (base[0] / "card.md").read_text()
    assert "molecules of C, N, O of up to 4 nodes" in card and "data sha256" in card and "seed: 0" in card
    assert main(["list", "models"]) == 0
    assert "tiny-one" in capsys.readouterr().out
    assert main(["sample", "tiny-one", "-n", "3", "--out", "three.csv"]) == 0
    assert main(["sample", "tiny-one", "-n", "3", "--core", "C=O", "--out", "core.csv"]) == 0
    assert len((tmp_path / "three.csv").read_text().splitlines()) == 4
    capsys.readouterr()
    assert GDSSSampler(model="tiny-one").trained()[2] == 12
    for words, text in (
        (["sample", "tiny-two", "-n", "3"], "tiny-one"),
        (["sample", "tiny-one", "-n", "3", "--core", "CCCCCCCC"], "at most 4 atoms"),
        (["sample", "tiny-one", "-n", "3", "--core", "CS"], "expected a core of the atoms C, N, O, got S"),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert text in said and said.count("\n") == 1


def test_guidance_is_trained_from_a_config_and_used_in_a_run(
    base: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    small = {"labels": 20, "data": base[1], "updates": 10, "width": 8, "edge_width": 4, "depth": 1, "more": 2}
    options = {"model": str(base[0]), "guidance": "predictor", "predictor": {**small, "accelerator": "cpu", "round": 8}}
    objectives = {"objectives": [{"name": "logp"}, {"name": "qed"}]}
    config = {"sampler": {"class_path": "gdss", "init_args": options}, "objectives": objectives}
    (tmp_path / "guide.yaml").write_text(json.dumps({**config, "out": str(tmp_path / "guided")}))
    assert main(["train", str(tmp_path / "guide.yaml")]) == 0
    assert (tmp_path / "guided" / "predictor.safetensors").is_file()
    assert main(["sample", str(tmp_path / "guided"), "-n", "2", "--preference", "0.5,0.5"]) == 0
    run = {**config, "budget": 24, "baselines": ["random"], "final": {"partitions": 2, "per_preference": 1}}
    options["model"] = str(tmp_path / "guided")
    (tmp_path / "run.yaml").write_text(json.dumps({**run, "out": str(tmp_path / "run")}))
    assert main(["run", str(tmp_path / "run.yaml"), "--progress", "false"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["asked"] <= 24
    assert summary["sampler"]["network_evaluations"] > 0
    assert "network evaluations" in capsys.readouterr().out
    run["objectives"] = {"objectives": [{"name": "qed"}, {"name": "logp"}]}
    (tmp_path / "other.yaml").write_text(json.dumps({**run, "out": str(tmp_path / "other")}))
    assert main(["run", str(tmp_path / "other.yaml"), "--progress", "false"]) == 2
    assert "trained with, got others" in capsys.readouterr().err
