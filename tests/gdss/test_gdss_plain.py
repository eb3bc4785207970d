"""Plain graphs that are steered towards objectives: the belief over them, and the files of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mogen.domain.graph import Graph
from mogen.errors import ConfigError
from mogen.experiment import Experiment, FinalSampling
from mogen.objective import ObjectiveSet, objective
from mogen.oracle import Ledger, Oracle
from samplers.diffusion import VP, EulerMaruyama
from samplers.gdss.belief import Belief, graph_counts, shared_counts
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.sampler import GDSSSampler, Steering
from samplers.gdss.training import Transformer

TINY = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "walks": 2, "hops": 2, "paths": 0}


@objective(worst=0, best=1)
def dense(graph: Graph) -> float:
    """The share of pairs that are edges."""
    return 2 * len(graph.edges) / max(1, graph.nodes * (graph.nodes - 1))


@objective(worst=1, best=0)
def sparse(graph: Graph) -> float:
    """The same, the other way round."""
    return 2 * len(graph.edges) / max(1, graph.nodes * (graph.nodes - 1))


OBJECTIVES: ObjectiveSet[Graph] = ObjectiveSet([dense, sparse])


def steered() -> GDSSSampler:
    """A sampler of an untrained model of plain graphs."""
    kind = GraphKind((), 6, 6, (0, 0, 0, 0, 0, 1, 2), "classes")
    torch.manual_seed(0)
    model = GraphModel(Transformer(**TINY).build(kind), kind, VP(), VP(), "data")
    made: GDSSSampler = GDSSSampler.of(model, EulerMaruyama(), 8)
    made.steering = Steering(particles=8, round=32, looks=4, start=1.0, oversample=6, strength=40.0)
    return made


def test_counts_do_not_know_the_names_of_nodes_and_alike_graphs_are_alike() -> None:
    one, two = Graph.from_key("4:0-1,1-2,0-2,2-3;5,5,5,6"), Graph.from_key("4:1-3,2-3,1-2,0-1;6,5,5,5")
    assert np.array_equal(graph_counts(one), graph_counts(two))
    found = graph_counts(one)
    assert found[:6].tolist() == [4, 4, 0, 1, 2, 1]  # nodes, edges, and degrees 0 to 3
    assert found[34:44].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 2]  # clustering 0, 1/3, 1 and 1
    path = graph_counts(Graph.from_key("4:0-1,1-2,2-3;5,5,5,6"))
    far = graph_counts(Graph.from_key("9:0-1"))
    rows = np.stack([found, path, far])
    alike = shared_counts(rows, rows)
    naive = [[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in rows] for a in rows]
    assert torch.allclose(alike, torch.tensor(np.array(naive)))
    assert alike[0, 1] > alike[0, 2] and torch.linalg.eigvalsh(alike).min() > -1e-9


def test_a_belief_over_plain_graphs_tells_what_was_measured_apart() -> None:
    keys = [f"5:{','.join(f'{i}-{j}' for i in range(5) for j in range(i + 1, 5) if i + j <= k)}" for k in range(1, 8)]
    utility = torch.linspace(0, 1, 7).unsqueeze(1)
    belief = Belief.of(keys, utility, is_plain=True)
    assert belief is not None
    assert torch.allclose(belief(keys), utility.double(), atol=0.1)
    assert float(belief(["no graph"])) == pytest.approx(0.5)
    assert Belief.of(keys, utility) is None  # they are no molecules


def test_plain_graphs_of_a_saved_sampler_follow_their_preference(tmp_path: Path) -> None:
    sampler = steered()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        sampler.fit(Oracle(OBJECTIVES, ledger, budget=120), m=2, generator=torch.Generator().manual_seed(0))
    sampler.save(tmp_path / "model")
    loaded = GDSSSampler.load(tmp_path / "model")
    preference = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat_interleave(8, 0)
    candidates = loaded.sample(preference, generator=torch.Generator().manual_seed(1)).candidates
    utility = OBJECTIVES(candidates).utility
    assert float(utility[:8, 0].mean()) > float(utility[8:, 0].mean()) + 0.1


def test_a_run_over_plain_graphs_leaves_no_empty_file_of_molecules(tmp_path: Path) -> None:
    final = FinalSampling(partitions=1, per_preference=2)
    Experiment(OBJECTIVES, steered(), budget=40, out=tmp_path / "run", progress=False, final=final).run()
    assert not (tmp_path / "run" / "front.sdf").exists()
    assert "front.sdf" not in (tmp_path / "run" / "report.html").read_text()


def test_no_baseline_stands_beside_plain_graphs_or_nothing() -> None:
    for sampler, words in ((steered(), "got one of plain graphs"), (GDSSSampler(), "got none")):
        with pytest.raises(ConfigError, match=words):
            _ = sampler.environment


def test_default_baselines_are_left_out_beside_plain_graphs(capsys: pytest.CaptureFixture[str]) -> None:
    from mogen.cli.config import BASELINES
    from mogen.cli.run_command import baselines

    assert baselines(BASELINES, steered()) == {}
    said = capsys.readouterr().err
    assert said.startswith("without the baselines random, nsga2, graph_ga: expected") and said.count("\n") == 1
    with pytest.raises(ConfigError, match="plain graphs"):
        baselines(["random"], steered())
