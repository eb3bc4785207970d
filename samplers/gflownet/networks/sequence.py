"""Policies over sequences: a causal transformer that appends, and a transformer that edits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplers.environment.edit import EditState, SequenceEdit
from samplers.environment.rollout import Trajectories
from samplers.environment.sequence import SequenceEnvironment, SequenceState
from samplers.gflownet.networks.transformer import Cache, Gate, Stack, padding_bias
from samplers.gflownet.policy import Network, Policy, StatePolicy


@dataclass
class _History:
    cache: Cache
    condition: Float[Tensor, "n c"]
    told: Float[Tensor, "n d"]
    summary: Float[Tensor, "n d"]
    at: int


class CausalPolicy(Policy):
    """A causal transformer with one token per action; see `CausalTransformer`."""

    def __init__(self, environment: SequenceEnvironment, condition_size: int, width: int, depth: int, heads: int):
        super().__init__()
        self.steps, options = environment.max_steps, environment.sizes[0]
        self.condition = nn.Sequential(nn.Linear(condition_size, width), nn.GELU(), nn.Linear(width, width))
        self.token = nn.Embedding(options, width)
        self.position = nn.Embedding(self.steps + 1, width)
        self.stack = Stack(width, depth, heads)
        self.gate = Gate(condition_size, width)
        self.hidden = nn.Linear(width, width)
        self.head = nn.Linear(width, options)
        self.flow = nn.Linear(width, 1)
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=0.3)

    def _logits(self, summary: Float[Tensor, "n l d"], condition: Float[Tensor, "n c"]) -> Float[Tensor, "n l a"]:
        return self.head(nn.functional.gelu(self.gate(self.hidden(summary), condition)))

    def begin(self, state: SequenceState, condition: Float[Tensor, "n d"]) -> _History:
        told = self.condition(condition)
        cache = self.stack.empty_cache(told, self.steps + 1)
        start = self.position.weight[0] + told
        return _History(cache, condition, told, self.stack.step(start[:, None], cache, 0)[:, 0], 1)

    def next_logits(self, memory: _History, state: SequenceState, chosen: Int[Tensor, "n i"]) -> Float[Tensor, "n a"]:
        return self._logits(memory.summary[:, None], memory.condition)[:, 0]

    def observe(self, memory: _History, action: Int[Tensor, "n 1"], next_state: SequenceState) -> _History:
        if memory.at < self.steps:
            token = self.token(action[:, 0]) + self.position.weight[memory.at] + memory.told
            memory.summary = self.stack.step(token[:, None], memory.cache, memory.at)[:, 0]
        memory.at += 1
        return memory

    def path_logits(
        self, trajectories: Trajectories[SequenceState], condition: Float[Tensor, "n d"]
    ) -> tuple[tuple[Float[Tensor, "n l _"], ...], Float[Tensor, "n l e"]]:
        told = self.condition(condition)
        actions = trajectories.actions[..., 0]
        tokens = nn.functional.pad(self.token(actions[:, :-1]), (0, 0, 1, 0))
        summary = self.stack(tokens + self.position.weight[: actions.shape[1]] + told[:, None])
        return (self._logits(summary, condition),), summary


@final
class CausalTransformer(Network):
    """A causal transformer over the tokens of a sequence: a key/value cache in the rollout, one pass for the gradient.

    Args:
        width: size of a token.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        self.width, self.depth, self.heads = width, depth, heads

    def build(self, environment: SequenceEnvironment, condition_size: int) -> CausalPolicy:
        return CausalPolicy(environment, condition_size, self.width, self.depth, self.heads)


class EditPolicy(StatePolicy):
    """A transformer over the positions of a sequence, with a head for where and one for what; see `EditTransformer`."""

    environment: SequenceEdit

    def __init__(self, environment: SequenceEdit, condition_size: int, width: int, depth: int, heads: int):
        super().__init__(environment)
        tokens = len(environment.alphabet)
        self.condition = nn.Sequential(nn.Linear(condition_size, width), nn.GELU(), nn.Linear(width, width))
        self.token, self.edited = nn.Embedding(tokens + 1, width), nn.Embedding(2, width)
        self.position = nn.Embedding(environment.length + 1, width)
        self.count = nn.Embedding(environment.length + 1, width)
        self.stack = Stack(width, depth, heads)
        self.where_gate, self.what_gate = Gate(condition_size, width), Gate(condition_size, width)
        self.where, self.stop = nn.Linear(width, 1), nn.Linear(width, 1)
        self.parent = nn.Linear(width, environment.slots) if environment.has_choice else None
        self.hidden, self.what = nn.Linear(width, width), nn.Linear(width, tokens)
        self.flow = nn.Linear(width, 1)
        for table in (self.token, self.edited, self.position, self.count):
            nn.init.normal_(table.weight, std=0.3)

    def tell(self, condition: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
        return self.condition(condition), condition

    def trunk(self, state: EditState, told: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        edited = state.is_edited
        tokens = self.token(state.tokens + 1) + self.edited(edited.long())
        # the first place stands for the whole sequence, and knows how many edits there are
        first = self.count(edited.sum(1))[:, None]
        x = torch.cat([first, tokens], 1) + self.position.weight + told[0][:, None]
        real = torch.nn.functional.pad(state.tokens >= 0, (1, 0), value=True)
        x = self.stack.biased(x, padding_bias(real, x.dtype).expand(-1, self.stack.heads, real.shape[1], -1))
        return x[:, 0], x[:, 1:]

    def choose(
        self, trunk: tuple[Tensor, ...], state: Any, chosen: Int[Tensor, "r i"], told: tuple[Tensor, ...]
    ) -> Float[Tensor, "r a"]:
        summary, places = trunk
        if chosen.shape[1] == 0:
            summary, places = self.where_gate(summary, told[1]), self.where_gate(places, told[1])
            parts = [self.stop(summary), self.where(places)[..., 0]]
            return torch.cat(parts if self.parent is None else [*parts, self.parent(summary)], -1)
        place = (chosen[:, 0] - 1).clamp(0, places.shape[1] - 1)
        here = places.gather(1, place[:, None, None].expand(-1, 1, places.shape[2]))[:, 0]
        return self.what(nn.functional.gelu(self.what_gate(self.hidden(here), told[1])))


@final
class EditTransformer(Network):
    """A transformer over the positions of a sequence to edit: a position head, then a token head.

    Args:
        width: size of a position.
        depth: number of blocks.
        heads: attention heads.
    """

    def __init__(self, width: int = 64, depth: int = 2, heads: int = 4) -> None:
        self.width, self.depth, self.heads = width, depth, heads

    def build(self, environment: SequenceEdit, condition_size: int) -> EditPolicy:
        return EditPolicy(environment, condition_size, self.width, self.depth, self.heads)
