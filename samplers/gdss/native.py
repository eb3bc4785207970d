"""The published networks of GDSS as machine code for this computer, where it has a C compiler; nothing else needs it.

`networks.c` is compiled once and kept in the cache. Without a compiler, on other devices, in other precisions and where
gradients with respect to graphs are wanted the network runs in PyTorch, which is also what it is tested against.
MOGEN_NATIVE=0 switches it off.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from samplers.gdss.attention import GraphConvolution
from samplers.native import compiled

if TYPE_CHECKING:
    from samplers.gdss.network import ScoreNetworkA, ScoreNetworkX

SOURCE = Path(__file__).with_name("networks.c")
FLAGS = (
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fno-math-errno",
    "-ffp-contract=fast",
)
LANES = 16
"""so many graphs are computed at a time"""
is_off = False
"""whether machine code is left alone for now"""


@remembered
def library(source: Path = SOURCE) -> ctypes.CDLL | None:
    """The compiled functions of a file; None where they cannot be had."""
    if os.environ.get("MOGEN_NATIVE") == "0" or platform.system() != "Linux":
        return None
    try:
        return compiled(source, *FLAGS)
    except (OSError, RunError):
        return None


def suits(*tensors: Tensor, weights: Iterable[Tensor] | None = None) -> bool:
    """Whether these can be computed outside PyTorch: single precision on the processor, and no gradients wanted.

    Where weights are given, their gradients can be had, but not those of the tensors.
    """
    if torch.is_grad_enabled():
        if weights is None or any(item.requires_grad for item in tensors):
            return False
        tensors = (*tensors, *weights)
    return are_plain(*tensors) and library() is not None


def are_plain(*tensors: Tensor) -> bool:
    """Whether machine code may compute these: single precision on the processor, and it is not switched off."""
    if is_off or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return all(item.device.type == "cpu" and item.dtype == torch.float32 for item in tensors)


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
    """The weights of a network as the compiled functions want them; made anew where they have changed."""

    def __init__(self) -> None:
        self.version: tuple[tuple[int, int], ...] = ()
        self.tensors: list[Tensor] = []
        self.facts: list[int] = []

    def of(self, network: ScoreNetworkA | ScoreNetworkX) -> Packed:
        """The weights of a network."""
        version = tuple((value.data_ptr(), value._version) for value in network.parameters())
        if version != self.version:
            self.version, self.tensors, self.facts = version, [], []
            for layer in network.layers:
                if isinstance(layer, GraphConvolution):
                    self.tensors += [layer.weight.detach().contiguous(), layer.bias.detach().contiguous()]
                else:
                    self._add_layer(layer)
            self._add_rows(network.final)
        return self

    def _add_layer(self, layer: Any) -> None:
        """An `AttentionLayer`."""
        a, o = layer.attention, layer.d_out
        used = 2 * a + (o if layer.has_nodes else 0)
        c_in, d_in = layer.weight.shape[:2]
        for weight, bias in zip(layer.weight, layer.bias, strict=True):
            self.tensors += [weight[:, :used].detach().contiguous(), bias[:, :used].detach().contiguous()]
        self._add_rows(layer.edge_mlp)
        if layer.has_nodes:
            self._add_rows(layer.node_mlp)
        edge, node = layer.edge_mlp.linears, layer.node_mlp.linears
        self.facts += [d_in, a, o, c_in, edge[-1].out_features, len(edge), edge[0].out_features, node[0].out_features]
        self.facts.append(int(layer.has_nodes))

    def _add_rows(self, perceptron: Any) -> None:
        """A `Perceptron`, inputs by outputs."""
        for linear in perceptron.linears:
            self.tensors += [linear.weight.detach().T.contiguous(), linear.bias.detach().contiguous()]

    def pointers(self) -> ctypes.Array[ctypes.c_void_p]:
        """Where the weights lie."""
        return addresses(self.tensors)


def addresses(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    """Where tensors lie."""
    return (ctypes.c_void_p * len(tensors))(*[item.data_ptr() for item in tensors])


@remembered
def workers(count: int) -> ThreadPoolExecutor:
    """Threads that wait for machine code."""
    return ThreadPoolExecutor(count)


def edge_scores(
    network: ScoreNetworkA, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
) -> Float[Tensor, "b v v"]:
    """What the network says of pairs."""
    code, packed = library(), network.packed.of(network)
    assert code is not None
    options = [*edge_options(network), packed.pointers()]
    return computed(code.edge_scores, options, x, adj, mask, torch.empty_like(adj.contiguous()))


def node_scores(
    network: ScoreNetworkX, x: Float[Tensor, "b v d"], adj: Float[Tensor, "b v v"], mask: Float[Tensor, "b v"]
) -> Float[Tensor, "b v d"]:
    """What the network says of nodes."""
    code, packed = library(), network.packed.of(network)
    assert code is not None
    options = [*node_options(network), packed.pointers()]
    return computed(code.node_scores, options, x, adj, mask, torch.empty_like(x.contiguous()))


def edge_options(network: ScoreNetworkA) -> list[Any]:
    """What `edge_scores` in C is told of the network."""
    first: Any = network.layers[0]
    last: Any = network.final.linears
    facts = (ctypes.c_int * len(network.packed.facts))(*network.packed.facts)
    return [first.heads, len(network.layers), network.c_init, len(last), last[0].out_features, facts]


def node_options(network: ScoreNetworkX) -> list[Any]:
    """What `node_scores` in C is told of the network."""
    first: Any = network.layers[0] if network.layers else None
    return [len(network.layers), first.weight.shape[1] if first else 0]


def computed(
    function: Callable[..., int],
    options: Sequence[Any],
    x: Float[Tensor, "b v d"],
    adj: Float[Tensor, "b v v"],
    mask: Float[Tensor, "b v"],
    out: Tensor,
    own: Sequence[Any] = (),
) -> Tensor:
    """A compiled function of all graphs, in as many threads as PyTorch uses; sixteen graphs are never parted.

    `own` has one more option for every part of the graphs.
    """
    given = [x.contiguous(), adj.contiguous(), mask.contiguous(), out]
    parts = parts_of(len(x))

    def part(index: int) -> int:
        start, end = parts[index]
        where = [ctypes.c_void_p(item[start:end].data_ptr()) for item in given]
        return int(function(end - start, adj.shape[1], x.shape[2], *options, *own[index : index + 1], *where))

    count = len(parts)
    done = [part(0)] if count < 2 else list(workers(count).map(part, range(count)))
    if any(done):
        raise MemoryError("expected memory for the networks of GDSS, got none")
    return out


def parts_of(graphs: int) -> list[tuple[int, int]]:
    """Where the graphs of every thread begin and end."""
    groups = -(-graphs // LANES)
    threads = max(1, min(torch.get_num_threads(), groups))
    return list(pairwise(min(graphs, groups * k // threads * LANES) for k in range(threads + 1)))
