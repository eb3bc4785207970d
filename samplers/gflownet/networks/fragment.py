"""Two policies over fragment trees: of the construction history, and of the tree itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplers.environment.fragment import FragmentEnvironment, FragmentState
from samplers.environment.rollout import Trajectories
from samplers.gflownet.networks.transformer import Cache, Gate, Stack, padding_bias
from samplers.gflownet.policy import Network, Policy


class FragmentHead(nn.Module):
    """Logits of (where, what) from a summary of the tree and one vector per node.

    where: stop, or the dot product of a query with (node + site) keys; what: given the site chosen, the dot product
    with one embedding per (fragment, site) pair.
    """

    pair_index: Tensor

    def __init__(self, environment: FragmentEnvironment, condition_size: int, width: int) -> None:
        super().__init__()
        pairs = environment.sizes[1]
        self.scale = width**-0.5
        self.where_gate, self.what_gate = Gate(condition_size, width), Gate(condition_size, width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.site = nn.Embedding(pairs, width)
        self.stop = nn.Linear(width, 1)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.pair = nn.Embedding(pairs, width)
        self.pair_bias = nn.Parameter(torch.zeros(pairs))
        self.register_buffer("pair_index", environment.pair_index, persistent=False)

    def sites(self, nodes: Float[Tensor, "*n f d"], fragment: Int[Tensor, "*n f"]) -> Float[Tensor, "*n f s d"]:
        """Keys of all sites of all nodes."""
        return self.key(nodes)[..., None, :] + self.site(self.pair_index[fragment.clamp(min=0)])

    def where(
        self, summary: Float[Tensor, "n l d"], sites: Float[Tensor, "n f s d"], told: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n l a"]:
        """Stop, then every site of every node."""
        summary = self.where_gate(summary, told)
        scores = self.query(summary) @ sites.flatten(1, 2).transpose(1, 2) * self.scale
        return torch.cat([self.stop(summary), scores], -1)

    def what(
        self, summary: Float[Tensor, "n *l d"], site: Float[Tensor, "n *l d"], told: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n *l p"]:
        """Every (fragment, site) pair, given the key of the site chosen."""
        hidden = self.what_gate(self.hidden(summary + site), told)
        return hidden @ self.pair.weight.T * self.scale + self.pair_bias


def _chosen_site(sites: Float[Tensor, "n f s d"], where: Int[Tensor, "n l"]) -> Float[Tensor, "n l d"]:
    flat = sites.flatten(1, 2)
    index = (where - 1).clamp(min=0)[..., None].expand(-1, -1, flat.shape[-1])
    return flat.gather(1, index) * (where > 0)[..., None]


@dataclass
class _History:
    cache: Cache
    told: Float[Tensor, "n c"]
    condition: Float[Tensor, "n d"]
    summary: Float[Tensor, "n d"]
    nodes: Float[Tensor, "n f d"]
    sites: Float[Tensor, "n f s d"] | None
    at: int


class HistoryPolicy(Policy):
    """A causal transformer with one token per action; see `HistoryTransformer`."""

    pair_index: Tensor

    def __init__(self, environment: FragmentEnvironment, condition_size: int, width: int, depth: int, heads: int):
        super().__init__()
        self.max_fragments, self.max_sites = environment.max_fragments, environment.max_sites
        pairs = environment.sizes[1]
        self.condition = nn.Sequential(nn.Linear(condition_size, width), nn.GELU(), nn.Linear(width, width))
        self.child, self.host = nn.Embedding(pairs, width), nn.Embedding(pairs + 1, width)
        self.parent = nn.Embedding(environment.max_fragments + 1, width)
        self.position = nn.Embedding(environment.max_fragments + 1, width)
        self.stack = Stack(width, depth, heads)
        self.head = FragmentHead(environment, condition_size, width)
        self.register_buffer("pair_index", environment.pair_index, persistent=False)
        for table in (self.child, self.host, self.parent, self.position):
            nn.init.normal_(table.weight, std=0.3)
        self.flow = nn.Linear(width, 1)

    def _tokens(
        self, action: Int[Tensor, "n l 2"], fragment: Int[Tensor, "n f"], position: Int[Tensor, " l"]
    ) -> Float[Tensor, "n l d"]:
        where, what = action.unbind(-1)
        grows = where > 0
        node, site = (where - 1).clamp(min=0) // self.max_sites, (where - 1).clamp(min=0) % self.max_sites
        host = self.pair_index[fragment.gather(1, node).clamp(min=0), site]
        is_first = position == 1
        host = torch.where(grows & ~is_first, host + 1, 0)
        parent = torch.where(grows & ~is_first, node + 1, 0)
        token = self.child(what) + self.host(host) + self.parent(parent)
        return token * grows[..., None] + self.position(position)

    def begin(self, state: FragmentState, condition: Float[Tensor, "n d"]) -> _History:
        told = self.condition(condition)
        cache = self.stack.empty_cache(told, self.max_fragments + 1)
        nodes = told.new_zeros(len(told), self.max_fragments, told.shape[-1])
        memory = _History(cache, condition, told, told, nodes, None, 0)
        start = told + self.position.weight[0]
        self._advance(memory, start)
        memory.sites = self.head.sites(memory.nodes, state.fragment)
        return memory

    def _advance(self, memory: _History, token: Float[Tensor, "n d"]) -> None:
        memory.summary = self.stack.step(token[:, None], memory.cache, memory.at)[:, 0]
        memory.at += 1

    def next_logits(self, memory: _History, state: FragmentState, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        if memory.sites is None:
            memory.sites = self.head.sites(memory.nodes, state.fragment)
        if chosen.shape[1] == 0:
            return self.head.where(memory.summary[:, None], memory.sites, memory.told)[:, 0]
        return self.head.what(memory.summary, _chosen_site(memory.sites, chosen[:, :1])[:, 0], memory.told)

    def observe(self, memory: _History, action: Int[Tensor, "n 2"], next_state: FragmentState) -> _History:
        if memory.at > self.max_fragments - 1:
            return memory  # nothing is asked after the last step
        position = torch.full((1,), memory.at, device=action.device)
        token = self._tokens(action[:, None], next_state.fragment, position)[:, 0]
        node = memory.at - 1
        self._advance(memory, token + memory.condition)
        memory.nodes[:, node] = memory.summary
        memory.sites = None
        return memory

    def path_logits(
        self, trajectories: Trajectories[FragmentState], condition: Float[Tensor, "n d"]
    ) -> tuple[tuple[Float[Tensor, "n l _"], ...], Float[Tensor, "n l e"]]:
        told = self.condition(condition)
        fragment = trajectories.final.fragment
        steps = trajectories.actions.shape[1]
        positions = torch.arange(1, steps, device=told.device)
        tokens = self._tokens(trajectories.actions[:, : steps - 1], fragment, positions)
        start = self.position.weight[0].expand(len(told), 1, -1)
        x = torch.cat([start, tokens], 1) + told[:, None]
        summary = self.stack(x)
        # node i was added by action i and is read off the token after it; the last one is never a host, and paths that
        # all end early add no more
        nodes = nn.functional.pad(summary[:, 1:], (0, 0, 0, fragment.shape[1] - steps + 1))
        sites = self.head.sites(nodes, fragment)
        where = self.head.where(summary, sites, condition)
        # before anything is there, the only site is the dummy of node 0, whose key must not look ahead
        chosen = _chosen_site(sites, trajectories.actions[..., 0])
        empty = self.head.sites(torch.zeros_like(nodes[:, :1]), torch.zeros_like(fragment[:, :1]))[:, :, 0]
        chosen = torch.cat([empty, chosen[:, 1:]], 1)
        return (where, self.head.what(summary, chosen, condition)), summary


class TreePolicy(Policy):
    """A graph transformer over the fragment tree; see `TreeTransformer`."""

    pair_index: Tensor

    def __init__(self, environment: FragmentEnvironment, condition_size: int, width: int, depth: int, heads: int):
        super().__init__()
        self.max_fragments, self.max_sites = environment.max_fragments, environment.max_sites
        pairs = environment.sizes[1]
        self.condition = nn.Sequential(nn.Linear(condition_size, width), nn.GELU(), nn.Linear(width, width))
        self.kind = nn.Embedding(environment.pair_index.shape[0] + 1, width)
        self.bond = nn.Embedding(pairs, width)
        self.near, self.far = nn.Embedding(pairs, heads), nn.Embedding(pairs, heads)
        self.distance = nn.Embedding(environment.max_fragments + 1, heads)
        self.size = nn.Embedding(environment.max_fragments + 1, width)
        self.stack = Stack(width, depth, heads)
        self.head = FragmentHead(environment, condition_size, width)
        self.register_buffer("pair_index", environment.pair_index, persistent=False)
        for table in (self.kind, self.bond, self.size):
            nn.init.normal_(table.weight, std=0.3)
        self.flow = nn.Linear(width, 1)

    def _encode(
        self, state: FragmentState, told: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n f d"]]:
        """A summary and one vector per node; blind to the order in which nodes were added."""
        n = len(state.fragment)
        real = state.fragment >= 0
        bonded = self.bond(self.pair_index[state.fragment.clamp(min=0)]) * state.used[..., None]
        nodes = self.kind(state.fragment + 1) + bonded.sum(2)
        x = torch.cat([self.size(state.count)[:, None], nodes], 1) + told[:, None]
        bias = self._bias(state)
        bias = nn.functional.pad(bias, (1, 0, 1, 0))
        seen = torch.cat([real.new_ones(n, 1), real], 1)
        bias = bias + padding_bias(seen, bias.dtype)
        x = self.stack.biased(x, bias)
        return x[:, 0], x[:, 1:]

    def _bias(self, state: FragmentState) -> Float[Tensor, "n h f f"]:
        n, f = state.fragment.shape
        joined = state.parent >= 0
        child = torch.arange(f, device=joined.device).expand(n, f)
        parent = state.parent.clamp(min=0)
        kind = state.fragment.clamp(min=0)
        own = self.pair_index[kind, state.child_site.clamp(min=0)]
        host = self.pair_index[kind.gather(1, parent), state.parent_site.clamp(min=0)]
        row = torch.arange(n, device=joined.device)[:, None].expand(n, f)
        up = (self.near(own) + self.far(host)) * joined[..., None]
        down = (self.near(host) + self.far(own)) * joined[..., None]
        bias = self.distance(tree_distance(state.parent))
        bias = bias.index_put((row, child, parent), up, accumulate=True)
        return bias.index_put((row, parent, child), down, accumulate=True).permute(0, 3, 1, 2)

    def begin(self, state: FragmentState, condition: Float[Tensor, "n d"]) -> dict[str, Tensor]:
        return {"told": condition, "condition": self.condition(condition)}

    def next_logits(
        self, memory: dict[str, Tensor], state: FragmentState, chosen: Int[Tensor, "n i"]
    ) -> Float[Tensor, "n a"]:
        if chosen.shape[1] == 0:
            summary, nodes = self._encode(state, memory["condition"])
            memory["summary"], memory["sites"] = summary, self.head.sites(nodes, state.fragment)
            return self.head.where(summary[:, None], memory["sites"], memory["told"])[:, 0]
        site = self._site(memory["sites"], state, chosen[:, :1])[:, 0]
        return self.head.what(memory["summary"], site, memory["told"])

    @staticmethod
    def _site(
        sites: Float[Tensor, "n f s d"], state: FragmentState, where: Int[Tensor, "n 1"]
    ) -> Float[Tensor, "n 1 d"]:
        return _chosen_site(sites, where) * (state.count > 0)[:, None, None]

    def observe(
        self, memory: dict[str, Tensor], action: Int[Tensor, "n 2"], next_state: FragmentState
    ) -> dict[str, Tensor]:
        return memory

    def path_logits(
        self, trajectories: Trajectories[FragmentState], condition: Float[Tensor, "n d"]
    ) -> tuple[tuple[Float[Tensor, "n l _"], ...], Float[Tensor, "n l e"]]:
        told = self.condition(condition)
        steps = trajectories.actions.shape[1]
        stacked = FragmentState.stack(trajectories.states[:steps])
        flat = FragmentState(*(getattr(stacked, name).flatten(0, 1) for name in FragmentState.__dataclass_fields__))
        summary, nodes = self._encode(flat, told.repeat_interleave(steps, 0))
        sites = self.head.sites(nodes, flat.fragment)
        each = condition.repeat_interleave(steps, 0)
        where = self.head.where(summary[:, None], sites, each)[:, 0]
        taken = trajectories.actions[..., 0].flatten()[:, None]
        what = self.head.what(summary, self._site(sites, flat, taken)[:, 0], each)
        n = len(told)
        return (where.view(n, steps, -1), what.view(n, steps, -1)), summary.view(n, steps, -1)


def tree_distance(parent: Int[Tensor, "n f"]) -> Int[Tensor, "n f f"]:
    """Numbers of bonds between nodes of trees given by earlier parents (-1: none); f where there is no way."""
    n, f = parent.shape
    far = torch.full((n, f, f), f, device=parent.device)
    diagonal = torch.arange(f, device=parent.device)
    far[:, diagonal, diagonal] = 0
    for node in range(1, f):
        is_joined = (parent[:, node] >= 0)[:, None]
        via = far.gather(1, parent[:, node].clamp(min=0)[:, None, None].expand(n, 1, f))[:, 0] + 1
        via = torch.where(is_joined, via.clamp(max=f), f)
        via[:, node] = 0
        far[:, node] = via
        far[:, :, node] = via
    return far


@final
class HistoryTransformer(Network):
    """A causal transformer over the construction history: one token per action, a key/value cache in the rollout.

    Args:
        width: size of a token.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, width: int = 192, depth: int = 2, heads: int = 6) -> None:
        self.width, self.depth, self.heads = width, depth, heads

    def build(self, environment: FragmentEnvironment, condition_size: int) -> HistoryPolicy:
        return HistoryPolicy(environment, condition_size, self.width, self.depth, self.heads)


@final
class TreeTransformer(Network):
    """A graph transformer over the fragment tree: dense, padded, blind to the order of construction.

    Args:
        width: size of a node.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, width: int = 192, depth: int = 2, heads: int = 6) -> None:
        self.width, self.depth, self.heads = width, depth, heads

    def build(self, environment: FragmentEnvironment, condition_size: int) -> TreePolicy:
        return TreePolicy(environment, condition_size, self.width, self.depth, self.heads)
