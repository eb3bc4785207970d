"""Labels that guidance is learned from: too few of them, those that do not fit, what they cost, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mogen.domain.graph import Graph
from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, DataError
from mogen.objective import ObjectiveSet, objective
from mogen.oracle import Ledger, Oracle
from samplers.diffusion import VE, VP, EulerMaruyama
from samplers.gdss.learner import Conditioning, Predictor
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.record import Record
from samplers.gdss.sampler import GDSSSampler, labelled_candidates
from samplers.gdss.training import GraphTraining, Published, Transformer

TINY = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "walks": 2, "hops": 2}
SMALL = {"labels": 12, "updates": 2, "more": 1, "batch": 8, "round": 4, "accelerator": "cpu"}
MOLECULES = GraphKind(("C", "N", "O"), 3, 5, (0, 0, 0, 1, 2, 2), "classes")


@objective(worst=0, best=1)
def oxygen(molecule: Molecule) -> float:
    """The share of oxygen."""
    return molecule.smiles.upper().count("O") / len(molecule.smiles)


@objective(worst=0, best=1)
def picky(molecule: Molecule) -> float:
    """Knows only what begins with N."""
    return 0.5 if molecule.smiles.startswith("N") else float("nan")


OBJECTIVES: ObjectiveSet[Molecule] = ObjectiveSet([oxygen])


def model(shape: Any = None, kind: GraphKind = MOLECULES) -> GraphModel:
    torch.manual_seed(0)
    shape = shape or Transformer(**TINY)
    return GraphModel(shape.build(kind), kind, VP(), VP(), shape.prediction)


def sampler(guidance: Any, made: GraphModel | None = None, **options: Any) -> GDSSSampler:
    learner = Predictor(**{**SMALL, **options}) if guidance == "predictor" else Conditioning(**{**SMALL, **options})
    found: GDSSSampler = GDSSSampler(
        guidance=guidance,
        solver=EulerMaruyama(),
        steps=4,
        **{"predictor" if guidance == "predictor" else "conditioning": learner},
    )
    found.model = made or model()
    return found


@pytest.fixture
def oracle(tmp_path: Path) -> Any:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield Oracle(OBJECTIVES, ledger, budget=40)


def test_a_network_that_is_not_told_the_time_is_refused_before_anything_is_measured(oracle: Any) -> None:
    blind = GraphKind(("C", "N", "O"), 3, 5, (0, 0, 0, 1, 2, 2))
    made = sampler("classifier_free", model(Published(hidden=4, attention=4), blind))
    with pytest.raises(ConfigError, match="not told the time"):
        made.fit(oracle, m=1, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="not told the time"):
        made.train(None, measure=oracle, m=1)
    made.model, made.training = None, GraphTraining("no such file", Published())
    with pytest.raises(ConfigError, match="not told the time"):
        made.train(None, measure=oracle, m=1)  # nor is anything trained for it
    assert oracle.asked == 0


def test_too_few_labels_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few: ObjectiveSet[Molecule] = ObjectiveSet([picky])
    made = sampler("predictor")
    with pytest.raises(DataError, match=r"expected at least 8 valid labelled graphs .* got [0-7] of \d+"):
        made.train(None, measure=few, m=1)
    capsys.readouterr()
    for guidance in ("predictor", "classifier_free"):
        made = sampler(guidance, labels=4, rounds=1, round=1)
        with Ledger(tmp_path / f"{guidance}.sqlite") as ledger:
            asked: Oracle[Molecule] = Oracle(few, ledger, budget=40)
            made.fit(asked, m=1, generator=torch.Generator().manual_seed(0))
            said = capsys.readouterr().err
            assert said.count("expected at least 8 valid") == 1 and "going on without guidance" in said
            assert asked.asked > 4  # unguided rounds are labels too
        assert len(made.sample(torch.ones(3, 1), generator=torch.Generator().manual_seed(1))) == 3


def test_what_was_too_little_is_learned_from_when_there_is_more(
    oracle: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sampler("predictor", labels=2, round=6)
    made.fit(oracle, m=1, generator=torch.Generator().manual_seed(0))
    assert "going on without guidance" in capsys.readouterr().err
    assert made.predictor.is_ready and made.guided_cost > 0


def test_labelled_data_that_do_not_fit_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "some.smi"
    file.write_text("\n".join(["CCO", "C(", "CCS", "CCCCCCCC", "CCN", "COC"]) + "\n")
    found = labelled_candidates(str(file), MOLECULES, 6, torch.Generator().manual_seed(0))
    assert sorted(item.smiles for item in found) == ["CCN", "CCO", "COC"]
    said = capsys.readouterr().err
    assert said == f"left out 3 molecules of {file} that cannot be read or do not fit\n"
    graphs = [{"n": 3, "edges": [[0, 1], [1, 2]]}, {"n": 5, "edges": [[0, k] for k in range(1, 5)]}]
    (tmp_path / "some.json").write_text(json.dumps(graphs * 5))
    kind = GraphKind((), 4, 4, (0, 0, 0, 1, 1), "classes")
    plain = labelled_candidates(str(tmp_path / "some.json"), kind, 8, torch.Generator().manual_seed(0))
    assert {graph.nodes for graph in plain} == {3} and all(isinstance(graph, Graph) for graph in plain)
    assert capsys.readouterr().err.startswith("left out 4 graphs of")


@pytest.mark.parametrize(("is_told", "cost"), [(False, 3), (True, 3.5)])
def test_a_graph_of_a_self_conditioned_model_costs_half_an_evaluation_more(is_told: bool, cost: float) -> None:
    record = Record(1)
    texts = ["CCO", "CCN", "COC", "CNC", "CCC", "CC", "CO", "CN", "OCCO", "NCCN"]
    record.ask(OBJECTIVES, [Molecule.from_smiles(text) for text in texts])
    learner = Conditioning(**{**SMALL, "batch": 10})
    made = model(Transformer(**TINY, is_self_conditioned=is_told))
    calls = 0
    forward = type(made.network).states

    def counted(self: Any, fields: Any, t: Any) -> Any:
        nonlocal calls
        calls += len(t)
        return forward(self, fields, t)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(made.network), "states", counted)
        learner.learn(made, record, 40, None, 0)
    assert learner.evaluations == cost * 10 * 40
    assert calls + 2 * 10 * 40 == pytest.approx(learner.evaluations, rel=0.04)


def test_a_predictor_counts_no_more_than_its_own_network() -> None:
    record = Record(1)
    texts = ["CCO", "CCN", "COC", "CNC", "CCC", "CC", "CO", "CN"]
    record.ask(OBJECTIVES, [Molecule.from_smiles(text) for text in texts])
    learner = Predictor(**SMALL)
    learner.learn(model(Transformer(**TINY, is_self_conditioned=True)), record, 2, None, 0)
    assert learner.evaluations == 3 * 8 * 2


def test_published_networks_can_be_led_by_a_predictor() -> None:
    Predictor().check(Published())
    Conditioning().check(Transformer())
    kind = GraphKind((), 3, 4, (0, 0, 1, 1, 1))
    Predictor().check(GraphModel(Published(hidden=4, attention=4).build(kind), kind, VE(), VE(), "published").network)


@pytest.mark.parametrize("guidance", ["predictor", "classifier_free"])
def test_of_several_guided_candidates_the_one_believed_best_is_asked_for(
    guidance: Any, oracle: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = sampler(guidance, oversample=4)
    assert made.learner is not None
    led, drawn = made.led, []

    def watched(preference: torch.Tensor, generator: torch.Generator | None) -> list[Any]:
        drawn.append(
            (preference, led(preference, generator), made.belief, set(made.record.keys if made.record else ()))
        )
        return drawn[-1][1]

    monkeypatch.setattr(made, "led", watched)
    made.fit(oracle, m=1, generator=torch.Generator().manual_seed(0))
    assert drawn and made.record is not None
    order = made.record.keys
    for preference, items, belief, known in drawn:
        assert len(preference) == 16 == 4 * SMALL["round"] and belief is not None
        start, new = len(known), {item.key for item in items if item is not None} - known
        asked = order[start : start + min(4, len(new))]
        assert new.issuperset(asked) and len(set(asked)) == len(asked)
        worth = {item.key: float(belief([item.key])) for item in items if item is not None and item.key in new}
        if asked:
            assert max(worth[key] for key in asked) == pytest.approx(max(worth.values()))
    made.save(tmp_path / "model")
    again = GDSSSampler.load(tmp_path / "model")
    assert again.learner is not None and again.learner.oversample == 4 and again.belief is not None
    assert len(again.sample(torch.ones(3, 1), generator=torch.Generator().manual_seed(1))) == 3


def test_without_oversampling_learned_guidance_has_no_belief(oracle: Any) -> None:
    made = sampler("predictor")
    made.fit(oracle, m=1, generator=torch.Generator().manual_seed(0))
    assert made.belief is None
    with pytest.raises(ConfigError, match="expected oversample of at least 1 in Predictor, got 0"):
        sampler("predictor", oversample=0)
