"""The benchmark drivers of graph diffusion, on models that are tiny and untrained."""

from __future__ import annotations

import importlib.util
import json
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mogen.dataset import molecules as room
from mogen.dataset.generated import generated_graphs
from mogen.dataset.molecules import load_graphs
from samplers.diffusion import VE, EulerMaruyama, PredictorCorrector
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.sampler import GDSSSampler
from samplers.gdss.training import Published

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


def driver(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their own module
    spec.loader.exec_module(module)
    return module


def model(folder: Path, types: tuple[str, ...], card: dict[str, Any] | None = None) -> str:
    torch.manual_seed(0)
    kind = GraphKind(types, len(types) or 4, 5, (0, 0, 0, 0, 1, 1))
    made = GraphModel(Published(hidden=8, attention=8).build(kind), kind, VE(), VE(), "published")
    GDSSSampler.of(made, PredictorCorrector() if types else EulerMaruyama(), 3, card).save(folder / "model")
    return str(folder / "model")


def test_molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "some.smi").write_text("\n".join("C" * k + "O" for k in range(1, 60)))
    out = tmp_path / "out.json"
    options = ["--model", model(tmp_path, ("C", "N", "O")), "--data", str(tmp_path / "some.smi"), "-n", "9"]
    options += ["--steps", "3", "--batch", "4", "--no-fcd", "--json", str(out)]
    assert driver("gdss_molecules").main(options) == 0
    found = json.loads(out.read_text())
    assert found["n"] == 9 and 0 <= found["valid"] <= found["valid_corrected"] <= 1
    assert found["network_evaluations"] == 9 * 3 * 2
    assert found["split"] == "random" and "updates" not in found
    assert found["nspdk"] >= 0 and found["fcd"] is None
    assert found["nspdk_interval"][0] <= found["nspdk"] <= found["nspdk_interval"][1]
    assert found["valid_interval"][0] <= found["valid"] <= found["valid_interval"][1]
    assert not (tmp_path / "out.json.partial").exists()
    killed, count = driver("gdss_molecules"), iter(range(9))
    whole = killed.correct_valence

    def once(*arguments: Any) -> Any:
        if next(count) == 1:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(killed, "correct_valence", once)
    options[-1] = str(tmp_path / "again.json")
    with pytest.raises(KeyboardInterrupt):
        killed.main(options)
    kept = json.loads((tmp_path / "again.json.partial").read_text())
    assert kept["batches"] == 1 and len(kept["smiles"]) == 4
    assert killed.main(options) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert all(again[name] == found[name] for name in ("valid", "unique", "nspdk", "network_evaluations"))
    assert next(count) == 4  # three batches, the second of them twice


