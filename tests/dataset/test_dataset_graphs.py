"""Generated graphs, files of molecules and graphs, and the arrays made of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import networkx as nx
import pytest
import torch

from mogen.dataset import molecules as room
from mogen.dataset.generated import generated_graphs
from mogen.dataset.molecules import encoded, fingerprint, holds_graphs, load_graphs, read_smiles, source_of, split
from mogen.domain.graph import Graph
from mogen.errors import DataError


def as_networkx(graph: Graph) -> nx.Graph:
    made = nx.Graph(graph.edges)
    made.add_nodes_from(range(graph.nodes))
    return made


@pytest.mark.parametrize("name", ["community", "grid_generated", "planar", "sbm"])
def test_recipes_repeat_by_seed_and_differ_otherwise(name: str) -> None:
    one, two = generated_graphs(name, 4, 1), generated_graphs(name, 4, 1)
    assert one == two and one != generated_graphs(name, 4, 2)
    assert len({graph.key for graph in one}) > 1


def test_recipes_have_the_sizes_and_shapes_they_promise() -> None:
    for graph in generated_graphs("community", 30):
        assert (12 <= graph.nodes <= 20 and nx.is_connected(as_networkx(graph))) or graph.nodes % 2 == 0
        half = graph.nodes // 2
        assert any(i < half <= j for i, j in graph.edges)
    for graph in generated_graphs("planar", 3):
        assert graph.nodes == 64 and nx.is_connected(as_networkx(graph)) and nx.check_planarity(as_networkx(graph))[0]
        # a triangulation of 64 points with h on the hull has 3 * 64 - 3 - h edges
        assert 3 * 64 - 3 - 30 < len(graph.edges) <= 3 * 64 - 6
    for graph in generated_graphs("grid_generated", 3):
        degrees = sorted(dict(as_networkx(graph).degree).values())
        assert degrees[:5] == [2, 2, 2, 2, 3] and degrees[-1] == 4
    for graph in generated_graphs("sbm", 10):
        assert 40 <= graph.nodes <= 200
    with pytest.raises(DataError, match="expected one of community"):
        generated_graphs("tree", 1)


def test_communities_are_as_dense_as_promised() -> None:
    within = between = pairs_within = pairs_between = 0
    for graph in generated_graphs("community", 200):
        half = graph.nodes // 2
        within += sum((i < half) == (j < half) for i, j in graph.edges)
        between += sum((i < half) != (j < half) for i, j in graph.edges)
        pairs_within += half * (half - 1)
        pairs_between += half * half
    assert within / pairs_within == pytest.approx(0.7, abs=0.02)
    assert between / pairs_between == pytest.approx(0.05, abs=0.01)


def test_files_of_molecules_are_read_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO first\nCN second\n\n")
    (tmp_path / "b.csv").write_text("name,SMILES\nx,CCO\ny,CN\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"smiles\nCCO\nCN\n"))
    (tmp_path / "d.txt").write_text("smiles\nCCO\nCN\n")
    for name in ("a.smi", "b.csv", "c.csv.gz", "d.txt"):
        assert read_smiles(tmp_path / name) == ["CCO", "CN"]
    (tmp_path / "e.csv").write_text("name\nx\n")
    (tmp_path / "f.smi").write_text("\n")
    (tmp_path / "g.csv.gz").write_bytes(gzip.compress(b"smiles\nCCO\n" * 50)[:30])
    for name, words in (("e.csv", "a column smiles"), ("f.smi", "got none"), ("g.csv.gz", "readable")):
        with pytest.raises(DataError, match=words):
            read_smiles(tmp_path / name)


def test_arrays_come_from_the_cache_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path))
    smiles = ["CCO", "CS", "C(", "CN"]
    one = encoded(smiles, ("C", "N", "O"), 5)
    assert one.skipped == 2 and one.smiles == ["CCO", "CN"]
    monkeypatch.setattr(room, "encode_molecules", lambda *args, **options: pytest.fail("encoded again"))
    two = encoded(smiles, ("C", "N", "O"), 5)
    assert torch.equal(one.graphs.bonds, two.graphs.bonds) and two.smiles == one.smiles
    (file,) = (tmp_path / "tensors").glob("*.npz")
    file.write_bytes(file.read_bytes()[:40])
    monkeypatch.undo()
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path))
    assert torch.equal(encoded(smiles, ("C", "N", "O"), 5).graphs.atoms, one.graphs.atoms)


def test_the_published_split_is_used_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    (tmp_path / "molecules").mkdir()
    (tmp_path / "molecules" / "qm9_smiles_full.csv").write_text("smiles\n" + "\n".join("C" * k for k in range(1, 9)))
    (tmp_path / "molecules" / "qm9_test_idx.json").write_text(json.dumps({"rows": [0, 3], "note": "x"}))
    monkeypatch.setitem(room.SPLITS, "qm9", ("qm9_test_idx", 8))
    found = split("qm9")
    assert found.test == ["C", "CCCC"] and len(found.train) == 6 and not found.reason
    (tmp_path / "own.smi").write_text("\n".join("C" * k for k in range(1, 11)))
    own = split(str(tmp_path / "own.smi"))
    assert len(own.test) == 1 and not set(own.test) & set(own.train)
    assert own == split(str(tmp_path / "own.smi"))
    assert own.reason == f"no test set is published for {tmp_path / 'own.smi'}"


def test_a_whole_file_under_another_name_has_the_published_split_and_a_part_of_it_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    assert room.SPLITS["qm9"] == ("qm9_test_idx", 133_885)
    monkeypatch.setitem(room.SPLITS, "qm9", ("qm9_test_idx", 8))
    (tmp_path / "qm9.csv").write_text("smiles\n" + "\n".join("C" * k for k in range(1, 9)))
    assert split("qm9").reason == "there is no qm9_test_idx in the data folders"
    (tmp_path / "qm9_test_idx.json").write_text("[0, 3]")
    assert split("qm9").test == ["C", "CCCC"] and not split("qm9").reason
    (tmp_path / "qm9.csv").write_text("smiles\n" + "\n".join("C" * k for k in range(1, 8)))
    found = split("qm9")
    assert len(found.test) == 1 and len(found.train) == 6
    assert found.reason == f"{tmp_path / 'qm9.csv'} has 7 molecules, and the published test set counts in 8"


@pytest.mark.parametrize("content", ["[0, 9]", "[]", "{}", "[", '["x"]', "3"])
def test_a_broken_list_of_test_rows_is_one_sentence(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    monkeypatch.setitem(room.SPLITS, "qm9", ("qm9_test_idx", 8))
    (tmp_path / "qm9.csv").write_text("smiles\n" + "\n".join("C" * k for k in range(1, 9)))
    (tmp_path / "qm9_test_idx.json").write_text(content)
    with pytest.raises(DataError, match="row numbers"):
        split("qm9")


@pytest.mark.parametrize("name", ["nofile.smi", "{}/nofile.smi", "{}/nothere.json", "some/where.smi", "../x.json", ""])
def test_a_file_that_is_not_there_is_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    name = name.format(tmp_path)
    for function in (source_of, load_graphs, holds_graphs, fingerprint, split):
        with pytest.raises(DataError, match=r"expected a file or the name of a data set, got .*there is no such file"):
            function(name)


def test_the_name_of_a_recipe_is_a_data_set_of_the_same_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    for name in ("community", "grid_generated", "planar", "sbm"):
        assert holds_graphs(name)
    assert load_graphs("community") == generated_graphs("community", 200, 0)
    assert fingerprint("community") == fingerprint("community") != fingerprint("planar")
    with pytest.raises(DataError, match="no data set 'grid'"):
        load_graphs("grid")
    (tmp_path / "grid.json").write_text(json.dumps([{"n": 2, "edges": [[0, 1]]}]))
    assert load_graphs("grid") == [Graph(2, ((0, 1),))]
    (tmp_path / "mine.json").write_text(json.dumps([{"n": 2, "edges": [[0, 1]]}]))
    (tmp_path / "smiles.csv").write_text("smiles\nC\n")
    assert holds_graphs("mine") and not holds_graphs("smiles")


def test_a_row_without_a_smiles_is_an_empty_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,smiles\nx,CCO\ny\nz,\nw,CN\n")
    assert read_smiles(tmp_path / "a.csv") == ["CCO", "", "", "CN"]


def test_graphs_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"n": 3, "edges": [[1, 0], [1, 2]]}]))
    assert load_graphs(str(tmp_path / "a.json")) == [Graph(3, ((0, 1), (1, 2)))]
    for content in ('[{"n": 3}]', '[{"n": 2, "edges": [[0, 5]]}]', "[", "[3]"):
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(DataError, match="expected a list of"):
            load_graphs(str(tmp_path / "b.json"))
    for content, words in (("[]", "got none"), ('[{"n": 0, "edges": []}]', "got an empty one")):
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(DataError, match=f"expected graphs of at least one node in .*{words}"):
            load_graphs(str(tmp_path / "b.json"))
    whole = bytearray(gzip.compress(json.dumps([{"n": 3, "edges": [[0, 1]]}] * 50).encode()))
    whole[20] ^= 255
    (tmp_path / "c.json.gz").write_bytes(whole)
    with pytest.raises(DataError, match="expected a list of"):
        load_graphs(str(tmp_path / "c.json.gz"))
