"""The page, its sentences and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mogen.errors import RunError
from mogen.report import write_report
from mogen.report.folder import RunFolder, seconds
from mogen.report.page import embedded, opening_pair, verdict

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
    assert "The other baselines reach nsga2 0.2800 and random 0.2000." in page
    assert "mogen had 230 different candidates measured by the objectives of demo set, of a budget of 240 " in page
    assert "(9 were known already and cost nothing)" in page
    assert "4f2a90c1d2e3" in page and "{&#39;name&#39;" not in page


def test_page_states_its_size_and_stays_small(written_report: Path) -> None:
    size = written_report.stat().st_size
    assert size < 12e6
    assert f"it holds {size / 1e6:.1f} MB." in written_report.read_text(encoding="utf-8")


def test_seconds_of_a_method_are_its_own(run_folder: Path) -> None:
    run = RunFolder.read(run_folder)
    assert seconds(run.figures["mogen"]) == 42.5
    assert (
        seconds({"seconds": {"train": 3.0, "final": 1.0, "baselines": {"a": 9.0}, "report": 5.0, "total": 18.0}}) == 4
    )
    assert seconds({"seconds": 7.0}) == 7 and seconds({"seconds": {"total": 3.0}}) is None


def test_the_page_opens_on_the_objectives_most_at_odds(run_folder: Path) -> None:
    front = pd.read_csv(run_folder / "front.csv")
    rising = [index / len(front) for index in range(len(front))]
    for place, name in enumerate(axis.utility for axis in RunFolder.read(run_folder).axes):
        front[name] = {1: rising, 3: rising[::-1]}.get(place, [0.5] * len(front))
    front.to_csv(run_folder / "front.csv", index=False)
    assert opening_pair(RunFolder.read(run_folder)) == [1, 3]
    front.head(1).to_csv(run_folder / "front.csv", index=False)
    assert opening_pair(RunFolder.read(run_folder)) == [0, 1]


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
    assert "; 0 drawn" in page


def test_drawings_stop_at_the_limit_and_say_so(written_report: Path) -> None:
    page = written_report.read_text(encoding="utf-8")
    assert page.count('src="data:image/svg+xml;base64,') == 200
    assert "; 200 drawn (at most 200 are)" in page
    data = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    shown = [len(method["drawing"]) for method in data["methods"]]
    assert shown[0] == 0 and all(0 < count <= 60 for count in shown[1:])
    assert all(drawing.startswith("data:image/svg+xml;base64,") for drawing in data["methods"][1]["drawing"])


def test_other_candidates_have_no_diversity_section(run_folder: Path) -> None:
    candidates = pd.read_parquet(run_folder / "candidates.parquet")
    candidates["candidate"] = [f"no molecule {index}" for index in range(len(candidates))]
    candidates.to_parquet(run_folder / "candidates.parquet", index=False)
    assert 'id="spread"' not in write_report(run_folder).read_text(encoding="utf-8")
