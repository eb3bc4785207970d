"""What runs of graph diffusion say they spent, and what saved samplers remember; networks are tiny and untrained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mogen.cli.outcome import table
from mogen.dataset.models import model_folder
from mogen.domain.molecule import Molecule
from mogen.errors import ConfigError, RunError
from mogen.experiment import Experiment, FinalSampling
from mogen.objective import ObjectiveSet, objective
from mogen.oracle import Ledger, Oracle
from mogen.preference import Scalarization, WeightedLogSum
from mogen.report import write_report
from samplers.diffusion import VP, EulerMaruyama
from samplers.diffusion.steering import effective_shares
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.sampler import GDSSSampler, Steering
from samplers.gdss.training import Transformer

TINY = {"width": 16, "edge_width": 8, "depth": 1, "heads": 2, "walks": 2, "hops": 2}


@objective(worst=0, best=1)
def oxygen(molecule: Molecule) -> float:
    """The share of oxygen."""
    return molecule.smiles.upper().count("O") / len(molecule.smiles)


@objective(worst=0, best=1)
def nitrogen(molecule: Molecule) -> float:
    """The share of nitrogen."""
    return molecule.smiles.upper().count("N") / len(molecule.smiles)


OBJECTIVES: ObjectiveSet[Molecule] = ObjectiveSet([oxygen, nitrogen])


def untrained() -> GraphModel:
    """A model of molecules that has seen nothing."""
    kind = GraphKind(("C", "N", "O"), 3, 5, (0, 0, 0, 1, 2, 2), "classes")
    torch.manual_seed(0)
    return GraphModel(Transformer(**TINY).build(kind), kind, VP(), VP(), "data")


def steered(**options: Any) -> GDSSSampler:
    """A sampler of such a model that steers particles."""
    made: GDSSSampler = GDSSSampler.of(untrained(), EulerMaruyama(), 6)
    settings = {"particles": 4, "round": 16, "looks": 3, "start": 1.0, "oversample": 2}
    made.steering = Steering(**{**settings, **options})
    return made


def run(folder: Path, budget: int = 60) -> dict[str, Any]:
    """The summary of a small run."""
    final = FinalSampling(partitions=1, per_preference=3)
    Experiment(OBJECTIVES, steered(), budget=budget, out=folder, progress=False, render=False, final=final).run()
    return json.loads((folder / "summary.json").read_text())  # type: ignore[no-any-return]


def test_a_run_counts_the_final_sweep_and_says_the_same_when_it_is_resumed(tmp_path: Path) -> None:
    summary = run(tmp_path / "run")
    card = yaml.safe_load((tmp_path / "run" / "model" / "sampler.yaml").read_text())["card"]
    # two preferences of three candidates, two particles each, six steps and two looks before the end
    swept = summary["sampler"]["network_evaluations"] - card["network_evaluations"]
    assert swept >= 12 * 8
    assert summary["sampler"]["looks"] == card["looks"] + 3
    again = GDSSSampler.load(tmp_path / "run" / "model")
    assert again.accounts()["network_evaluations"] == card["network_evaluations"]
    (tmp_path / "run" / "summary.json").unlink()
    state = json.loads((tmp_path / "run" / "state.json").read_text())
    del state["stages"]["report"]
    (tmp_path / "run" / "state.json").write_text(json.dumps(state))
    assert run(tmp_path / "run")["sampler"] == summary["sampler"]


def test_effective_particles_are_in_the_summary_the_line_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = run(tmp_path / "run")
    spent = summary["sampler"]
    assert 0 < spent["least_effective_share"] <= spent["effective_share"] < 1 and spent["looks"] > 3
    said = capsys.readouterr().err
    assert "looks at particles" in said and "effective on average" in said and "groups resampled" in said
    page = write_report(tmp_path / "run").read_text()
    for name in ("looks", "effective share", "least effective share", "resampled groups", "network evaluations"):
        assert f"<td>{name}</td>" in page
    assert f"<td>{spent['effective_share']:.3f}</td>" in page


def test_words_in_a_card_are_no_accounts(tmp_path: Path) -> None:
    shipped = GDSSSampler(model="gdss-qm9")
    shipped.card["measured"] = "10,000 molecules"
    shipped.save(tmp_path / "again")
    assert "10,000 molecules" in (tmp_path / "again" / "card.md").read_text()
    assert GDSSSampler.load(tmp_path / "again").accounts() == {}


def test_without_a_look_no_particle_is_called_effective(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampler = steered()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        sampler.fit(Oracle(OBJECTIVES, ledger, budget=1), m=2, generator=torch.Generator().manual_seed(0))
    found = sampler.accounts()
    assert found["looks"] == 0 and found["effective_share"] is None and found["least_effective_share"] is None
    assert "no look at particles" in capsys.readouterr().err
    sampler.save(tmp_path / "model")
    assert GDSSSampler.load(tmp_path / "model").accounts() == found
    assert GDSSSampler.of(untrained(), EulerMaruyama(), 6).accounts() == {}


def test_the_effective_share_is_that_of_each_group() -> None:
    weight = torch.tensor([0.0, 0.0, 50.0, 0.0])
    found = effective_shares(weight, torch.tensor([0, 0, 1, 1]))
    assert found == pytest.approx([1.0, 0.5])


class Kinked(Scalarization):
    """A scalarization of the user's own."""

    def __init__(self, share: float, names: tuple[str, ...] = ("a",)) -> None:
        self.share, self.names = share, names

    def __call__(self, utility: torch.Tensor, preference: torch.Tensor) -> torch.Tensor:
        return self.share * (utility * preference).sum(-1)