def test_graphs(tmp_path: Path) -> None:
    graphs = [{"n": n, "edges": [[k, k + 1] for k in range(n - 1)]} for n in (3, 4, 5, 4, 3, 5, 4, 3, 5, 4)]
    (tmp_path / "paths.json").write_text(json.dumps(graphs))
    out = tmp_path / "out.json"
    options = ["--model", model(tmp_path, ()), "--data", str(tmp_path / "paths.json"), "-n", "6"]
    assert driver("gdss_graphs").main([*options, "--resamples", "20", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    parts = [found[name] for name in ("degree", "clustering", "orbit")]
    assert found["average"] == pytest.approx(sum(parts) / 3)
    assert found["floor"]["degree"] < found["degree"]
    assert found["degree_interval"][0] <= found["degree_interval"][1]
    assert found["above_floor_interval"][0] < found["above_floor"] and found["vun"] is None


def test_graphs_of_a_recipe_have_their_validity(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--model", model(tmp_path, ()), "--data", "planar", "-n", "4", "--resamples", "0", "--json", str(out)]
    assert driver("gdss_graphs").main(options) == 0
    found = json.loads(out.read_text())
    assert found["test"] == 40 and load_graphs("planar") == generated_graphs("planar", 200)
    assert found["vun_floor"]["valid"] == 1.0 and found["vun_floor"]["novel"] == 0.0
    assert found["vun"]["n"] == 4 and found["above_floor_interval"] is None


def test_guidance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    kind = GraphKind(("C", "N", "O"), 3, 9, (0, 0, 0, 0, 0, 0, 1, 1, 1, 1))
    made = GraphModel(Published(hidden=8, attention=8).build(kind), kind, VE(), VE(), "published")
    GDSSSampler.of(made, EulerMaruyama(), 3).save(tmp_path / "model")
    out = tmp_path / "out.json"
    options = ["--model", str(tmp_path / "model"), "--budget", "24", "--labels", "12", "--updates", "4", "--more", "0"]
    methods = ("unguided", "best_of_n", "graph_ga", "predictor", "particles")
    options += ["--partitions", "1", "--seeds", "2", "--methods", ",".join(methods), "--json", str(out)]
    assert driver("gdss_guidance").main(options) == 0
    rows = {row["method"]: row for row in json.loads(out.read_text())["rows"]}
    assert tuple(rows) == methods
    for row in rows.values():
        assert row["asked"] <= 24 and row["curve"][-1]["hypervolume"] == pytest.approx(row["hypervolume"])
        assert 0 <= row["worth"] <= 1 and row["gd_plus"] >= 0 and row["igd_plus"] >= 0
    assert rows["best_of_n"]["worth"] >= rows["unguided"]["worth"]
    assert rows["best_of_n"]["gain"]["mean"] == 0 and "gain" not in rows["unguided"]
    assert rows["predictor"]["training_evaluations"] > 0 and rows["particles"]["training_evaluations"] == 0
    low, high = (rows["graph_ga"]["gain"][end] for end in ("low", "high"))
    assert low < rows["graph_ga"]["gain"]["mean"] < high
    assert driver("gdss_guidance").main(["--model", str(tmp_path / "model"), "--methods", "magic"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("gdss_guidance: error: expected methods among")


def test_speed(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--model", model(tmp_path, ("C", "N", "O")), "-n", "8", "--batch", "4", "--steps", "2", "--repeats", "2"]
    peer = f"""{sys.executable} -c 'while input() == "": print(0.5, flush=True)'"""
    assert driver("gdss_speed").main([*options, "--peer", peer, "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["all_peer_seconds"] == [0.5, 0.5]
    assert found["flops"] > 0 and found["floor_seconds"] < found["seconds"]
    assert found["times_faster"] == pytest.approx(0.5 / found["seconds"])
    low, high = found["times_faster_range"]
    assert low <= found["times_faster"] <= high
    assert driver("gdss_speed").main([*options, "--peer", f"{sys.executable} -c 0"]) == 2


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, extra in (("gdss_molecules", []), ("gdss_graphs", ["--data", "community"]), ("gdss_speed", [])):
        assert driver(name).main(["--model", str(tmp_path), *extra]) == 2
        assert capsys.readouterr().err.startswith(f"{name}: error: expected")


def molecules_file(folder: Path) -> str:
    (folder / "some.smi").write_text("\n".join("C" * k + "O" for k in range(1, 60)))
    return str(folder / "some.smi")


def test_without_a_number_of_steps_the_own_solver_takes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    options = ["--model", model(tmp_path, ("C", "N", "O")), "--data", molecules_file(tmp_path), "-n", "4", "--no-fcd"]
    assert driver("gdss_molecules").main([*options, "--solver", "own", "--spacing", "2"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["steps"] == 3 and own["spacing"] == 2.0 and own["network_evaluations"] == 4 * 3 * 2
    asked = driver("gdss_molecules")
    seen: list[int] = []
    monkeypatch.setattr(asked.GraphModel, "grid", lambda self, steps: seen.append(steps) or torch.tensor([1.0, 0.5]))
    assert asked.main([*options, "--solver", "em"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert other["steps"] == 1000 and set(seen) == {1000} and other["spacing"] == 1.0


def test_another_spacing_is_what_is_drawn_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    seen: list[Any] = []
    some = driver("gdss_molecules")
    real = some.GraphModel.grid
    monkeypatch.setattr(some.GraphModel, "grid", lambda self, steps: seen.append(self.spacing) or real(self, steps))
    options = ["--model", model(tmp_path, ("C", "N", "O")), "--data", molecules_file(tmp_path), "-n", "2", "--no-fcd"]
    for extra, spacing in (([], 1.0), (["--spacing", "3"], 3.0), (["--spacing", "4", "16"], (4.0, 16.0))):
        assert some.main([*options, "--steps", "2", *extra]) == 0
        told = json.loads(capsys.readouterr().out)["spacing"]
        assert seen[-1] == spacing == (tuple(told) if isinstance(told, list) else told)


def test_several_models_give_a_list_that_a_killed_run_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    for name, updates in (("at-5", 5), ("at-10", 10)):
        (tmp_path / name).mkdir()
        model(tmp_path / name, ("C", "N", "O"), {"updates": updates})
    models = [str(tmp_path / name / "model") for name in ("at-5", "at-10")]
    some, out = driver("gdss_molecules"), tmp_path / "out.json"
    options = ["--data", molecules_file(tmp_path), "-n", "4", "--steps", "2", "--no-fcd", "--json", str(out)]
    real, count = some.figures, iter(range(9))

    def once(*arguments: Any) -> Any:
        if next(count) == 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(some, "figures", once)
    with pytest.raises(KeyboardInterrupt):
        some.main(["--model", *models, *options])
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == ["out.json.0.partial", "out.json.1.partial"]
    (tmp_path / "out.json.1.partial").write_text('{"settings"')  # killed while it was written
    capsys.readouterr()
    assert some.main(["--model", *models, *options]) == 0
    told = capsys.readouterr()
    assert told.err.count("4 of 4: ") == 1, "only the second was drawn again"
    rows = json.loads(out.read_text())
    assert rows == json.loads(told.out)
    assert [row["model"] for row in rows] == models and [row["updates"] for row in rows] == [5, 10]
    assert not list(tmp_path.glob("*.partial"))
    alone = tmp_path / "alone.json"
    assert some.main(["--model", models[1], *options[:-1], str(alone)]) == 0
    single = json.loads(alone.read_text())
    assert all(single[name] == rows[1][name] for name in ("model", "valid", "unique", "nspdk", "network_evaluations"))
    assert some.main(["--model", *models, *options, "--smiles", str(tmp_path / "x.smi")]) == 2


def test_figures_of_a_random_split_are_not_beside_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOGEN_DATA", str(tmp_path))
    (tmp_path / "qm9.csv").write_text("smiles\n" + "\n".join("C" * k + "O" for k in range(1, 60)))
    (tmp_path / "qm9_test_idx.json").write_text("[0, 3, 5]")
    options = ["--model", model(tmp_path, ("C", "N", "O")), "-n", "4", "--steps", "2", "--no-fcd"]
    assert driver("gdss_molecules").main(options) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["split"] == "random" and found["published"] is None
    assert told.err.startswith("warning: the test set is a random tenth of qm9: ") and "133,885" in told.err
    monkeypatch.setitem(room.SPLITS, "qm9", ("qm9_test_idx", 59))
    assert driver("gdss_molecules").main(options) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["split"] == "published" and found["published"]["fcd"] == 2.9 and "warning" not in told.err


def test_texts_that_are_no_molecules_are_left_out_of_the_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.csv").write_text("name,smiles\n" + "\n".join(f"x,{'C' * k}\ny\nz,C(" for k in range(1, 60)))
    options = ["--model", model(tmp_path, ("C", "N", "O")), "--data", str(tmp_path / "broken.csv")]
    assert driver("gdss_molecules").main([*options, "-n", "30", "--steps", "2", "--no-fcd"]) == 0
    told = capsys.readouterr()
    assert "test molecules that cannot be read" in told.err and json.loads(told.out)["nspdk_floor"] >= 0


def test_what_cannot_be_done_is_said_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    some = driver("gdss_molecules")
    for name in ("drawn", "split"):
        monkeypatch.setattr(some, name, lambda *arguments: pytest.fail("work was done"))
    options = ["--model", model(tmp_path, ("C", "N", "O")), "--data", molecules_file(tmp_path)]
    nowhere = str(tmp_path / "nodir" / "x.json")
    (tmp_path / "plain").mkdir()
    cases = [
        (["-n", "0"], "-n of at least"),
        (["-n", "1"], "-n of at least 2"),
        (["--steps", "0"], "--steps of at least 1"),
        (["--batch", "0"], "--batch"),
        (["--spacing", "0"], "spacing above 0"),
        (["--json", nowhere], "a folder that is there for --json"),
        (["--smiles", nowhere], "a folder that is there for --smiles"),
        (["--json", str(tmp_path)], "a folder that is there for --json"),
        (["--device", "cuda"], "a device that is there, got 'cuda'"),
        (["--device", "nonsense"], "a device that is there, got 'nonsense'"),
        (["--solver", "dpm"], "told the time for DPM-Solver++"),
        (["--model", model(tmp_path / "plain", ())], "a model of molecules, got one of plain graphs"),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for extra, words in cases:
        if extra[1:] == ["cuda"] and torch.version.cuda is not None:
            continue
        assert some.main([*options, *extra]) == 2
        said = capsys.readouterr().err
        assert said.startswith("gdss_molecules: error: expected ") and words in said and said.count("\n") == 1, extra
    real = some.importlib.util.find_spec
    monkeypatch.setattr(some.importlib.util, "find_spec", lambda name: None if name == "fcd" else real(name))
    assert some.main(options) == 2
    assert "expected the package fcd for FCD" in capsys.readouterr().err


def test_other_drivers_say_it_as_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("plain", "molecules"):
        (tmp_path / name).mkdir()
    plain, known = model(tmp_path / "plain", ()), model(tmp_path / "molecules", ("C", "N", "O"))
    nowhere = ["--json", str(tmp_path / "nodir" / "x.json")]
    (tmp_path / "few.json").write_text(json.dumps([{"n": 2, "edges": [[0, 1]]}] * 4))
    (tmp_path / "none.json").write_text("[]")
    cases = [
        ("gdss_graphs", ["--model", known, "--data", "planar"], "plain graphs, got one of molecules"),
        ("gdss_graphs", ["--model", plain, "--data", "planar", *nowhere], "for --json"),
        ("gdss_graphs", ["--model", plain, "--data", "planar", "-n", "0"], "-n and --steps of at least 1"),
        ("gdss_graphs", ["--model", plain, "--data", "planar", "--steps", "0"], "-n and --steps of at least 1"),
        ("gdss_graphs", ["--model", plain, "--data", str(tmp_path / "few.json")], "at least 5 graphs"),
        ("gdss_graphs", ["--model", plain, "--data", str(tmp_path / "none.json")], "got none"),
        ("gdss_guidance", ["--model", known, *nowhere], "for --json"),
        ("gdss_guidance", ["--model", plain], "a model of molecules, got one of plain graphs"),
    ]
    for name, options, words in cases:
        assert driver(name).main(options) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"{name}: error: expected ") and words in said and said.count("\n") == 1, options


def test_fcd_comes_with_development() -> None:
    root = FOLDER.parents[1]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["fcd"][0] in extras["dev"]
    assert any(line.startswith("fcd==") for line in (root / "constraints.txt").read_text().splitlines())
