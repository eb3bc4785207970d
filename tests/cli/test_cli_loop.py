"""mogen run with a loop, and mogen ask and tell: the flows a person goes through, and their mistakes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mogen.cli.main import main

SCORER = """
def a(sequence):
    return sequence.text.count("A")

def c(sequence):
    return sequence.text.count("C")
"""
LOOP = {
    "kind": "sequence",
    "batch": 4,
    "generations": 1,
    "children": 30,
    "variation": {"alphabet": "ACG", "min_length": 6, "max_length": 6},
    "initial": "known.csv",
}


def words(n: int, seed: int = 0) -> list[str]:
    made = random.Random(seed)
    return list(dict.fromkeys("".join(made.choice("ACG") for _ in range(6)) for _ in range(3 * n)))[:n]


def config_in(folder: Path, objectives: list, **change) -> Path:
    (folder / "scorer.py").write_text(SCORER)
    known = words(8)
    rows = [[word, word.count("A") + 0.5 * k, word.count("C")] for word in known for k in (0, 1)]
    pd.DataFrame(rows, columns=["Sequence", "count A", "c"]).to_csv(folder / "known.csv", index=False)
    loop = LOOP | {"columns": {"a": "count A"}} | change.pop("loop", {})
    config = {"name": "tiny", "budget": 8, "objectives": objectives, "loop": loop, "progress": False}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(config | {"baselines": []} | change))
    return path


CODED = [{"name": "./scorer.py:a", "worst": 0, "best": 6}, {"name": "./scorer.py:c", "worst": 0, "best": 6}]
TOLD = [
    {"name": "measured", "init": {"name": "a", "unit": "mM"}, "worst": 0, "best": 6},
    {"name": "measured", "init": {"name": "c", "unit": ""}, "worst": 0, "best": 6},
]


def test_a_run_with_a_loop_starts_from_what_is_known(tmp_path):
    path = config_in(tmp_path, CODED, baselines=["random", "nsga2"])
    out = tmp_path / "run"
    assert main(["run", str(path), "--out", str(out)]) == 0
    rounds = pd.read_csv(out / "rounds.csv")
    assert rounds["round"].tolist() == [0, 1, 2] and rounds["asked"].tolist() == [8, 12, 16]
    assert rounds["nlpd_a"].notna().tolist() == [False, True, True]
    table = pd.read_parquet(out / "candidates.parquet")
    ours = table[table["method"] == "mogen"]
    assert ours["candidate"].head(8).tolist() == words(8)
    means = [word.count("A") + 0.25 for word in words(8)]
    assert ours["raw_a"].head(8).tolist() == means
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["asked"], summary["paid"]) == (16, 8)
    for name in ("random", "nsga2"):
        theirs = table[table["method"] == name]
        assert theirs["candidate"].head(8).tolist() == words(8) and len(theirs) == 16
    assert (out / "report.html").is_file()
    assert rounds["hypervolume"].iloc[-1] == pytest.approx(summary["hypervolume"])


@pytest.fixture
def told(tmp_path) -> Path:
    path = config_in(tmp_path, TOLD)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "run"


def answer(batch: Path, out: Path, rows: slice = slice(None)) -> pd.DataFrame:
    table = pd.read_csv(batch, dtype=str, keep_default_na=False).iloc[rows]
    table["a"] = table["candidate"].str.count("A").astype(str)
    table["c"] = table["candidate"].str.count("C").astype(str)
    table.to_csv(out, index=False)
    return table


def test_ask_and_tell_in_any_order_and_in_parts(told, tmp_path, capsys):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert main(["ask", str(told), "-q", "5", "--out", str(first)]) == 0
    assert main(["ask", str(told), "--out", str(second)]) == 0
    assert "beside 5 pending" in capsys.readouterr().out
    batches = [pd.read_csv(path) for path in (first, second)]
    assert list(batches[0].columns) == ["candidate", "a", "c", "status"]
    assert [len(table) for table in batches] == [5, 4]
    keys = [key for table in batches for key in table["candidate"]]
    assert len(set(keys)) == 9 and not set(keys) & set(words(8))
    answer(second, tmp_path / "back.csv", slice(None, None, -1))
    assert main(["tell", str(told), str(tmp_path / "back.csv")]) == 0
    said = capsys.readouterr().out
    assert "12 candidates known, 5 pending" in said and "belief before learning: coverage" in said
    table = answer(first, tmp_path / "part.csv", slice(0, 3))
    table.iloc[0, 1:] = ["", "", "failed"]
    table.iloc[1, 2] = ""
    table.to_csv(tmp_path / "part.csv", index=False)
    assert main(["tell", str(told), str(tmp_path / "part.csv")]) == 0
    assert "15 candidates known, 3 pending" in capsys.readouterr().out
    table = pd.read_parquet(told / "candidates.parquet").set_index("candidate")
    for key in batches[1]["candidate"]:
        assert table.loc[key, "raw_a"] == key.count("A")
    assert table.loc[batches[0]["candidate"][0], "status"] == "failed"
    assert not table.loc[batches[0]["candidate"][1], "valid"]
    rounds = pd.read_csv(told / "rounds.csv")
    assert rounds["asked"].tolist() == [12, 15]
    assert main(["tell", str(told), str(tmp_path / "back.csv")]) == 2
    assert "told already" in capsys.readouterr().err
    assert main(["tell", str(told), str(tmp_path / "back.csv"), "--again", "true"]) == 0
    assert "15 candidates known, 3 pending" in capsys.readouterr().out


def test_standard_deviations_that_are_told_are_the_noise_of_their_measurements(told, tmp_path):
    """Two replicates of noises .3 and .4 have a mean of noise .25; one without any has the pooled spread or none."""
    from mogen.cli.loop import waiting
    from mogen.cli.run_command import config_of, of_seed

    header = "candidate,a,c,a_sd\n"
    (tmp_path / "one.csv").write_text(header + "ACGACG,1,2,0.3\nGGGGGG,0,0,\n")
    (tmp_path / "two.csv").write_text(header + "ACGACG,2,2,0.4\n")
    (tmp_path / "bad.csv").write_text(header + "ACGACG,2,2,-1\n")
    assert main(["tell", str(told), str(tmp_path / "bad.csv")]) == 2
    for name in ("one", "two"):
        assert main(["tell", str(told), str(tmp_path / f"{name}.csv")]) == 0
    config = config_of(told)
    with waiting(told, of_seed(config, config["seed"])) as opened:
        loop = opened.loop()
        found = loop.evaluation()
        row = list(loop.entries).index("ACGACG")
    assert found.raw[row].tolist() == [1.5, 2.0]
    assert float(found.noise[row, 0]) == pytest.approx((0.3**2 + 0.4**2) ** 0.5 / 2)
    assert float(found.noise[row, 1]) == 0.0


def test_prices_leave_dashes_where_nothing_needs_to_be_measured(told, tmp_path, capsys):
    """The cheap objective is asked for first; then a quarter of a batch is for the dear one."""
    config = yaml.safe_load((told / "config.yaml").read_text())
    config["loop"]["prices"] = {"a": 1.0, "c": 9.0}
    (told / "config.yaml").write_text(yaml.safe_dump(config))
    batches = []
    for number in range(2):
        out = tmp_path / f"batch{number}.csv"
        assert main(["ask", str(told), "-q", "4", "--out", str(out)]) == 0
        table = pd.read_csv(out, dtype=str, keep_default_na=False)
        batches.append(table)
        filled = table.copy()
        for name in ("a", "c"):
            counts = table["candidate"].str.count(name.upper()).astype(str)
            filled[name] = counts.where(table[name] == "", table[name])
        filled.to_csv(tmp_path / f"back{number}.csv", index=False)
        assert main(["tell", str(told), str(tmp_path / f"back{number}.csv")]) == 0
        assert ", 0 pending" in capsys.readouterr().out
    assert batches[0][["a", "c"]].values.tolist() == [["", "-"]] * 4
    assert batches[1][["a", "c"]].values.tolist() == [["-", ""]] + [["", "-"]] * 3
    assert batches[1]["candidate"][0] in set(batches[0]["candidate"])


def test_a_wrong_row_is_named_and_nothing_is_learned(told, tmp_path, capsys):
    before = (told / "state.json").read_text()
    (tmp_path / "bad.csv").write_text("candidate,a,c,status\nACGACG,1,2,\n\nGGGGGG,much,2,\n,1,1,\n")
    assert main(["tell", str(told), str(tmp_path / "bad.csv")]) == 2
    said = capsys.readouterr().err
    assert "line 4: 'much' is no number for a" in said and "line 5: '' is no sequence" in said
    assert said.startswith("mogen: error: ") and said.count("\n") == 1
    assert (told / "state.json").read_text() == before
    (tmp_path / "none.csv").write_text("sequence,c\nACGACG,\n")
    assert main(["tell", str(told), str(tmp_path / "none.csv")]) == 2
    assert "only empty cells" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        ({"propose": ["genes"]}, "loop.propose has no 'genes'"),
        ({"acquisition": "hypervolum"}, "did you mean 'hypervolume'"),
        ({"initial": "nowhere.csv"}, "there is none at"),
        ({"columns": {"a": "b"}}, "expected a column 'b' for a"),
        ({"units": {"a": "g"}}, "expected 'a' in mM, got g"),
        ({"propose": ["library"]}, "expected loop.library"),
        ({"batches": 3}, "loop has no key 'batches'"),
        ({"variation": {"alphabet": "ACG", "length": 3}}, "loop.variation does not fit"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, loop, said):
    path = config_in(tmp_path, TOLD, loop=loop)
    out = tmp_path / "run"
    code = main(["run", str(path), "--out", str(out)]) or main(["ask", str(out), "--out", str(tmp_path / "b.csv")])
    assert code == 2
    text = capsys.readouterr().err
    assert said in text and text.startswith("mogen: error: ") and text.count("\n") == 1


def test_only_a_run_with_a_loop_can_be_asked(finished, tmp_path, capsys):
    assert main(["ask", str(finished), "--out", str(tmp_path / "b.csv")]) == 2
    assert "expected a run with a loop" in capsys.readouterr().err
