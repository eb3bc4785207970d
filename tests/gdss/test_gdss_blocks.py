"""Blocks of graph transformers: machine code against PyTorch, packed pairs against plain loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from samplers.gdss import native
from samplers.gdss.blocks import SOURCE
from samplers.gdss.packed import pairs_of
from samplers.gdss.transformer import GraphTransformer

WITHOUT_COMPILER = native.library(SOURCE) is None
needs_compiler = pytest.mark.skipif(WITHOUT_COMPILER, reason="there is no C compiler here")


def said(network: GraphTransformer, fields: dict[str, Tensor], t: Tensor) -> list[Tensor]:
    """Outputs for what exists, and gradients of a function of them with respect to graphs and weights."""
    given = {name: value.detach().clone() for name, value in fields.items()}
    for name in ("x", "adj"):
        given[name].requires_grad_()
    network.zero_grad()
    nodes, edges = network.logits(given, t)
    mask = given["mask"]
    nodes, edges = nodes * mask.unsqueeze(-1), edges * (mask.unsqueeze(1) * mask.unsqueeze(2)).unsqueeze(-1)
    (nodes.sin().sum() + edges.sin().sum()).backward()
    slopes = [value.grad for value in (given["x"], given["adj"], *network.parameters())]
    assert all(slope is not None for slope in slopes)
    return [nodes.detach(), edges.detach(), *[slope.clone() for slope in slopes if slope is not None]]


def graphs(n: int, v: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Noisy graphs of 2 to v nodes."""
    sizes = torch.randint(2, v + 1, (n,), generator=generator)
    sizes[0] = v
    mask = (torch.arange(v) < sizes.unsqueeze(1)).float()
    pairs = (mask.unsqueeze(1) * mask.unsqueeze(2) * (1 - torch.eye(v))).unsqueeze(-1)
    adj = torch.randn(n, v, v, 3, generator=generator)
    x = torch.randn(n, v, 4, generator=generator) * mask.unsqueeze(-1)
    return {"x": x, "adj": (adj + adj.transpose(1, 2)) * pairs, "mask": mask}


def network_of(**options: int) -> GraphTransformer:
    """A transformer whose every layer matters."""
    torch.manual_seed(0)
    network = GraphTransformer(4, 3, hops=3, **options)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.2)
    return network


@needs_compiler
@pytest.mark.parametrize(
    ("n", "v", "options"),
    [
        (37, 9, {"width": 16, "edge_width": 8, "depth": 3, "heads": 4}),
        (5, 7, {"width": 24, "edge_width": 6, "depth": 2, "heads": 3}),
        (16, 2, {"width": 10, "edge_width": 5, "depth": 1, "heads": 2}),
        (3, 45, {"width": 16, "edge_width": 8, "depth": 2, "heads": 2}),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_machine_code_has_the_outputs_and_gradients_of_pytorch(
    n: int, v: int, options: dict[str, int], threads: int
) -> None:
    network, fields = network_of(**options), graphs(n, v, torch.Generator().manual_seed(1))
    t = torch.rand(n, generator=torch.Generator().manual_seed(2))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = said(network, fields, t)
    finally:
        torch.set_num_threads(before)
    doubled = {name: value.double() for name, value in fields.items()}
    with native.pytorch_only():
        expected = said(network.double(), doubled, t.double())
    for one, two in zip(found, expected, strict=True):
        assert (one - two).abs().max() <= 1e-4 * two.abs().max() + 1e-6


@needs_compiler
def test_machine_code_without_wide_registers_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(width=16, edge_width=8, depth=2, heads=4)
    fields, t = graphs(18, 6, torch.Generator().manual_seed(1)), torch.linspace(0, 1, 18)
    expected = said(network, fields, t)
    monkeypatch.setattr(native, "FLAGS", tuple(flag for flag in native.FLAGS if not flag.startswith("-m")))
    native.library.cache_clear()
    try:
        found = said(network, fields, t)
    finally:
        native.library.cache_clear()
    for one, two in zip(found, expected, strict=True):
        assert torch.allclose(one, two, rtol=1e-3, atol=1e-5)


@needs_compiler
def test_machine_code_of_blocks_hides_nothing_that_is_no_number() -> None:
    network, fields = network_of(width=16, edge_width=8, depth=2, heads=4), graphs(18, 6, torch.Generator())
    fields["x"][4, 0, 0] = torch.nan
    with torch.no_grad():
        nodes, edges = network.logits(fields, torch.ones(18))
    others = [row for row in range(18) if row != 4]
    assert nodes[4].isnan().any() and nodes[others].isfinite().all() and edges[others].isfinite().all()


@needs_compiler
def test_nothing_is_kept_for_gradients_that_nobody_wants() -> None:
    network, fields = network_of(width=16, edge_width=8, depth=2, heads=4), graphs(4, 6, torch.Generator())
    with torch.no_grad():
        nodes, _ = network.logits(fields, torch.ones(4))
    assert nodes.grad_fn is None
    assert network.logits(fields, torch.ones(4))[0].grad_fn is not None


def test_pairs_are_packed_and_unpacked_as_loops_would() -> None:
    v, pairs = 5, pairs_of(5, torch.device("cpu"))
    every = [(i, j) for i in range(v) for j in range(i, v)]
    dense = torch.randn(2, v, v, 3, generator=torch.Generator().manual_seed(0))
    nodes = dense[:, 0]
    folded, ends, packed = pairs.fold(dense), pairs.ends(nodes), pairs.pack(dense)
    for place, (i, j) in enumerate(every):
        assert torch.equal(folded[:, place], dense[:, i, j] + dense[:, j, i])
        assert torch.equal(ends[:, place], nodes[:, i] + nodes[:, j])
    whole = pairs.unpack(packed)
    assert torch.allclose(whole, (dense + dense.transpose(1, 2)) / 2) and len(every) == packed.shape[1]


@pytest.mark.parametrize("name", ["fold", "unpack", "ends", "pack"])
def test_gradients_of_packing_are_those_of_differences(name: str) -> None:
    pairs = pairs_of(4, torch.device("cpu"))
    shape = {"unpack": (2, 10, 3), "ends": (2, 4, 3)}.get(name, (2, 4, 4, 3))
    given: Any = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(getattr(pairs, name), (given,))


def test_edges_are_read_in_both_directions_alike() -> None:
    network, fields = network_of(width=16, edge_width=8, depth=2, heads=4), graphs(3, 5, torch.Generator())
    fields["adj"] = fields["adj"] + torch.randn(fields["adj"].shape, generator=torch.Generator().manual_seed(3)) * (
        fields["adj"] != 0
    )
    turned = {**fields, "adj": fields["adj"].transpose(1, 2)}
    walk = network.walked
    network.walked = lambda adj, mask: walk((adj + adj.transpose(1, 2)) / 2, mask)  # type: ignore[method-assign]
    for one, two in zip(network.logits(fields, torch.ones(3)), network.logits(turned, torch.ones(3)), strict=True):
        assert torch.allclose(one, two, atol=1e-5)
