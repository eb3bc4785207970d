"""Gradients of the published networks in machine code: against PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor

from samplers.gdss import native
from samplers.gdss.network import PublishedNetwork, ScoreNetworkA, ScoreNetworkX

pytestmark = pytest.mark.skipif(native.library() is None, reason="there is no C compiler here")
Network = ScoreNetworkA | ScoreNetworkX


def graphs(b: int, v: int, features: int, is_ragged: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes, weights of pairs and masks."""
    sizes = torch.tensor([v, max(v - 3, 1), 1, v, 2])[torch.arange(b) % 5] if is_ragged else torch.full((b,), v)
    mask = (torch.arange(v) < sizes.unsqueeze(1)).float()
    adj = (torch.randn(b, v, v) * mask.unsqueeze(1) * mask.unsqueeze(2)).triu(1)
    return torch.randn(b, v, features) * mask.unsqueeze(-1), adj + adj.mT, mask


def wide(network: Network) -> Network:
    """A network whose weights, biases too, are drawn such that nothing saturates or dies out."""
    for part in network.parameters():
        torch.nn.init.normal_(part, std=0.2)
    return network


def gradients(
    network: Network, given: tuple[Tensor, Tensor, Tensor], toward: Tensor, is_native: bool
) -> dict[str, Tensor | None]:
    """Those of every weight, of outputs times something."""
    network.zero_grad()
    with nullcontext() if is_native else native.pytorch_only():
        said = network(*given)
    assert said.grad_fn is not None
    assert ("Said" in type(said.grad_fn).__name__) == is_native
    (said * toward).sum().backward()
    return {name: part.grad for name, part in network.named_parameters()}


def agree(found: dict[str, Tensor | None], expected: dict[str, Tensor | None]) -> None:
    """Whether all gradients are those expected, up to 1e-4 of the largest number of each."""
    for name, one in expected.items():
        other = found[name]
        if one is None or other is None:
            assert one is other, name
            continue
        assert one.shape == other.shape and one.abs().max() > 0, name
        assert (one - other).abs().max() <= 1e-4 * one.abs().max(), name


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Where PyTorch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


EDGE_NETWORKS = [
    (9, 4, {}),
    (12, 9, {"depth": 4, "layers": 2, "hidden": 32, "attention": 32}),
    (6, 5, {"depth": 1, "heads": 2, "attention": 8, "hidden": 12, "c_init": 3, "c_final": 1, "layers": 1}),
    (5, 3, {"depth": 2, "c_hidden": 5, "heads": 3, "attention": 15, "hidden": 18}),
]
NODE_NETWORKS = [
    (9, 4, {}),
    (12, 9, {"depth": 3, "hidden": 5}),
    (2, 1, {"depth": 1, "hidden": 8}),
    (7, 10, {"depth": 0}),
]


