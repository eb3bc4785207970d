"""Published GDSS checkpoints in our names and our file formats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mogen.dataset.molecules import encoded, load_graphs, split
from mogen.dataset.published import load_published
from mogen.domain.graph import QM9_ATOMS, ZINC_ATOMS
from mogen.errors import DataError
from samplers.diffusion import (
    S4,
    SDE,
    VE,
    VP,
    EulerMaruyama,
    Langevin,
    PredictorCorrector,
    ReverseDiffusion,
    Solver,
    SubVP,
)
from samplers.gdss.model import GraphKind, GraphModel
from samplers.gdss.network import PublishedNetwork
from samplers.gdss.sampler import GDSSSampler

ATOMS = {"qm9": QM9_ATOMS, "zinc250k": ZINC_ATOMS}
"""the published data sets of molecules, and their atoms in the order of the features"""

AVERAGED = ("enzymes", "grid")
"""the data sets whose published samples were drawn with averaged weights"""

SUFFIXES = (".pth", ".pt", ".npz", ".pkl")
"""of the files of published checkpoints"""


def published_solver(data: str, is_second: bool = False) -> Solver:
    """The sampler a data set was published with (Jo et al. 2022, appendix C); norms are averages over a batch."""
    if data == "ego_small":
        return EulerMaruyama()
    if data == "enzymes":
        return S4(Langevin(0.15, 0.7, norms="batch"))
    snr, scale = {
        "community_small": (0.05, 0.7),
        "grid": (0.1, 0.7),
        "qm9": (0.2, 0.7),
        "zinc250k": (0.2, 0.8 if is_second else 0.9),
    }.get(data, (0.2, 0.7))
    predictor = EulerMaruyama() if data == "community_small" else ReverseDiffusion()
    return PredictorCorrector(predictor, Langevin(snr, scale, norms="batch"))


def published_sde(facts: Mapping[str, Any]) -> SDE:
    """The process of one field in a published config; its prior is standard normal, whatever the process."""
    low, high = float(facts["beta_min"]), float(facts["beta_max"])
    kind = str(facts["type"]).lower()
    if kind == "ve":
        return VE(low, high, spread=1.0)
    if kind not in ("vp", "subvp"):
        raise DataError(f"expected the SDE VP, VE or subVP in a GDSS checkpoint, got {facts['type']!r}")
    return VP(low, high) if kind == "vp" else SubVP(low, high)


def read_checkpoint(file: Path) -> dict[str, Any]:
    """params_x, params_adj, config and weights (`x/...`, `adj/...`) of a published .pth file, or .npz with .json."""
    content = load_published(file)
    if file.suffix == ".npz":
        beside = file.with_suffix(".json")
        try:
            facts = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"expected the config of {file} in {beside}, got {error}") from error
        return {**facts, "state": content}
    found = content if isinstance(content, dict) else {}
    config = found.get("model_config", found.get("config"))
    missing = [key for key in ("params_x", "params_adj", "x_state_dict", "adj_state_dict") if key not in found]
    if missing or not isinstance(config, dict):
        named = ", ".join([*missing, *([] if isinstance(config, dict) else ["model_config"])])
        raise DataError(f"expected a GDSS checkpoint in {file}, got a file without {named}")
    state = {f"{part}/{key}": value for part in ("x", "adj") for key, value in found[f"{part}_state_dict"].items()}
    averages = {part: found[f"ema_{part}"] for part in ("x", "adj") if f"ema_{part}" in found}
    return {**{key: found[key] for key in ("params_x", "params_adj")}, "config": config, "state": state, **averages}


def averaged(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights with their exponential moving average put in, parameter by parameter."""
    state = dict(content["state"])
    for part in ("x", "adj"):
        names = [name for name in state if name.startswith(f"{part}/")]
        average = content.get(part)
        shadow: Sequence[Tensor] = average.get("shadow_params", ()) if isinstance(average, dict) else ()
        if len(shadow) != len(names):
            raise DataError(f"expected {len(names)} averaged weights of the {part} network, got {len(shadow)}")
        state |= dict(zip(names, shadow, strict=True))
    return state


def wants_average(content: Mapping[str, Any], name: str) -> bool:
    """Whether a data set's samples were published with averaged weights, and a checkpoint holds them."""
    return name in AVERAGED and "x" in content and "adj" in content


