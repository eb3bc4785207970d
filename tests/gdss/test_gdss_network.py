"""The published networks: golden outputs, symmetry, masks."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from samplers.gdss import native
from samplers.gdss.checkpoint import load_state, network_options
from samplers.gdss.network import PublishedNetwork, ScoreNetworkA, ScoreNetworkX


def published() -> Path:
    """The folder of published weights and outputs."""
    folder = Path(os.environ.get("MOGEN_DATA", "")) / "checkpoints"
    if not os.environ.get("MOGEN_DATA") or not (folder / "gdss_qm9_vectors.npz").is_file():
        pytest.skip("the published GDSS weights are not in MOGEN_DATA")
    return folder


def test_published_weights_give_the_published_outputs() -> None:
    folder = published()
    facts = json.loads((folder / "gdss_qm9.json").read_text())
    network = PublishedNetwork(**network_options(facts["params_x"], facts["params_adj"]))
    with np.load(folder / "gdss_qm9.npz") as weights:
        load_state(network, {name: torch.from_numpy(weights[name]) for name in weights})
    with np.load(folder / "gdss_qm9_vectors.npz") as vectors:
        golden = {name: torch.from_numpy(vectors[name]) for name in vectors}
    fields = {"x": golden["x"], "adj": golden["adj"], "mask": golden["flags"]}
    for is_native in (False, True):
        with torch.no_grad(), nullcontext() if is_native else native.pytorch_only():
            found = network(fields, torch.ones(len(golden["x"])))
        assert torch.allclose(found["x"], golden["net_x"], atol=1e-5, rtol=0)
        assert torch.allclose(found["adj"], golden["net_adj"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["convolution", "attention"])
def test_outputs_move_with_their_nodes_and_stay_inside_the_mask(kind: str) -> None:
    torch.manual_seed(0)
    network = PublishedNetwork(5, {"kind": kind, "depth": 2}, {"depth": 3, "layers": 2})
    b, v = 3, 7
    mask = (torch.arange(v) < torch.tensor([[7], [5], [2]])).float()
    pair = mask.unsqueeze(1) * mask.unsqueeze(2)
    adj = (torch.randn(b, v, v) * pair).triu(1)
    fields = {"x": torch.randn(b, v, 5) * mask.unsqueeze(-1), "adj": adj + adj.mT, "mask": mask}
    order = torch.randperm(v)
    moved = {"x": fields["x"][:, order], "adj": fields["adj"][:, order][:, :, order], "mask": mask[:, order]}
    with torch.no_grad():
        here, there = network(fields, torch.ones(b)), network(moved, torch.ones(b))
    assert torch.allclose(here["x"][:, order], there["x"], atol=1e-5)
    assert torch.allclose(here["adj"][:, order][:, :, order], there["adj"], atol=1e-5)
    assert torch.equal(here["adj"], here["adj"].mT)
    assert (here["x"] * (1 - mask.unsqueeze(-1))).abs().max() == 0
    assert (here["adj"] * (1 - pair)).abs().max() == 0
    assert here["adj"].diagonal(dim1=1, dim2=2).abs().max() == 0


def test_gradients_are_finite_and_reach_every_weight_that_is_used() -> None:
    torch.manual_seed(0)
    network = PublishedNetwork(4)
    adj = torch.randn(2, 6, 6).triu(1)
    fields = {"x": torch.randn(2, 6, 4), "adj": adj + adj.mT, "mask": torch.ones(2, 6)}
    with native.pytorch_only():
        found = network(fields, torch.ones(2))
    (found["x"].square().sum() + found["adj"].square().sum()).backward()
    unused = {name for name, value in network.named_parameters() if value.grad is None}
    assert all(name.startswith("adj.layers.2.node_mlp") for name in unused)
    assert all(value.grad.isfinite().all() for value in network.parameters() if value.grad is not None)


@pytest.mark.parametrize(
    ("v", "features", "options"),
    [
        (9, 4, {"depth": 3}),
        (17, 9, {"depth": 2, "layers": 2, "hidden": 32, "attention": 32}),
        (6, 5, {"depth": 1, "heads": 2, "attention": 8, "hidden": 8, "c_init": 3, "c_final": 1}),
        (2, 3, {"depth": 2, "c_hidden": 5}),
    ],
)
def test_machine_code_says_what_pytorch_says(v: int, features: int, options: dict[str, int]) -> None:
    if native.library() is None:
        pytest.skip("there is no C compiler here")
    torch.manual_seed(0)
    network = ScoreNetworkA(features, **options)
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.15)
    sizes = [v, max(v - 3, 1), 1, v] * 10  # 40 graphs: two full groups of 16 and a part of one
    mask = (torch.arange(v) < torch.tensor(sizes).unsqueeze(1)).float()
    pair = mask.unsqueeze(1) * mask.unsqueeze(2)
    adj = (3 * torch.randn(40, v, v) * pair).triu(1)
    adj, x = adj + adj.mT, torch.randn(40, v, features) * mask.unsqueeze(-1)
    with native.pytorch_only():
        expected = network(x, adj, mask).detach()
    for threads in (1, 2, 5):
        found = by_threads(threads, network, x, adj, mask)
        assert torch.allclose(found, expected, atol=2e-5, rtol=1e-4)
        assert torch.equal(found, found.mT) and found.diagonal(dim1=1, dim2=2).abs().max() == 0
    with torch.no_grad():  # new weights are noticed
        network.final.linears[-1].bias.add_(1.0)
        assert torch.allclose(network(x, adj, mask), expected + pair * (1 - torch.eye(v)), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("v", "features", "depth", "hidden"), [(9, 4, 2, 16), (20, 9, 3, 5), (2, 1, 1, 8), (7, 10, 0, 8)]
)
def test_machine_code_of_nodes_says_what_pytorch_says(v: int, features: int, depth: int, hidden: int) -> None:
    if native.library() is None:
        pytest.skip("there is no C compiler here")
    torch.manual_seed(0)
    network = ScoreNetworkX(features, depth=depth, hidden=hidden)
    mask = (torch.arange(v) < torch.tensor([v, max(v - 3, 1), 1] * 7).unsqueeze(1)).float()
    pair = mask.unsqueeze(1) * mask.unsqueeze(2)
    adj = (3 * torch.randn(21, v, v) * pair).triu(1)
    adj, x = adj + adj.mT, torch.randn(21, v, features) * mask.unsqueeze(-1)
    with native.pytorch_only():
        expected = network(x, adj, mask).detach()
    for threads in (1, 2):
        assert torch.allclose(by_threads(threads, network, x, adj, mask), expected, atol=2e-5, rtol=1e-4)


def test_machine_code_of_plain_processors_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    if native.library() is None:
        pytest.skip("there is no C compiler here")
    torch.manual_seed(0)
    network = PublishedNetwork(4)
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.3)
    adj = 20 * torch.randn(18, 9, 9).triu(1)
    fields = {"x": 5 * torch.randn(18, 9, 4), "adj": adj + adj.mT, "mask": torch.ones(18, 9)}
    with torch.no_grad():
        expected = network(fields, torch.ones(18))
        monkeypatch.setattr(native, "FLAGS", tuple(flag for flag in native.FLAGS if not flag.startswith("-m")))
        native.library.cache_clear()
        try:
            found = network(fields, torch.ones(18))
        finally:
            native.library.cache_clear()
    for name in ("x", "adj"):
        assert torch.allclose(found[name], expected[name], atol=1e-5, rtol=1e-4)


def test_machine_code_hides_nothing_that_is_no_number() -> None:
    if native.library() is None:
        pytest.skip("there is no C compiler here")
    torch.manual_seed(0)
    network = PublishedNetwork(4)
    fields = {"x": torch.randn(3, 9, 4), "adj": torch.zeros(3, 9, 9), "mask": torch.ones(3, 9)}
    fields["x"][1, 2, 0] = torch.nan
    with torch.no_grad():
        found = network(fields, torch.ones(3))
    for name in ("x", "adj"):
        assert found[name][1].isnan().any() and found[name][[0, 2]].isfinite().all()


def by_threads(threads: int, network: ScoreNetworkA | ScoreNetworkX, *given: torch.Tensor) -> torch.Tensor:
    """What a network says in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            return network(*given)
    finally:
        torch.set_num_threads(before)


def test_without_a_compiler_pytorch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGEN_NATIVE", "0")
    native.library.cache_clear()
    try:
        assert native.library() is None
        with torch.no_grad():
            found = ScoreNetworkA(3, depth=1)(torch.randn(1, 4, 3), torch.zeros(1, 4, 4), torch.ones(1, 4))
        assert found.isfinite().all()
    finally:
        native.library.cache_clear()
