"""The live line and metrics.csv."""

from __future__ import annotations

import csv

import torch

from mogen.run import Progress


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def follow(progress, counts):
    for asked in counts:
        share = asked / progress.budget
        progress.update([str(asked)], torch.tensor([[share, 1 - share]], dtype=torch.float64), asked)


def test_a_line_every_tenth_where_there_is_no_terminal(tmp_path, capsys):
    progress = Progress("train", 200, tmp_path / "metrics.csv", diversity=lambda keys: 0.5)
    follow(progress, range(1, 201))
    progress.close()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 10
    assert "20/200 asked, front 20, hypervolume" in told[0]
    assert all("diversity 0.500" in line and " left" in line for line in told)


def test_nothing_is_told_where_nobody_asked(tmp_path, capsys):
    progress = Progress("train", 50, tmp_path / "metrics.csv", show=False)
    follow(progress, range(1, 51))
    progress.close()
    assert capsys.readouterr().err == ""


def test_front_holds_what_is_not_dominated_once(tmp_path):
    progress = Progress("train", 10, tmp_path / "metrics.csv", show=False)
    utility = torch.tensor([[0.5, 0.5], [0.2, 0.2], [0.0, 0.9]], dtype=torch.float64)
    progress.update(["a", "b", "c"], utility, 3)
    progress.update(["a"], utility[:1], 3)
    assert sorted(progress.keys) == ["a", "c"]
    progress.close()
    last = rows(tmp_path / "metrics.csv")[-1]
    assert (last["stage"], last["asked"], last["front_size"]) == ("train", "3", "2")
    assert float(last["hypervolume"]) == 0.25


def test_rows_beyond_the_point_of_resuming_are_forgotten(tmp_path):
    path = tmp_path / "metrics.csv"
    first = Progress("train", 100, path, show=False)
    follow(first, range(1, 41))
    first.close()
    with path.open("a") as file:
        file.write("train,4")
    second = Progress("train", 100, path, show=False)
    second.begin(["20"], torch.tensor([[0.2, 0.8]], dtype=torch.float64), 20)
    follow(second, range(21, 101))
    second.close()
    asked = [int(row["asked"]) for row in rows(path)]
    assert asked == sorted(asked)
    assert asked[-1] == 100
