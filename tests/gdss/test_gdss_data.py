"""What graph diffusion is trained on: names of data sets, recipes, and files with mistakes in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mogen.cli.main import main
from mogen.dataset import molecules as room
from mogen.dataset.generated import generated_graphs
from mogen.dataset.molecules import load_graphs
from mogen.errors import DataError
from samplers.gdss.data import training_graphs, training_plain, training_smiles


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()


def test_a_recipe_is_learned_from_the_last_four_fifths_of_its_graphs() -> None:
    batch, kind, skipped = training_graphs("community")
    whole = generated_graphs("community", 200)
    assert training_plain("community") == whole[40:] == load_graphs("community")[40:]
    assert len(batch) == sum(kind.sizes) == 160 and skipped == 0 and not kind.types
    assert kind.max_nodes == max(graph.nodes for graph in whole[40:])


def test_an_imported_file_of_graphs_is_one(tmp_path: Path) -> None:
    (tmp_path / "data" / "mine.json").write_text(json.dumps([{"n": 3, "edges": [[0, 1], [1, 2]]}] * 5))
    batch, kind, _ = training_graphs("mine")
    assert len(batch) == 4 and kind.max_nodes == 3


def test_a_row_without_a_smiles_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,smiles\nx,CCO\ny\nz,CN\nw,CC(\n")
    with pytest.raises(DataError, match=r"got 2 of 4 that do not \(row 1 has no SMILES, counted from 0\)"):
        training_graphs(str(tmp_path / "a.csv"))
    made, _, skipped = training_graphs(str(tmp_path / "a.csv"), is_lenient=True)
    assert len(made) == 2 and skipped == 2
    (tmp_path / "a.csv").write_text("smiles,name\nCCO,x\nCC(,y\n,z\n")
    with pytest.raises(DataError, match=r"a molecule in row 1, got 'CC\('"):
        training_graphs(str(tmp_path / "a.csv"))


def test_a_random_split_of_a_published_set_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "qm9.csv").write_text("smiles\n" + "\n".join("C" * k for k in range(1, 9)))
    assert len(training_smiles("qm9")) == 7
    said = capsys.readouterr().err
    assert said.startswith("warning: a random tenth of qm9 is left out for testing: ") and "133,885" in said
    assert said.count("\n") == 1
    monkeypatch.setitem(room.SPLITS, "qm9", ("qm9_test_idx", 8))
    (tmp_path / "data" / "qm9_test_idx.json").write_text("[0, 3]")
    assert len(training_smiles("qm9")) == 6 and not capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "content", "words"),
    [
        ("nofile.smi", None, "there is no such file"),
        ("nothere.json", None, "there is no such file"),
        ("none.json", "[]", "expected graphs of at least one node"),
        ("planarr", None, "there is no data set 'planarr'"),
    ],
)
def test_training_on_what_is_not_there_is_one_sentence(
    data: str, content: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / data).write_text(content)
    training = {"data": data, "updates": 1, "accelerator": "cpu"}
    config = {"sampler": {"class_path": "gdss", "init_args": {"training": training}}}
    (tmp_path / "some.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "some.yaml", "--out", "model"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert words in said[-1] and len([line for line in said if line.startswith("mogen: error: ")]) == 1