class Forgetful(Kinked):
    """One that does not keep what it was made with."""

    def __init__(self, power: float) -> None:
        super().__init__(power)


def test_the_scalarization_is_saved_with_its_arguments(tmp_path: Path) -> None:
    sampler = steered()
    for k, given in enumerate((WeightedLogSum(floor=0.05), Kinked(0.25, ("b", "c")))):
        sampler.scalarization = given
        sampler.save(tmp_path / str(k))
        again = GDSSSampler.load(tmp_path / str(k)).scalarization
        assert type(again) is type(given)
        utility, preference = torch.tensor([0.001, 0.9]), torch.tensor([0.5, 0.5])
        assert float(again(utility, preference)) == pytest.approx(float(given(utility, preference)))
    facts = yaml.safe_load((tmp_path / "0" / "sampler.yaml").read_text())
    for said in ("Tchebycheff", None):  # files of old have a name, or nothing
        facts["scalarization"] = said
        if said is None:
            del facts["scalarization"]
        (tmp_path / "0" / "sampler.yaml").write_text(yaml.safe_dump(facts))
        assert type(GDSSSampler.load(tmp_path / "0").scalarization).__name__ == (said or "WeightedSum")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Kinked", "mogen.preference"),
        ({"class_path": "pathlib.Path", "init_args": {}}, "which is none"),
        ({"class_path": "no_such_package.Sum", "init_args": {}}, "can be imported"),
        (
            {"class_path": "mogen.preference.WeightedLogSum", "init_args": {"roof": 1}},
            "the arguments of WeightedLogSum",
        ),
        ({"class_path": f"mogen.plugins.file_{b'/tmp/x.py'.hex()}.Sum", "init_args": {}}, "does not run"),
    ],
)
def test_a_scalarization_that_cannot_be_rebuilt_is_refused(said: Any, words: str, tmp_path: Path) -> None:
    steered().save(tmp_path)
    facts = yaml.safe_load((tmp_path / "sampler.yaml").read_text())
    (tmp_path / "sampler.yaml").write_text(yaml.safe_dump(facts | {"scalarization": said}))
    with pytest.raises(RunError, match=words):
        GDSSSampler.load(tmp_path)


def test_a_scalarization_that_cannot_be_saved_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    class Local(Kinked):
        """Nobody can import it."""

    sampler = steered()
    for given in (Forgetful(2.0), Local(1.0)):
        sampler.scalarization = given
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            oracle: Oracle[Molecule] = Oracle(OBJECTIVES, ledger, budget=20)
            with pytest.raises(ConfigError, match="expected a scalarization that can be saved"):
                sampler.fit(oracle, m=2, generator=torch.Generator().manual_seed(0))
            assert oracle.asked == 0


def test_the_model_that_is_shipped_is_still_read() -> None:
    assert type(GDSSSampler.load(model_folder("gdss-qm9")).scalarization).__name__ == "WeightedSum"


def test_a_run_without_a_look_has_null_in_its_files_and_nothing_on_the_terminal(tmp_path: Path) -> None:
    final = FinalSampling(partitions=1, per_preference=0)
    result = Experiment(OBJECTIVES, steered(), budget=1, out=tmp_path / "run", progress=False, final=final).run()
    written = json.loads((tmp_path / "run" / "summary.json").read_text())["sampler"]
    assert written["looks"] == 0 and written["effective_share"] is None
    assert "looks 0" in table(result.summary) and "effective" not in table(result.summary)
    assert "<td>effective share</td><td>–</td>" in (tmp_path / "run" / "report.html").read_text()
    assert "effective" not in (tmp_path / "run" / "model" / "card.md").read_text()
