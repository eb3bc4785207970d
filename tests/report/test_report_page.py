"""The page, its sentences and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mogen.errors import RunError
from mogen.report import write_report
from mogen.report.page import embedded, verdict

EVIL = "<script>alert(1)</script>"


def test_every_file_is_written(written_report: Path) -> None:
    for name in ("report.html", "front.png", "hypervolume.png", "front.sdf"):
        assert (written_report.parent / name).stat().st_size > 1000
    assert (written_report.parent / "front.png").read_bytes().startswith(b"\x89PNG")
    assert not list(written_report.parent.glob("*.partial"))


def test_user_text_is_escaped(written_report: Path) -> None:
    page = written_report.read_text(encoding="utf-8")
    assert EVIL not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;" in page


def test_page_holds_every_method_and_one_plotly(written_report: Path) -> None:
    page = written_report.read_text(encoding="utf-8")
    for name in ("mogen", "random", "nsga2", "graph_ga"):
        assert f"</span>{name}</td>" in page
    assert page.count("* plotly.js v") == 1
    assert "graph_ga has the largest hypervolume, 0.3700; mogen reaches 0.3100 and comes 2nd of 4." in page


def test_embedded_json_cannot_end_its_script() -> None:
    value = {"a": "</script><!-- & \u2028"}
    text = embedded(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (0.4, {"random": 0.3}, "mogen has the largest hypervolume"),
        (
            0.3,
            {"random": 0.4, "nsga2": 0.5},
            "nsga2 has the largest hypervolume, 0.5000; mogen reaches 0.3000 and comes 3rd",
        ),
        (0.3, {"random": 0.3}, "the same, largest hypervolume"),
        (0.3, {}, "No baseline was run"),
    ],
)
def test_verdict_names_the_best_method(ours: float, theirs: dict[str, float], expected: str) -> None:
    figures = {name: {"hypervolume": score, "asked": 10} for name, score in {"mogen": ours, **theirs}.items()}
    assert expected in verdict(figures)[0]


def test_different_numbers_of_asked_candidates_are_said() -> None:
    figures = {"mogen": {"hypervolume": 0.4, "asked": 10}, "random": {"hypervolume": 0.3, "asked": 9}}
    assert any("different numbers of candidates" in sentence for sentence in verdict(figures))


def test_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a folder"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["summary.json", "candidates.parquet", "hypervolume.csv", "config.yaml", "versions.json", "front.csv"]
)
def test_missing_file_is_named(run_folder: Path, name: str) -> None:
    (run_folder / name).unlink()
    with pytest.raises(RunError, match=name):
        write_report(run_folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", "{"),
        ("summary.json", "[]"),
        ("summary.json", "{}"),
        ("candidates.parquet", "no parquet"),
        ("front.csv", ""),
        ("front.csv", "candidate\nCC\n"),
    ],
)
def test_damaged_file_is_one_sentence(run_folder: Path, name: str, text: str) -> None:
    (run_folder / name).write_text(text)
    with pytest.raises(RunError, match=name) as caught:
        write_report(run_folder)
    assert "\n" not in str(caught.value)


def test_empty_front_still_gives_a_page(run_folder: Path) -> None:
    pd.read_csv(run_folder / "front.csv").head(0).to_csv(run_folder / "front.csv", index=False)
    assert "The front is empty" in write_report(run_folder).read_text(encoding="utf-8")


def test_keys_that_are_no_molecules_are_shown_as_text(run_folder: Path) -> None:
    front = pd.read_csv(run_folder / "front.csv")
    front["candidate"] = [f"sequence {index} <b>" for index in range(len(front))]
    front.to_csv(run_folder / "front.csv", index=False)
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert "sequence 0 &lt;b&gt;" in page
    assert "(0 drawn)" in page


def test_drawings_stop_at_the_limit_and_say_so(written_report: Path) -> None:
    page = written_report.read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml;base64,") == 200
    assert "for the first 200 members (200 drawn)" in page
