"""Run folders: whole files, one owner, one config."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from mogen.errors import RunError
from mogen.run import RunFolder, read_json, write_json
from mogen.run.directory import differences, plain

CONFIG = {"budget": 10, "sampler": {"layers": 2}}
FACTS = {"seed": 0}


def test_new_folder_gets_config_and_state(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    assert folder.open(CONFIG, FACTS) is False
    folder.release()
    assert yaml.safe_load((folder / "config.yaml").read_text()) == CONFIG
    assert read_json(folder / "state.json") == {"facts": FACTS, "stages": {}, "seconds": {}}


def test_unfinished_run_is_taken_up_with_its_stages_and_seconds(tmp_path):
    first = RunFolder(tmp_path)
    first.open(CONFIG, FACTS)
    first.finish("train", asked=7)
    first.spend("train", 1.5)
    first.release()
    second = RunFolder(tmp_path)
    assert second.open(CONFIG, FACTS) is True
    second.spend("train", 0.25)
    second.release()
    assert second.finished("train") == {"asked": 7}
    assert second.finished("final") is None
    assert second.state["seconds"]["train"] == 1.75


def test_finished_run_is_refused_and_can_be_overwritten(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.finish("report")
    folder.release()
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="finished"):
        RunFolder(tmp_path).open(CONFIG, FACTS)
    again = RunFolder(tmp_path)
    assert again.open({"budget": 11}, FACTS, overwrite=True) is False
    again.release()
    assert not (tmp_path / "checkpoints").exists()
    assert not again.is_finished


def test_another_config_is_named_in_the_refusal(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.release()
    with pytest.raises(RunError, match="another sampler"):
        RunFolder(tmp_path).open({"budget": 10, "sampler": {"layers": 3}}, FACTS)
    with pytest.raises(RunError, match="another seed"):
        RunFolder(tmp_path).open(CONFIG, {"seed": 1})


def test_foreign_folder_and_file_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="other files"):
        RunFolder(tmp_path).open(CONFIG, FACTS, overwrite=True)
    with pytest.raises(RunError, match="expected a folder"):
        RunFolder(tmp_path / "notes.txt").open(CONFIG, FACTS)


def test_a_run_another_process_works_on_is_refused(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    script = (
        "import sys; from mogen.run import RunFolder\n"
        "from mogen.errors import RunError\n"
        "try: RunFolder(sys.argv[1]).open({'budget': 10, 'sampler': {'layers': 2}}, {'seed': 0})\n"
        "except RunError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    folder.release()
    assert "another process" in told.stdout


def test_a_damaged_state_is_one_sentence(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.release()
    (tmp_path / "state.json").write_text('{"facts": ')
    with pytest.raises(RunError, match=r"state\.json"):
        RunFolder(tmp_path).open(CONFIG, FACTS)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_differences_names_entries():
    assert differences({"a": 1, "b": 2}, {"a": 1, "c": 2}) == ["b", "c"]
    assert differences({"a": [1, 2]}, plain({"a": (1, 2)})) == []


@pytest.mark.parametrize("left", [[], ["run.lock"], ["run.lock", "config.yaml.part"], ["run.lock", "config.yaml"]])
def test_a_run_killed_before_its_state_was_written_starts_anew(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("{")
    folder = RunFolder(tmp_path)
    assert folder.open(CONFIG, FACTS) is False
    folder.release()
    assert yaml.safe_load((folder / "config.yaml").read_text()) == CONFIG
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", ["config.yaml", "model", "checkpoints", "summary.json"])
def test_files_named_like_ours_in_a_folder_that_is_no_run_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("budget: 7")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="other files"):
            RunFolder(tmp_path).open(CONFIG, FACTS, overwrite=overwrite)
    assert (tmp_path / name).read_text() == "budget: 7"


def test_overwriting_killed_halfway_is_not_taken_for_a_run(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.finish("train", asked=7)
    folder.release()
    (tmp_path / "ledger.sqlite").write_text("a ledger")
    (tmp_path / "model").mkdir()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mogen.run.directory.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            RunFolder(tmp_path).open(CONFIG, FACTS, overwrite=True)
    again = RunFolder(tmp_path)
    assert again.open(CONFIG, FACTS) is False
    again.release()
    assert read_json(tmp_path / "state.json") == {"facts": FACTS, "stages": {}, "seconds": {}}
    assert not (tmp_path / "model").exists() and not (tmp_path / "ledger.sqlite").exists()


def test_the_same_folder_object_starts_anew_when_overwriting(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.finish("report")
    folder.release()
    assert folder.open(CONFIG, FACTS, overwrite=True) is False
    folder.release()
    assert folder.finished("report") is None and not folder.is_finished


@pytest.mark.parametrize("content", ["[]", "{}", '{"facts": {}, "stages": [], "seconds": {}}'])
def test_a_state_of_another_form_is_one_sentence(tmp_path, content):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.release()
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(RunError, match="state"):
        RunFolder(tmp_path).open(CONFIG, FACTS)


def test_a_lost_or_broken_config_is_one_sentence(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.release()
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(RunError, match=r"config\.yaml"):
        RunFolder(tmp_path).open(CONFIG, FACTS)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"config\.yaml"):
        RunFolder(tmp_path).open(CONFIG, FACTS)


def test_a_refused_folder_is_free_again(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(CONFIG, FACTS)
    folder.release()
    refused = RunFolder(tmp_path)
    with pytest.raises(RunError, match="another seed"):
        refused.open(CONFIG, {"seed": 1})
    assert refused.lock is None


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can be written"):
        RunFolder(tmp_path / "file" / "run").open(CONFIG, FACTS)
