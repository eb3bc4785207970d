"""The network of a checkout of the public implementation of Str2Str, run as a peer with our weights in it.

Nothing is taken from the checkout: its own modules are imported from it. What those import only for training and for
side chains (hydra and the like in `src.utils`, dm-tree) is replaced by empty stand-ins.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mogen.errors import DataError
from samplers.diffusion import Fields, so3
from samplers.str2str import Denoiser
from samplers.str2str.process import NM

NAMES = (
    (r"embedder\.(node|edge)\.first", r"embedder.\1_embed.0"),
    (r"embedder\.(node|edge)\.rest\.(\d+)", lambda m: f"embedder.{m[1]}_embed.{int(m[2]) + 1}"),
    (r"blocks\.(\d+)\.attention\.(q|kv|q_points|kv_points)\b", r"translator.trunk.ipa_\1.linear_\2"),
    (r"blocks\.(\d+)\.attention\.pair_bias", r"translator.trunk.ipa_\1.linear_b"),
    (r"blocks\.(\d+)\.attention\.pair_value", r"translator.trunk.ipa_\1.down_z"),
    (r"blocks\.(\d+)\.attention\.gamma", r"translator.trunk.ipa_\1.head_weights"),
    (r"blocks\.(\d+)\.attention\.out", r"translator.trunk.ipa_\1.linear_out"),
    (r"blocks\.(\d+)\.norm", r"translator.trunk.ipa_ln_\1"),
    (r"blocks\.(\d+)\.skip", r"translator.trunk.skip_embed_\1"),
    (r"blocks\.(\d+)\.transformer", r"translator.trunk.transformer_\1"),
    (r"blocks\.(\d+)\.mix", r"translator.trunk.linear_\1"),
    (
        r"blocks\.(\d+)\.transition\.layers\.(\d)",
        lambda m: f"translator.trunk.node_transition_{m[1]}.linear_{int(m[2]) // 2 + 1}",
    ),
    (r"blocks\.(\d+)\.transition\.norm", r"translator.trunk.node_transition_\1.ln"),
    (r"blocks\.(\d+)\.update", r"translator.trunk.bb_update_\1.linear"),
    (r"blocks\.(\d+)\.pairs\.node", r"translator.trunk.edge_transition_\1.initial_embed"),
    (r"blocks\.(\d+)\.pairs\.first", r"translator.trunk.edge_transition_\1.trunk.0"),
    (r"blocks\.(\d+)\.pairs\.second", r"translator.trunk.edge_transition_\1.trunk.2"),
    (r"blocks\.(\d+)\.pairs\.out", r"translator.trunk.edge_transition_\1.final_layer"),
    (r"blocks\.(\d+)\.pairs\.norm", r"translator.trunk.edge_transition_\1.layer_norm"),
    (r"torsion\.layers\.(\d)", lambda m: f"translator.torsion_pred.linear_{int(m[1]) // 2 + 1}"),
    (r"torsion\.idle", "translator.torsion_pred.linear_3"),
    (r"torsion\.out", "translator.torsion_pred.linear_final"),
)
"""our names of weights -> theirs"""


def published_state(network: Denoiser) -> dict[str, Tensor]:
    """Our weights under the public names; points are laid out by axis first there."""
    found = {}
    for name, value in network.state_dict().items():
        for pattern, made in NAMES:
            renamed, times = re.subn(f"^{pattern}", made, name)
            if times:
                break
        if re.search(r"_points\.(weight|bias)$", name):
            value = value.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)
        found[renamed] = value
    return found


def public_network(folder: Path, network: Denoiser) -> nn.Module:
    """The network of the checkout, of the same size as ours and with its weights."""
    if not (folder / "src" / "models" / "net" / "denoising_ipa.py").is_file():
        raise DataError(f"expected a checkout of the public Str2Str (with src/models/net), got none in {folder}")
    with _importable(folder):
        from src.models.net.denoising_ipa import DenoisingNet, EmbeddingModule  # type: ignore[import-not-found]
        from src.models.net.ipa import TranslationIPA  # type: ignore[import-not-found]

    size = network.size
    theirs = DenoisingNet(
        EmbeddingModule(32, size.node, size.edge),
        TranslationIPA(
            size.node,
            size.edge,
            NM,
            size.blocks,
            size.skip,
            size.layer_heads,
            size.layers,
            size.hidden,
            size.heads,
            size.query_points,
            size.value_points,
        ),
    )
    theirs.load_state_dict(published_state(network), strict=True)
    return theirs.requires_grad_(False).eval()


def public_atoms(network: nn.Module) -> Callable[[Fields, Tensor], Tensor]:
    """Their prediction for our fields as N, CA, C, O and CB (Å)."""

    def call(fields: Fields, t: Tensor) -> Tensor:
        b, r = fields["exists"].shape
        frames = torch.cat((so3.quaternion(fields["rotations"]), fields["translations"] / NM), -1)
        made = network(
            {
                "residue_mask": fields["exists"].float(),
                "fixed_mask": (~fields["moves"]).float(),
                "residue_idx": fields["positions"],
                "t": t,
                "sc_ca_t": fields["seen"] / NM,
                "rigids_t": frames,
                "torsion_angles_sin_cos": torch.zeros(b, r, 7, 2),
                "aatype": torch.zeros(b, r, dtype=torch.long),
            }
        )
        return made["atom37"][:, :, [0, 1, 2, 4, 3]]

    return call


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets the checkout be imported; the stand-ins are taken away again."""
    stands: dict[str, dict[str, Any]] = {
        "src.utils": {"__path__": [str(folder / "src" / "utils")]},
        "tree": {"map_structure": _mapped},
    }
    before = {name: sys.modules.get(name) for name in stands}
    for name, attributes in stands.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(attributes)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def _mapped(function: Callable[[Any], Any], nested: Any) -> Any:
    """A function of every leaf of nested lists."""
    return [_mapped(function, item) for item in nested] if isinstance(nested, list) else function(nested)
