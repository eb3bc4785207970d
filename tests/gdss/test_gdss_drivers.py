"""The benchmark drivers of graph diffusion, on models that are tiny and untrained."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

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


def model(folder: Path, types: tuple[str, ...]) -> str:
    torch.manual_seed(0)
    kind = GraphKind(types, len(types) or 4, 5, (0, 0, 0, 0, 1, 1))
    made = GraphModel(Published(hidden=8, attention=8).build(kind), kind, VE(), VE(), "published")
    GDSSSampler.of(made, PredictorCorrector() if types else EulerMaruyama(), 3).save(folder / "model")
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
    for name, extra in (("gdss_molecules", []), ("gdss_graphs", ["--data", "grid"]), ("gdss_speed", [])):
        assert driver(name).main(["--model", str(tmp_path), *extra]) == 2
        assert capsys.readouterr().err.startswith(f"{name}: error: expected")
