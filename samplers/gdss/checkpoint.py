"""Published GDSS checkpoints in our names and our file formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mogen.errors import DataError
from samplers.gdss.network import PublishedNetwork


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
