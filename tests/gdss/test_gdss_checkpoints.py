"""Checkpoints in every published layout, with random weights, beside networks written down naively."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mogen.cli.main import main
from samplers.diffusion import S4, VE, VP, EulerMaruyama, Langevin, PredictorCorrector, ReverseDiffusion, Symmetric
from samplers.gdss.sampler import GDSSSampler

MOLECULES = ["CCO", "CC(=O)N", "C1CC1F", "CC#N", "OCCO", "CCCCN", "C1CCC1", "CNC"]
VP1, VE1 = ("VP", 0.1, 1.0), ("VE", 0.1, 1.0)
LAYOUTS: dict[str, dict[str, Any]] = {
    "ego_small": {"nodes": 18, "features": 17, "x": (2, 32), "adj": (5, 2, 32, 32), "sde": (VP1, VP1)},
    "community_small": {"nodes": 20, "features": 10, "x": (3, 32), "adj": (5, 2, 32, 32), "sde": (VP1, VP1)},
    "ENZYMES": {"nodes": 125, "features": 10, "x": (5, 32), "adj": (7, 2, 32, 32), "sde": (VP1, ("VE", 0.2, 1.0))},
    "grid": {"nodes": 361, "features": 5, "x": (5, 32), "adj": (7, 2, 32, 32), "sde": (VP1, ("VP", 0.2, 0.8))},
    "QM9": {"nodes": 9, "features": 4, "x": (2, 16), "adj": (3, 3, 16, 16), "sde": (VE1, VE1)},
    "ZINC250k": {"nodes": 38, "features": 9, "x": (2, 16), "adj": (6, 3, 16, 16), "sde": (VP1, ("VE", 0.2, 1.0))},
}
"""nodes, features; depth and width for nodes; layers, linear layers, width and attention for edges; processes
(gdss.md, section 2)"""
LAYOUTS["ZINC250k_v2"] = LAYOUTS["ZINC250k"] | {"attention": True}
PARAMETERS = {
    "ego_small": 44_000 + 136_000,
    "community_small": 72_000 + 134_000,
    "ENZYMES": 182_000 + 204_000,
    "grid": 170_000 + 203_000,
    "QM9": 8_564 + 23_825,
    "ZINC250k": 11_429 + 62_873,
    "ZINC250k_v2": 22_700 + 62_873,
}
C_INIT, C_HIDDEN, C_FINAL, HEADS = 2, 8, 4, 4
State = dict[str, Tensor]


class Drawn:
    """Random weights under published names."""

    def __init__(self, seed: int) -> None:
        self.generator, self.state = torch.Generator().manual_seed(seed), {}

    def linear(self, name: str, d_in: int, d_out: int, *, is_convolution: bool = False) -> None:
        shape = (d_in, d_out) if is_convolution else (d_out, d_in)
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.generator) / math.sqrt(d_in)
        self.state[f"{name}.bias"] = 0.3 * torch.randn(d_out, generator=self.generator)

    def perceptron(self, name: str, widths: list[int]) -> None:
        for k, (d_in, d_out) in enumerate(pairwise(widths)):
            self.linear(f"{name}.linears.{k}", d_in, d_out)

    def attention(self, layer: dict[str, Any], features: int, layers: int) -> None:
        depth, hidden, width = layer["depth"], layer["hidden"], layer["attention"]
        for k in range(depth):
            c_in, c_out = C_INIT if k == 0 else C_HIDDEN, C_FINAL if k == depth - 1 else C_HIDDEN
            for c in range(c_in):
                for role in "qkv":
                    d_out = hidden if role == "v" or k == 0 else width
                    d_in = features if k == 0 else hidden
                    self.linear(f"layers.{k}.attn.{c}.gnn_{role}", d_in, d_out, is_convolution=True)
            middle = 2 * max(c_in, c_out)
            self.perceptron(f"layers.{k}.mlp", [2 * c_in, *[middle] * (layers - 1), c_out])
            self.perceptron(f"layers.{k}.multi_channel", [c_in * hidden, middle, hidden])


def checkpoint(name: str) -> dict[str, Any]:
    """The content of a published file of this layout, as written by `DataParallel`."""
    layout = LAYOUTS[name]
    features, (depth, hidden), (layers, linears, width, attention) = layout["features"], layout["x"], layout["adj"]
    is_second = layout.get("attention", False)
    x, adj = Drawn(0), Drawn(1)
    if is_second:
        x.attention({"depth": depth, "hidden": hidden, "attention": attention}, features, linears)
    else:
        for k in range(depth):
            x.linear(f"layers.{k}", features if k == 0 else hidden, hidden, is_convolution=True)
    total = features + depth * hidden
    x.perceptron("final", [total, 2 * total, 2 * total, features])
    adj.attention({"depth": layers, "hidden": width, "attention": attention}, features, linears)
    total = C_INIT + C_HIDDEN * (layers - 1) + C_FINAL
    adj.perceptron("final", [total, 2 * total, 2 * total, 1])
    edge = {"num_linears": linears, "num_heads": HEADS, "c_init": C_INIT, "c_hid": C_HIDDEN, "c_final": C_FINAL}
    edge |= {"adim": attention, "conv": "GCN", "max_feat_num": features}
    params_x = {"model_type": "ScoreNetworkX", "max_feat_num": features, "depth": depth, "nhid": hidden}
    params_x |= {**edge, "model_type": "ScoreNetworkX_GMH"} if is_second else {}
    params_adj = {"model_type": "ScoreNetworkA", **edge, "max_node_num": layout["nodes"], "nhid": width}
    sde = {
        part: {"type": kind, "beta_min": low, "beta_max": high, "num_scales": 1000}
        for part, (kind, low, high) in zip(("x", "adj"), layout["sde"], strict=True)
    }
    data = {"data": name.removesuffix("_v2"), "max_node_num": layout["nodes"], "max_feat_num": features}
    content: dict[str, Any] = {
        "model_config": {"data": data, "sde": sde},
        "params_x": params_x,
        "params_adj": {**params_adj, "num_layers": layers},
    }
    for part, drawn in (("x", x), ("adj", adj)):
        content[f"{part}_state_dict"] = {f"module.{key}": value for key, value in drawn.state.items()}
        shadow = [0.9 * value for value in drawn.state.values()]
        content[f"ema_{part}"] = {"decay": 0.999, "num_updates": 10, "shadow_params": shadow}
    return content


@pytest.fixture
def config_class() -> Iterator[type]:
    """The class of published configs under its real name, for as long as something is pickled."""
    module = types.ModuleType("easydict")
    made = type("EasyDict", (dict,), {"__module__": "easydict"})
    module.EasyDict = made  # type: ignore[attr-defined]
    sys.modules["easydict"] = module
    yield made
    sys.modules.pop("easydict")


def convolution(x: Tensor, adj: Tensor, state: State, name: str) -> Tensor:
    """D^-1/2 (A with 1 on its diagonal) D^-1/2 X W + b of one graph."""
    loops = adj.clone().fill_diagonal_(1.0)
    root = loops.sum(1).clamp(min=1) ** -0.5
    return torch.diag(root) @ loops @ torch.diag(root) @ x @ state[f"{name}.weight"] + state[f"{name}.bias"]


def perceptron(x: Tensor, state: State, name: str) -> Tensor:
    count = sum(key.startswith(f"{name}.linears.") and key.endswith("weight") for key in state)
    for k in range(count):
        x = functional.linear(x, state[f"{name}.linears.{k}.weight"], state[f"{name}.linears.{k}.bias"])
        x = functional.elu(x) if k < count - 1 else x
    return x


def attention_layer(
    x: Tensor, channels: list[Tensor], mask: Tensor, state: State, name: str
) -> tuple[Tensor, list[Tensor]]:
    """One layer of graph multi-head attention, channel by channel and head by head (gdss.md, section 1.4)."""
    values, bent = [], []
    for c, adj in enumerate(channels):
        q, k, v = (convolution(x, adj, state, f"{name}.attn.{c}.gnn_{role}") for role in "qkv")
        part = q.shape[1] // HEADS
        heads = [
            torch.tanh(q[:, h * part : (h + 1) * part] @ k[:, h * part : (h + 1) * part].T / math.sqrt(v.shape[1]))
            for h in range(HEADS)
        ]
        mean = torch.stack(heads).mean(0)
        bent.append((mean + mean.T) / 2)
        values.append(v)
    nodes = torch.tanh(perceptron(torch.cat(values, 1), state, f"{name}.multi_channel") * mask[:, None])
    edges = perceptron(torch.stack([*bent, *channels], -1), state, f"{name}.mlp")
    edges = (edges + edges.transpose(0, 1)) * mask[:, None, None] * mask[None, :, None]
    return nodes, list(edges.unbind(-1))


def naive(name: str, content: dict[str, Any], x: Tensor, adj: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Both networks of one graph."""
    parts = {
        part: {key.removeprefix("module."): value for key, value in content[f"{part}_state_dict"].items()}
        for part in ("x", "adj")
    }
    depth, layers = LAYOUTS[name]["x"][0], LAYOUTS[name]["adj"][0]
    states, channels, now = [x], [adj, adj @ adj], x
    for k in range(depth):
        if LAYOUTS[name].get("attention"):
            now, channels = attention_layer(now, channels, mask, parts["x"], f"layers.{k}")
            now = torch.tanh(now)
        else:
            now = torch.tanh(convolution(now, adj, parts["x"], f"layers.{k}"))
        states.append(now)
    nodes = perceptron(torch.cat(states, 1), parts["x"], "final") * mask[:, None]
    now, channels = x, [adj, adj @ adj]
    seen = list(channels)
    for k in range(layers):
        now, channels = attention_layer(now, channels, mask, parts["adj"], f"layers.{k}")
        seen += channels
    edges = perceptron(torch.stack(seen, -1), parts["adj"], "final").squeeze(-1)
    return nodes, edges.fill_diagonal_(0.0) * mask[:, None] * mask[None]


