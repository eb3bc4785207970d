"""What sampling starts from, and how it is hastened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from mogen.cli.main import main
from mogen.errors import ConfigError
from samplers.diffusion import VE, VP
from samplers.gdss.model import GraphKind, GraphModel, beside
from samplers.gdss.network import PublishedNetwork
from samplers.gdss.sampler import GDSSSampler
from samplers.gdss.training import GraphTraining, Published
from samplers.gdss.transformer import GraphTransformer


@pytest.fixture
def molecules(tmp_path: Path) -> str:
    """A file of small molecules."""
    path = tmp_path / "some.smi"
    path.write_text(
        "\n".join(["CCO", "CC(=O)N", "C#N", "CCCC", "OCC=O", "NCCO", "CC#C", "C1CC1"]) + "\n", encoding="utf-8"
    )
    return str(path)


def trained(molecules: str, prior: Literal["given", "matched"]) -> GraphModel:
    """A published network after one update, with the processes of ZINC250k."""
    training = GraphTraining(
        data=molecules, network=Published(), sde_x=VP(0.1, 1.0), sde_adj=VE(0.2, 1.0), updates=1, batch=8, prior=prior
    )
    return training.run(None, seed=0)[0]


def test_a_matched_prior_has_the_mean_and_spread_of_noisy_training_graphs(molecules: str) -> None:
    from samplers.gdss.data import GraphBatches, training_graphs

    model = trained(molecules, "matched")
    graphs, _, _ = training_graphs(molecules)
    clean = GraphBatches(graphs, model.kind, 8).clean(model.kind.max_nodes, torch.arange(8).repeat(4000))
    generator = torch.Generator().manual_seed(0)
    noisy = model.process.perturb(clean, torch.ones(len(clean["mask"])), generator=generator).fields
    drawn = model.process.prior(clean, generator=generator)
    mask = clean["mask"]
    pairs = (mask.unsqueeze(1) * mask.unsqueeze(2) * (1 - torch.eye(mask.shape[1]))).bool()
    for one, two in ((noisy["x"][mask.bool()], drawn["x"][mask.bool()]), (noisy["adj"][pairs], drawn["adj"][pairs])):
        assert abs(one.mean() - two.mean()) < 0.02 and abs(one.std() - two.std()) < 0.02
    assert torch.equal(drawn["adj"], drawn["adj"].transpose(1, 2))


def test_a_matched_prior_is_saved_and_the_given_one_is_standard(molecules: str, tmp_path: Path) -> None:
    model = trained(molecules, "matched")
    again = GraphModel.load(tmp_path, model.save(tmp_path))
    assert (again.sde_x.location, again.sde_x.spread) == (model.sde_x.location, model.sde_x.spread)  # type: ignore[attr-defined]
    given = trained(molecules, "given")
    assert (given.sde_x.location, given.sde_x.spread) == (0.0, 1.0)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="expected prior given or matched"):
        GraphTraining(prior="other")  # type: ignore[arg-type]


def small(network: torch.nn.Module, encoding: Literal["order", "classes"]) -> GraphModel:
    """A model of small molecules with new weights."""
    kind = GraphKind(("C", "N", "O"), 3, 5, (0, 0, 1, 1, 1, 1), encoding)
    return GraphModel(network, kind, VP(), VP(), "published" if encoding == "order" else "data").eval()


@pytest.mark.parametrize("name", ["transformer", "published"])
def test_half_precision_says_nearly_the_same_in_full_precision(name: str) -> None:
    torch.manual_seed(0)
    model = (
        small(GraphTransformer(3, 4, 16, 8, 2, 2, paths=4), "classes")
        if name == "transformer"
        else small(PublishedNetwork(3), "order")
    )
    fields = model.process.prior(model.kind.blank(torch.tensor([5, 4, 3])), generator=torch.Generator().manual_seed(1))
    t = torch.full((3,), 0.5)
    with torch.no_grad():
        exact = model.score(fields, t)
        model.hasten("bf16", is_compiled=False)
        near = model.score(fields, t)
    for field in ("x", "adj"):
        assert near[field].dtype == torch.float32 and not torch.equal(near[field], exact[field])
        assert (near[field] - exact[field]).norm() < 0.05 * exact[field].norm()
    assert not any("compiled" in key for key in model.state_dict())


def test_a_precision_that_is_unknown_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected precision float32 or bf16"):
        GDSSSampler(model="gdss-qm9", precision="fp8")  # type: ignore[arg-type]


def test_a_generator_stays_where_the_graphs_are() -> None:
    here = torch.Generator().manual_seed(0)
    assert beside(here, torch.device("cpu")) is here and beside(None, torch.device("cpu")) is None


@pytest.mark.slow
def test_a_compiled_network_says_the_same() -> None:
    torch.manual_seed(0)
    model = small(GraphTransformer(3, 4, 16, 8, 1, 2, is_self_conditioned=True, paths=4), "classes")
    fields = model.process.prior(model.kind.blank(torch.tensor([5, 4, 3])), generator=torch.Generator().manual_seed(1))
    t = torch.full((3,), 0.5)
    with torch.no_grad():
        exact = model.score(fields, t)
        model.hasten("float32", is_compiled=True)
        for _ in range(2):
            again = model.score(fields, t)
            for field in ("x", "adj"):
                assert torch.allclose(again[field], exact[field], atol=1e-4)


def test_the_command_line_says_where_graphs_are_drawn_and_what_of_a_core_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def sample(*options: str) -> int:
        return main(["sample", "gdss-qm9", "-n", "3", "--out", str(tmp_path / "found.csv"), *options])

    assert sample("--device", "cpu", "--core", "*CO", "--keep", "atoms") == 0
    rows = (tmp_path / "found.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 4 and all("o" in row.lower() for row in rows[1:])
    assert sample("--device", "nowhere") != 0
    assert "expected a device that is there, got 'nowhere'" in capsys.readouterr().err
