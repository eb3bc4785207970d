"""A real run killed at random points in every stage ends as if nothing had happened, and pays for nothing twice."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
from resume_job import calls, finish, kill_when, outcome, recorded, start, write_job

from mogen.cli.main import main
from mogen.run import RunFolder

BATCH = 100
"""what one call of the oracle asks for at most (the population of a baseline): it may be measured but not recorded"""
SERIAL = (
    ("stage train: up to", 2.0),
    ("stage final: up to", 0.05),
    ("stage baseline nsga2: up to", 0.2),
    ("hypervolume.csv", 0.3),
)
"""what has to be there (a line of the log or a file), and how many seconds later at most the run is killed"""
PARALLEL = (("newest.ckpt", 0.3), ("stage baseline graph_ga: up to", 0.15))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start("run", str(write_job(folder)), "--out", str(folder / "run")))
    return folder / "run"


def logged(run: Path, sign: str) -> int:
    """How often a line is in the log."""
    log = run / "log.txt"
    return log.read_text().count(sign) if log.exists() else 0


def has_come(run: Path, sign: str, before: int) -> bool:
    """Whether a file is there, or a line was logged once more than before."""
    return logged(run, sign) > before if sign.startswith("stage") else is_there(run, sign)


def is_there(run: Path, name: str) -> bool:
    """Whether a file is there, in a folder that may come and go meanwhile."""
    try:
        return any(run.rglob(name))
    except FileNotFoundError:
        return False


def assert_same(run: Path, expected: Path) -> None:
    """Front, curves, candidates and figures to the last bit; the scorers of two jobs differ in their folder alone."""
    front, curves, table, summary = outcome(run)
    other_front, other_curves, other_table, other_summary = outcome(expected)
    assert front == other_front
    assert curves == other_curves
    pd.testing.assert_frame_equal(table, other_table, check_exact=True)
    assert summary == other_summary


@pytest.mark.parametrize(("workers", "signs"), [(0, SERIAL), (2, PARALLEL)], ids=["serial", "workers"])
def test_killed_run_ends_the_same_and_pays_nothing_twice(whole, tmp_path, workers, signs):
    chance = random.Random(f"kill {workers}")
    run = tmp_path / "run"
    first = ("run", str(write_job(tmp_path, workers=workers)), "--out", str(run))
    called: list[tuple[str, str]] = []
    known: set[tuple[str, str]] = set()
    for turn, (sign, at_most) in enumerate(signs):
        before = logged(run, sign)
        child = start(*(first if turn == 0 else ("resume", str(run))))
        kill_when(child, lambda sign=sign, before=before: has_come(run, sign, before), chance.uniform(0, at_most))
        assert not known & set(calls(tmp_path)[len(called) :])
        called, known = calls(tmp_path), set(recorded(run))
        assert known <= set(called)
        assert not RunFolder(run).is_finished
    finish(start("resume", str(run)))
    assert not known & set(calls(tmp_path)[len(called) :])
    called = calls(tmp_path)
    assert set(recorded(run)) == set(called)
    assert len(recorded(run)) == len(set(called)) == len(recorded(whole))
    assert len(called) - len(set(called)) <= 2 * BATCH * len(signs)
    assert_same(run, whole)


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one sentence a command line is refused with."""
    capsys.readouterr()
    assert main(argv) == 2
    text = capsys.readouterr().err
    assert text.startswith("mogen: error: ") and text.count("\n") == 1
    return text


def test_a_run_at_work_and_a_broken_checkpoint_are_one_sentence(whole, tmp_path, capsys):
    run = tmp_path / "run"
    child = start("run", str(write_job(tmp_path)), "--out", str(run))

    def is_due() -> bool:
        return bool(is_there(run, "newest.ckpt") and "another process" in told(capsys, "resume", str(run)))

    kill_when(child, is_due, 0.0)
    known, before = set(recorded(run)), len(calls(tmp_path))
    path = run / "checkpoints" / "newest.ckpt"
    written = path.read_bytes()
    for content in (written[: len(written) // 2], b"", b"no checkpoint", written[:-3000] + bytes(3000)):
        path.write_bytes(content)
        assert "expected a whole checkpoint" in told(capsys, "resume", str(run))
    shutil.rmtree(run / "checkpoints")
    assert main(["resume", str(run)]) == 0
    assert not known & set(calls(tmp_path)[before:])
    assert_same(run, whole)


def test_the_seed_decides(tmp_path):
    front = {}
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        job = write_job(tmp_path / name, seed=seed, budget=60, baselines=["random"])
        assert main(["run", str(job), "--out", str(tmp_path / name / "run")]) == 0
        front[name] = outcome(tmp_path / name / "run")
    assert front["one"][0] == front["again"][0] != front["other"][0]
    assert_same(tmp_path / "one" / "run", tmp_path / "again" / "run")