def with_averages(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint whose weights are the averaged ones."""
    made = dict(content)
    for part in ("x", "adj"):
        names, average = content[f"{part}_state_dict"], content[f"ema_{part}"]["shadow_params"]
        made[f"{part}_state_dict"] = dict(zip(names, average, strict=True))
    return made


def data_file(name: str, folder: Path) -> Path:
    """Graphs or molecules whose sizes are drawn."""
    if name.startswith(("QM9", "ZINC")):
        file = folder / "some.smi"
        file.write_text("\n".join(MOLECULES) + "\n")
        return file
    file = folder / "paths.json"
    file.write_text(json.dumps([{"n": n, "edges": [[k, k + 1] for k in range(n - 1)]} for n in (5, 5, 4, 3, 2)]))
    return file


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_every_published_layout_is_imported_and_says_what_the_formulas_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config_class: type
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    content = checkpoint(name)
    torch.save({**content, "model_config": config_class(content["model_config"])}, tmp_path / "some.pth")
    words = ["import", "gdss", str(tmp_path / "some.pth"), "--data", str(data_file(name, tmp_path))]
    assert main([*words, "--out", str(tmp_path / "model")]) == 0
    model, solver, steps = GDSSSampler.load(tmp_path / "model").trained()
    assert sum(value.numel() for value in model.parameters()) == pytest.approx(PARAMETERS[name], rel=0.02)
    generator = torch.Generator().manual_seed(3)
    v, features = 6, LAYOUTS[name]["features"]
    mask = torch.tensor([1.0, 1, 1, 1, 0, 0])
    x = torch.randn(v, features, generator=generator) * mask[:, None]
    adj = torch.randn(v, v, generator=generator).triu(1)
    adj = (adj + adj.T) * mask[:, None] * mask[None]
    with torch.no_grad():
        made = model.network({"x": x[None], "adj": adj[None], "mask": mask[None]}, torch.ones(1))
    sampled = with_averages(content) if name in ("ENZYMES", "grid") else content  # gdss.md, section 2
    for own, said in zip(("x", "adj"), naive(name, sampled, x, adj, mask), strict=True):
        assert torch.allclose(made[own][0], said, atol=2e-5), own
    assert steps == 1000 and model.kind.max_nodes == LAYOUTS[name]["nodes"]
    for sde, (kind, low, high) in zip((model.sde_x, model.sde_adj), LAYOUTS[name]["sde"], strict=True):
        sde = sde.sde if isinstance(sde, Symmetric) else sde
        assert isinstance(sde, VP if kind == "VP" else VE)
        assert (low, high) == ((sde.beta_min, sde.beta_max) if kind == "VP" else (sde.sigma_min, sde.sigma_max))
    assert (
        published(solver)
        == {
            "ego_small": (EulerMaruyama, None, None),
            "community_small": (EulerMaruyama, 0.05, 0.7),
            "ENZYMES": (S4, 0.15, 0.7),
            "grid": (ReverseDiffusion, 0.1, 0.7),
            "QM9": (ReverseDiffusion, 0.2, 0.7),
            "ZINC250k": (ReverseDiffusion, 0.2, 0.9),
            "ZINC250k_v2": (ReverseDiffusion, 0.2, 0.8),
        }[name]
    )


def published(solver: Any) -> tuple[type, float | None, float | None]:
    """The kind of a solver, and its corrector's signal-to-noise ratio and scale."""
    corrector = getattr(solver, "corrector", None)
    kind = type(solver.predictor) if isinstance(solver, PredictorCorrector) else type(solver)
    if corrector is None:
        return kind, None, None
    assert isinstance(corrector, Langevin) and corrector.norms == "batch"
    return kind, corrector.snr, corrector.scale


def test_averaged_weights_are_taken_where_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    content = checkpoint("QM9")
    torch.save(content, tmp_path / "some.pth")
    words = ["import", "gdss", str(tmp_path / "some.pth"), "--data", str(data_file("QM9", tmp_path)), "--averaged"]
    assert main([*words, "true", "--out", str(tmp_path / "model")]) == 0
    network = GDSSSampler.load(tmp_path / "model").trained()[0].network
    assert torch.allclose(network.x.layers[0].weight, 0.9 * content["x_state_dict"]["module.layers.0.weight"])


@pytest.mark.parametrize(
    ("chosen", "is_held", "is_averaged"),
    [
        ((), True, True),
        ((), False, False),
        (("--averaged", "false"), True, False),
        (("--averaged", "true"), False, None),
    ],
)
def test_samples_published_with_averages_get_them_where_they_are_held_unless_told_otherwise(
    chosen: tuple[str, ...],
    is_held: bool,
    is_averaged: bool | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    content = checkpoint("grid")
    kept = content if is_held else {key: value for key, value in content.items() if not key.startswith("ema_")}
    torch.save(kept, tmp_path / "some.pth")
    words = ["import", "gdss", str(tmp_path / "some.pth"), "--data", str(data_file("grid", tmp_path)), *chosen]
    code = main([*words, "--out", str(tmp_path / "model")])
    if is_averaged is None:
        assert code == 2 and "averaged weights" in capsys.readouterr().err
        return
    sampler = GDSSSampler.load(tmp_path / "model")
    weight = content["x_state_dict"]["module.layers.0.weight"] * (0.9 if is_averaged else 1.0)
    assert code == 0 and torch.allclose(sampler.trained()[0].network.x.layers[0].weight, weight)
    assert sampler.card["weights"] == ("averaged" if is_averaged else "last")


def test_the_folder_has_a_name_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.save(checkpoint("QM9"), tmp_path / "some.pth")
    words = ["import", "gdss", "some.pth", "--data", str(data_file("QM9", tmp_path))]
    assert main(words) == 0
    assert str(Path("models") / "some") in capsys.readouterr().out
    assert GDSSSampler.load(tmp_path / "models" / "some").trained()[2] == 1000
    before = (tmp_path / "models" / "some" / "weights.safetensors").stat().st_mtime_ns
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for out in ((), ("--out", "full"), ("--out", "some.pth")):
        assert main([*words, *out]) == 2
        said = capsys.readouterr().err
        assert said.startswith("mogen: error: expected a new folder for the model, got ") and said.count("\n") == 1
    assert (tmp_path / "models" / "some" / "weights.safetensors").stat().st_mtime_ns == before


def other_network(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of some other model."""
    return {"state_dict": content["x_state_dict"], "epoch": 3}


def wider(content: dict[str, Any]) -> dict[str, Any]:
    """Weights that are not those of the network described beside them."""
    return {**content, "params_x": {**content["params_x"], "nhid": 32}}


def other_kind(content: dict[str, Any]) -> dict[str, Any]:
    """A network of a kind that is not known."""
    return {**content, "params_x": {**content["params_x"], "model_type": "BaselineNetwork"}}


def without_config(content: dict[str, Any]) -> dict[str, Any]:
    """Nothing about the processes."""
    return {**content, "model_config": {"data": content["model_config"]["data"]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_network, "without params_x, params_adj, x_state_dict, adj_state_dict, model_config"),
        (wider, "expected the weights of the network described beside them"),
        (other_kind, "BaselineNetwork"),
        (without_config, "'sde'"),
    ],
)
def test_checkpoints_of_other_networks_are_one_sentence(
    change: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(change(checkpoint("QM9")), tmp_path / "some.pth")
    line = ["import", "gdss", str(tmp_path / "some.pth"), "--data", str(data_file("QM9", tmp_path))]
    assert main([*line, "--out", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "model").exists()
