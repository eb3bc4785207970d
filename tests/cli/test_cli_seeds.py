"""Several seeds: one folder each, compared in pairs, and resumed without running a seed twice."""

import json
import math
import shutil

import pytest

from mogen.cli import run_command
from mogen.cli.main import main
from mogen.cli.seeds import figures, summarise, table

T_4 = 2.7764451
"""the 97.5 % quantile of Student's t with 4 degrees of freedom, from a printed table"""


def summary(seed: int, ours: float, theirs: float) -> dict:
    nested = {"diversity": {"intdiv": 0.5 + seed, "vendi": None}, "alignment": None, "asked": 10}
    return {"seed": seed, "hypervolume": ours, **nested, "baselines": {"random": {"hypervolume": theirs, **nested}}}


def test_a_paired_interval_by_hand():
    ours, theirs = [0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.5, 0.5, 0.5, 0.6]
    found = summarise([summary(seed, a, b) for seed, (a, b) in enumerate(zip(ours, theirs, strict=True))])
    difference = found["baselines"]["random"]["difference"]["hypervolume"]
    deviation = math.sqrt(0.04 / 4)  # differences 0.1, 0.1, 0.2, 0.3, 0.3: mean 0.2, squares sum to 0.04
    assert difference["mean"] == pytest.approx(0.2)
    assert difference["standard_deviation"] == pytest.approx(deviation)
    assert difference["low"] == pytest.approx(0.2 - T_4 * deviation / math.sqrt(5), abs=1e-7)
    assert difference["high"] == pytest.approx(0.2 + T_4 * deviation / math.sqrt(5), abs=1e-7)
    assert found["baselines"]["random"]["verdict"] == "beats"
    assert found["figures"]["hypervolume"]["mean"] == pytest.approx(0.7)
    assert found["figures"]["hypervolume"]["standard_deviation"] == pytest.approx(math.sqrt(0.025))
    assert found["figures"]["diversity.intdiv"]["mean"] == pytest.approx(2.5)
    assert found["seeds"] == [0, 1, 2, 3, 4]
    text = table(found)
    assert "beats" in text and "+0.2000 [+0.0758, +0.3242]" in text and "0.7000 +- 0.1581" in text


def test_null_figures_are_left_out():
    assert figures(summary(0, 1.0, 1.0)) == {"hypervolume": 1.0, "diversity.intdiv": 0.5, "asked": 10.0}


def test_fewer_than_five_seeds_say_so_and_one_seed_has_no_interval():
    few = summarise([summary(seed, 0.9, 0.1) for seed in range(4)])
    assert "4 seeds are too few to show a difference: at least 5" in table(few) and "beats " not in table(few)
    one = summarise([summary(0, 0.9, 0.1)])
    assert "low" not in one["baselines"]["random"]["difference"]["hypervolume"] and "too few seeds" in table(one)


def test_seeds_from_the_command_line(config, tmp_path, capsys, monkeypatch):
    out = tmp_path / "seeds"
    argv = ["run", str(config), "--seed", "3", "--out", str(out), "--sampler.init_args.steps", "2"]
    ran = []
    run_seed = run_command.run_seed

    def noted(config, folder, seed):
        ran.append(seed)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return run_seed(config, folder, seed)

    monkeypatch.setattr(run_command, "run_seed", noted)
    assert main([*argv, "--seeds", "3"]) == 130
    assert f"mogen resume {out}" in capsys.readouterr().err
    assert not (out / "summary.json").exists()

    assert main(["resume", str(out)]) == 0
    assert ran == [3, 4, 4, 5]
    said = capsys.readouterr().out
    assert "3 seeds, hypervolume" in said and "random" in said and "too few seeds" in said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["seeds"] == [3, 4, 5] and summary["budget"] == 40
    volumes = [json.loads((out / f"seed-{seed}" / "summary.json").read_text())["hypervolume"] for seed in (3, 4, 5)]
    assert summary["figures"]["hypervolume"]["mean"] == pytest.approx(sum(volumes) / 3)
    assert len(set(volumes)) > 1
    assert (out / "summary.txt").read_text().strip() in said

    assert main(["resume", str(out)]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    assert main([*argv, "--seeds", "5"]) == 0
    assert ran == [3, 4, 4, 5, 6, 7]
    assert json.loads((out / "summary.json").read_text())["baselines"]["random"]["verdict"] != "too few seeds"

    assert main([*argv, "--seeds", "5", "--budget", "30"]) == 2
    assert "another budget" in capsys.readouterr().err
    assert main(["sample", str(out), "--lattice", "1", "--out", str(tmp_path / "x.csv")]) == 2
    assert str(out / "seed-3") in capsys.readouterr().err
    shutil.copytree(out / "seed-3", tmp_path / "alone")
    (out / "seed-4" / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "seed-4" / "report.html").is_file()
    assert "5 seeds, hypervolume" in capsys.readouterr().out