def published_model(
    file: Path, data: str | None = None, is_averaged: bool | None = None
) -> tuple[GraphModel, Solver, dict[str, str]]:
    """The model of a published checkpoint, the solver it was published with, and facts about it.

    The facts: the name of its data set, and which weights were taken, the averaged or the last ones. Without a choice
    (`is_averaged`) they are those the samples of the data set were published with.
    """
    content = read_checkpoint(file)
    try:
        config = content["config"]
        name = str(config["data"]["data"]).lower()
        options = network_options(content["params_x"], content["params_adj"])
        sde_x, sde_adj = (published_sde(config["sde"][part]) for part in ("x", "adj"))
        nodes = int(config["data"]["max_node_num"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected the config of a GDSS model in {file}, got one without {error}") from error
    network = PublishedNetwork(**options)
    is_averaged = wants_average(content, name) if is_averaged is None else is_averaged
    load_state(network, averaged(content) if is_averaged else content["state"])
    types = ATOMS.get(name, ())
    kind = GraphKind(types, options["features"], nodes, training_sizes(data or name, types, nodes))
    is_second = options["x"]["kind"] == "attention"
    model = GraphModel(network, kind, sde_x, sde_adj, "published").eval()
    facts = {"data": name, "weights": "averaged" if is_averaged else "last"}
    return model, published_solver(name, is_second), facts


def open_sampler(path: str, data: str | None = None) -> GDSSSampler:
    """The sampler of a trained model (its folder or name), or of a published checkpoint with 1,000 steps."""
    if Path(path).suffix not in SUFFIXES:
        return GDSSSampler(model=path)
    model, solver, _ = published_model(Path(path), data)
    return GDSSSampler.of(model, solver, 1000)


def training_sizes(data: str, types: Sequence[str], nodes: int) -> tuple[int, ...]:
    """How many training graphs have 0, 1, ..., `nodes` nodes; a single node is not counted, as published."""
    if types:
        sizes = encoded(split(data).train, types, nodes).graphs.sizes
    else:
        graphs = load_graphs(data)
        sizes = torch.tensor([graph.nodes for graph in graphs[len(graphs) // 5 :]])
    counts = torch.bincount(sizes, minlength=nodes + 1)
    counts[:2] = 0
    return tuple(counts.tolist())


def network_options(params_x: Mapping[str, Any], params_adj: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of `PublishedNetwork` out of the two published parameter lists."""
    if str(params_adj.get("conv", "GCN")) != "GCN":
        raise DataError(f"expected a GDSS network with conv GCN, got conv {params_adj['conv']!r}")
    kinds = {"ScoreNetworkX": "convolution", "ScoreNetworkX_GMH": "attention"}
    if params_x.get("model_type") not in kinds or params_adj.get("model_type", "ScoreNetworkA") != "ScoreNetworkA":
        named = params_x.get("model_type"), params_adj.get("model_type")
        raise DataError(f"expected the networks ScoreNetworkX or ScoreNetworkX_GMH and ScoreNetworkA, got {named}")
    kind = kinds[params_x["model_type"]]
    x = {"kind": kind, "depth": int(params_x["depth"]), "hidden": int(params_x["nhid"])}
    if kind == "attention":
        x |= _attention_options(params_x)
    adj = {"depth": int(params_adj["num_layers"]), "hidden": int(params_adj["nhid"]), **_attention_options(params_adj)}
    return {"features": int(params_adj["max_feat_num"]), "x": x, "adj": adj}


def _attention_options(params: Mapping[str, Any]) -> dict[str, int]:
    names = {
        "attention": "adim",
        "layers": "num_linears",
        "heads": "num_heads",
        "c_init": "c_init",
        "c_hidden": "c_hid",
        "c_final": "c_final",
    }
    return {ours: int(params[theirs]) for ours, theirs in names.items()}


def load_state(network: PublishedNetwork, state: Mapping[str, Tensor]) -> None:
    """Puts published weights (`x/...`, `adj/...`) into a network; raises `DataError` where they do not fit."""
    made = renamed(state)
    try:
        network.load_state_dict(made)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"expected the weights of the network described beside them, got: {reason}") from error


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published names to ours: channels stacked; queries, keys and values side by side."""
    made: dict[str, Tensor] = {}
    heads: dict[str, dict[tuple[int, str, str], Tensor]] = {}
    for name, value in state.items():
        key = name.replace("/", ".", 1).replace("module.", "")
        found = re.fullmatch(r"(.*)\.attn\.(\d+)\.gnn_([qkv])\.(weight|bias)", key)
        if found:
            heads.setdefault(found[1], {})[int(found[2]), found[3], found[4]] = value.float()
        else:
            key = key.replace(".mlp.linears", ".edge_mlp.linears").replace(
                ".multi_channel.linears", ".node_mlp.linears"
            )
            made[key] = value.float()
    for layer, parts in heads.items():
        channels = range(1 + max(channel for channel, _, _ in parts))
        for kind in ("weight", "bias"):
            rows = [torch.cat([parts[c, role, kind] for role in "qkv"], dim=-1) for c in channels]
            stacked = torch.stack(rows)
            made[f"{layer}.{kind}"] = stacked if kind == "weight" else stacked.unsqueeze(1)
    return made
