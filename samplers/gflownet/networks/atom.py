"""A policy over molecular graphs grown atom by atom."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplers.environment.atom import ORDERS, AtomEnvironment, AtomState
from samplers.gflownet.networks.transformer import Gate, Stack, padding_bias
from samplers.gflownet.policy import Network, StatePolicy


class AtomPolicy(StatePolicy):
    """A transformer over atoms, bonds as attention biases; heads for where, what and bond order.

    See `AtomTransformer`. It is blind to the order in which atoms were added.
    """

    environment: AtomEnvironment

    def __init__(self, environment: AtomEnvironment, condition_size: int, width: int, depth: int, heads: int):
        super().__init__(environment)
        elements, most = len(environment.elements), environment.max_atoms
        self.elements, self.shrink = elements, width**-0.5
        self.condition = nn.Sequential(nn.Linear(condition_size, width), nn.GELU(), nn.Linear(width, width))
        self.element, self.free = nn.Embedding(elements + 1, width), nn.Embedding(8, width)
        self.count, self.rings = nn.Embedding(most + 1, width), nn.Embedding(environment.max_rings + 1, width)
        self.bond = nn.Embedding(len(ORDERS) + 1, heads)
        self.stack = Stack(width, depth, heads)
        self.where_gate, self.what_gate = Gate(condition_size, width), Gate(condition_size, width)
        self.stop, self.where = nn.Linear(width, 1), nn.Linear(width, 1)
        self.new, self.query, self.key = nn.Linear(width, elements), nn.Linear(width, width), nn.Linear(width, width)
        self.kind = nn.Embedding(elements, width)
        self.order = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(ORDERS)))
        self.flow = nn.Linear(width, 1)
        for table in (self.element, self.free, self.count, self.rings, self.kind):
            nn.init.normal_(table.weight, std=0.3)

    def tell(self, condition: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
        return self.condition(condition), condition

    def trunk(self, state: AtomState, told: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        environment = self.environment
        atoms = self.element(state.element + 1) + self.free(environment.free_valence(state).clamp(0, 7))
        first = self.count(state.count) + self.rings(environment.rings(state).clamp(min=0))
        x = torch.cat([first[:, None], atoms], 1) + told[0][:, None]
        bias = nn.functional.pad(self.bond(state.bond).permute(0, 3, 1, 2), (1, 0, 1, 0))
        real = nn.functional.pad(state.element >= 0, (1, 0), value=True)
        x = self.stack.biased(x, bias + padding_bias(real, x.dtype))
        return x[:, 0], x[:, 1:]

    def choose(
        self, trunk: tuple[Tensor, ...], state: AtomState, chosen: Int[Tensor, "r i"], told: tuple[Tensor, ...]
    ) -> Float[Tensor, "r a"]:
        summary, atoms = trunk
        if chosen.shape[1] == 0:
            hosts = self.where(self.where_gate(atoms, told[1]))[..., 0]
            return torch.cat([self.stop(self.where_gate(summary, told[1])), hosts], -1)
        host = self._atom(atoms, chosen[:, 0] - 1)
        host = self.what_gate(summary + host, told[1])
        if chosen.shape[1] == 1:
            rings = (self.key(atoms) @ self.query(host)[:, :, None])[..., 0] * self.shrink
            return torch.cat([self.new(host), rings], -1)
        what = chosen[:, 1]
        new = self.kind(what.clamp(max=self.elements - 1))
        other = torch.where((what < self.elements)[:, None], new, self._atom(atoms, what - self.elements))
        return self.order(host + other)

    @staticmethod
    def _atom(atoms: Float[Tensor, "r m d"], index: Int[Tensor, " r"]) -> Float[Tensor, "r d"]:
        index = index.clamp(0, atoms.shape[1] - 1)
        return atoms.gather(1, index[:, None, None].expand(-1, 1, atoms.shape[2]))[:, 0]


@final
class AtomTransformer(Network):
    """A transformer over the atoms of a molecule, bonds as attention biases, blind to the order of construction.

    Args:
        width: size of an atom.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, width: int = 96, depth: int = 3, heads: int = 4) -> None:
        self.width, self.depth, self.heads = width, depth, heads

    def build(self, environment: AtomEnvironment, condition_size: int) -> AtomPolicy:
        return AtomPolicy(environment, condition_size, self.width, self.depth, self.heads)
