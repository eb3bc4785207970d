"""A multilayer perceptron over the features of a state."""

from __future__ import annotations

from typing import Any, cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplers.environment.environment import Environment
from samplers.gflownet.policy import Network, StatePolicy


class MLPPolicy(StatePolicy):
    """Hidden layers over state features; see `MLP`."""

    def __init__(self, environment: Environment, condition_size: int, width: int, depth: int) -> None:
        super().__init__(environment)
        features = environment.features(environment.initial(1)).shape[1]
        sizes = environment.sizes
        self.first = nn.Linear(features, width)
        self.condition = nn.Linear(condition_size, width, bias=False)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(depth - 1)])
        self.gate = nn.Linear(condition_size, 2 * width)
        # the choices made before are told as one-hot numbers
        self.heads = nn.ModuleList([nn.Linear(width, size) for size in sizes])
        self.earlier = nn.ModuleList([nn.Embedding(size, width) for size in sizes[:-1]])
        self.flow = nn.Linear(width, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def tell(self, condition: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
        scale, shift = self.gate(condition).chunk(2, -1)
        return self.condition(condition), 1 + scale, shift

    def trunk(self, state: Any, told: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        first, scale, shift = told
        x = nn.functional.leaky_relu(self.first(self.environment.features(state)) + first)
        for layer in self.hidden:
            x = nn.functional.leaky_relu(layer(x))
        return (torch.addcmul(shift, x, scale),)

    def choose(
        self, trunk: tuple[Tensor, ...], state: Any, chosen: Int[Tensor, "r i"], told: tuple[Tensor, ...]
    ) -> Float[Tensor, "r a"]:
        x, choice = trunk[0], chosen.shape[1]
        for place in range(choice):
            x = x + cast("nn.Embedding", self.earlier[place])(chosen[:, place])
        return self.heads[choice](x if choice == 0 else nn.functional.leaky_relu(x))


@final
class MLP(Network):
    """A multilayer perceptron over the features of a state, for any environment that has them.

    The condition is added to the first hidden layer, and scales and shifts the last one.

    Args:
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    def __init__(self, width: int = 256, depth: int = 2) -> None:
        self.width, self.depth = width, depth

    def build(self, environment: Environment, condition_size: int) -> MLPPolicy:
        return MLPPolicy(environment, condition_size, self.width, self.depth)
