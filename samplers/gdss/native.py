"""The edge network of GDSS as machine code for this computer, where it has a C compiler; nothing else needs it.

`edges.c` is compiled once and kept in the cache. Without a compiler, with gradients, on other devices and in other
precisions the network runs in PyTorch, which is also what it is tested against. MOGEN_NATIVE=0 switches it off.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache as remembered
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import RunError
from samplers.native import compiled

if TYPE_CHECKING:
    from samplers.gdss.network import ScoreNetworkA

SOURCE = Path(__file__).with_name("edges.c")
FLAGS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fno-math-errno",
    "-ffp-contract=fast",
)
LANES = 16
"""numbers in a row are padded to a multiple of so many"""
is_off = False
"""whether machine code is left alone for now"""


@remembered
def library() -> ctypes.CDLL | None:
    """The compiled functions; None where they cannot be had."""
    if os.environ.get("MOGEN_NATIVE") == "0" or platform.system() != "Linux":
        return None
    try:
        return compiled(SOURCE, *FLAGS)
    except (OSError, RunError):
        return None


def suits(*tensors: Tensor) -> bool:
    """Whether these can be computed outside PyTorch: single precision on the processor, and no gradients wanted."""
    if is_off or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    is_plain = all(item.device.type == "cpu" and item.dtype == torch.float32 for item in tensors)
    return is_plain and library() is not None


@contextmanager
def pytorch_only() -> Iterator[None]:
    """Where machine code is not used, so that PyTorch sees (and counts) every operation."""
    global is_off
    before, is_off = is_off, True
    try:
        yield
    finally:
        is_off = before


@final
class Packed:
    """The weights of an edge network as the compiled function wants them; made anew where they have changed."""

    def __init__(self) -> None:
        self.version: tuple[tuple[int, int], ...] = ()
        self.tensors: list[Tensor] = []
        self.facts: list[int] = []

    def of(self, network: ScoreNetworkA) -> Packed:
        """The weights of a network."""
        version = tuple((value.data_ptr(), value._version) for value in network.parameters())
        if version != self.version:
            self.version, self.tensors, self.facts = version, [], []
            for layer in network.layers:
                self._add_layer(layer)
            self._add_rows(network.final)
        return self

    def _add_layer(self, layer: Any) -> None:
        """An `AttentionLayer`."""
        a, o = layer.attention, layer.d_out
        used = 2 * a + (o if layer.has_nodes else 0)
        c_in, d_in = layer.weight.shape[:2]
        for weight, bias in zip(layer.weight, layer.bias, strict=True):
            self.tensors += [padded(weight[:, :used]), padded(bias[:, :used])]
        self._add_rows(layer.edge_mlp)
        edge, node = layer.edge_mlp.linears, layer.node_mlp.linears
        if layer.has_nodes:
            for linear in node:
                self.tensors += [padded(linear.weight.T), padded(linear.bias[None])]
        self.facts += [d_in, a, o, c_in, edge[-1].out_features, len(edge), edge[0].out_features, node[0].out_features]
        self.facts.append(int(layer.has_nodes))

    def _add_rows(self, perceptron: Any) -> None:
        """A `Perceptron` whose weights stand before what they multiply."""
        for linear in perceptron.linears:
            self.tensors += [linear.weight.detach().contiguous(), linear.bias.detach().contiguous()]


def padded(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
    """Rows with zeros behind them, up to a multiple of 16 numbers."""
    return torch.nn.functional.pad(rows.detach(), (0, -rows.shape[1] % LANES)).contiguous()


@remembered
def workers(count: int) -> ThreadPoolExecutor:
    """Threads that wait for machine code."""
    return ThreadPoolExecutor(count)


def edge_scores(
    network: ScoreNetworkA, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
) -> Float[Tensor, "b v v"]:
    """What the network says, computed graph by graph in as many threads as PyTorch uses."""
    code = library()
    assert code is not None
    packed = network.packed.of(network)
    x, adj, mask = x.contiguous(), adj.contiguous(), mask.contiguous()
    out = torch.empty_like(adj)
    v = adj.shape[1]
    first: Any = network.layers[0]
    last: Any = network.final.linears
    facts = (ctypes.c_int * len(packed.facts))(*packed.facts)
    weights = (ctypes.c_void_p * len(packed.tensors))(*[item.data_ptr() for item in packed.tensors])

    def part(start: int, end: int) -> int:
        where = [ctypes.c_void_p(item[start:end].data_ptr()) for item in (x, adj, mask, out)]
        counts = [end - start, v, x.shape[2], first.heads, len(network.layers), network.c_init]
        counts += [len(last), last[0].out_features]
        return int(code.edge_scores(*counts, facts, weights, *where))

    threads = min(torch.get_num_threads(), len(x))
    ends = [len(x) * k // max(threads, 1) for k in range(threads + 1)]
    parts = list(pairwise(ends))
    done = [part(*one) for one in parts] if threads < 2 else list(workers(threads).map(lambda one: part(*one), parts))
    if any(done):
        raise MemoryError("expected memory for the edge network of GDSS, got none")
    return out