@pytest.mark.parametrize(("v", "features", "options"), EDGE_NETWORKS)
def test_gradients_of_edges_are_those_of_pytorch(v: int, features: int, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    network, given, toward = wide(ScoreNetworkA(features, **options)), graphs(40, v, features), torch.randn(40, v, v)
    expected = gradients(network, given, toward, False)
    for count in (1, 2):
        with threads(count):
            agree(gradients(network, given, toward, True), expected)


@pytest.mark.parametrize(("v", "features", "options"), NODE_NETWORKS)
def test_gradients_of_nodes_are_those_of_pytorch(v: int, features: int, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    network, given = wide(ScoreNetworkX(features, **options)), graphs(40, v, features)
    toward = torch.randn(40, v, features)
    expected = gradients(network, given, toward, False)
    for count in (1, 2):
        with threads(count):
            agree(gradients(network, given, toward, True), expected)


@pytest.mark.parametrize("is_of_edges", [False, True])
def test_masked_graphs_and_nodes_add_nothing(is_of_edges: bool) -> None:
    torch.manual_seed(0)
    network = wide(ScoreNetworkA(4, depth=2) if is_of_edges else ScoreNetworkX(4))
    given, noise = graphs(10, 6, 4), graphs(9, 6, 4, False)
    toward = torch.randn(19, 6, 6 if is_of_edges else 4)
    alone = gradients(network, given, toward[:10], True)
    nobody = (noise[0], noise[1], torch.zeros(9, 6))  # in the lanes of the same group and of the next
    together = (torch.cat(pair) for pair in zip(given, nobody, strict=True))
    agree(gradients(network, tuple(together), toward, True), alone)
    outside = 1 - given[2]
    outside = torch.maximum(outside.unsqueeze(1), outside.unsqueeze(2)) if is_of_edges else outside.unsqueeze(-1)
    agree(gradients(network, given, toward[:10] + 100 * outside, True), alone)


def test_gradients_of_several_threads_are_the_same_every_time() -> None:
    torch.manual_seed(0)
    network, given, toward = ScoreNetworkA(4), graphs(70, 9, 4), torch.randn(70, 9, 9)
    with threads(3):
        first, second = (gradients(network, given, toward, True) for _ in range(2))
    assert all(
        torch.equal(one, other) for one, other in zip(first.values(), second.values(), strict=True) if one is not None
    )


def test_gradients_of_plain_processors_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    networks: list[Network] = [wide(ScoreNetworkA(4, depth=2)), wide(ScoreNetworkX(4))]
    given = graphs(18, 7, 4)
    toward = [torch.randn(18, 7, 7), torch.randn(18, 7, 4)]
    expected = [gradients(one, given, other, False) for one, other in zip(networks, toward, strict=True)]
    monkeypatch.setattr(native, "FLAGS", tuple(flag for flag in native.FLAGS if not flag.startswith("-m")))
    native.library.cache_clear()
    try:
        for network, other, one in zip(networks, toward, expected, strict=True):
            agree(gradients(network, given, other, True), one)
    finally:
        native.library.cache_clear()


def test_gradients_of_graphs_are_pytorchs() -> None:
    torch.manual_seed(0)
    network = PublishedNetwork(4)
    x, adj, mask = graphs(5, 6, 4)
    expected = network({"x": x, "adj": adj, "mask": mask}, torch.ones(5))
    for name in ("x", "adj"):
        fields = {"x": x, "adj": adj, "mask": mask}
        fields[name] = fields[name].clone().requires_grad_()
        found = network(fields, torch.ones(5))
        (found["x"].sum() + found["adj"].sum()).backward()
        assert fields[name].grad is not None and fields[name].grad.abs().max() > 0
        assert all(torch.allclose(found[part], expected[part], atol=1e-5) for part in found)
    with native.pytorch_only():
        assert "Said" not in type(network.x(x, adj, mask).grad_fn).__name__
    with torch.autocast("cpu", torch.bfloat16):
        assert "Said" not in type(network.x(x, adj, mask).grad_fn).__name__


def test_columns_that_are_not_used_have_zeros_and_perceptrons_nothing() -> None:
    torch.manual_seed(0)
    network, given = wide(ScoreNetworkA(4)), graphs(3, 5, 4)
    found = gradients(network, given, torch.randn(3, 5, 5), True)
    last = found["layers.2.weight"], found["layers.2.bias"]
    for part in last:
        assert part is not None and part[..., 32:].abs().max() == 0 and part[..., :32].abs().min() > 0
    unused = {name for name, part in found.items() if part is None}
    assert unused == {name for name in found if name.startswith("layers.2.node_mlp")}


def test_frozen_weights_have_none_and_changed_ones_are_noticed() -> None:
    torch.manual_seed(0)
    network, given = ScoreNetworkX(4), graphs(3, 5, 4)
    network.final.requires_grad_(False)
    network(*given).sum().backward()
    assert all((part.grad is None) == name.startswith("final") for name, part in network.named_parameters())
    said = network(*given)
    with torch.no_grad():
        network.layers[0].weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        said.sum().backward()
    network.requires_grad_(False)
    assert not network(*given).requires_grad
