"""Names are found in folders directly below the data folder, also by what reads vocabularies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mogen.cli.main import main
from mogen.dataset import find
from mogen.errors import DataError
from samplers.environment.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "oracles" / "deep").mkdir(parents=True)
    return tmp_path / "data"


def test_a_file_one_folder_down_is_found_and_one_at_the_top_wins(folders: Path, capsys) -> None:
    (folders / "oracles" / "deep" / "jnk3_rf.npz").write_text("too deep")
    with pytest.raises(DataError, match="jnk3_rf"):
        find("jnk3_rf")
    (folders / "oracles" / "jnk3_rf.npz").write_text("below")
    assert find("jnk3_rf").read_text() == "below"
    assert main(["data", "list"]) == 0
    assert str(folders / "oracles" / "jnk3_rf.npz") in capsys.readouterr().out
    (folders / "jnk3_rf.npz").write_text("top")
    assert find("jnk3_rf").read_text() == "top"


def test_a_vocabulary_is_known_by_its_name(folders: Path, tmp_path: Path) -> None:
    blocks = {"block_smi": {"0": "CC", "1": "CC", "2": "C1CC1"}, "block_r": {"0": [0], "1": [1], "2": [0]}}
    (folders / "oracles" / "blocks.json").write_text(json.dumps(blocks))
    found = Vocabulary.from_json("blocks")
    assert [(item.smiles, item.sites) for item in found] == [("CC", (0, 1)), ("C1CC1", (0,))]
    assert found.identity == Vocabulary.from_json(folders / "oracles" / "blocks.json").identity
    with pytest.raises(DataError, match="mogen data import nowhere FILE"):
        Vocabulary.from_json("nowhere")
