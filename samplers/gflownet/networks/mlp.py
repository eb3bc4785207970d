"""A multilayer perceptron over the features of a state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from samplers.environment.environment import Environment
from samplers.environment.rollout import Trajectories
from samplers.gflownet.policy import Network, PathScores, StatePolicy
from samplers.products import activated, outer, product

SLOPE = 0.01
"""of the leaky rectifier below 0"""


class Perceptron(torch.autograd.Function):
    """Hidden layers, gate and head of an `MLPPolicy` at once, with the gradient written out.

    h_1 = leaky(W_1 f + b_1 + c), h_i = leaky(W_i h_(i-1) + b_i), x = scale h_d + shift, y = W x + b. States come as
    s batches of n rows, or as r rows with a condition each (s = 1).
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        features: Float[Tensor, "r f"],
        told: Float[Tensor, "n w"],
        scale: Float[Tensor, "n w"],
        shift: Float[Tensor, "n w"],
        *parameters: Tensor,
    ) -> tuple[Float[Tensor, "r w"], Float[Tensor, "r a"]]:
        *layers, (head, offset) = zip(parameters[::2], parameters[1::2], strict=True)
        hidden = forward_hidden(features, told, layers)
        x = torch.addcmul(shift, hidden[-1].view(-1, *scale.shape), scale).view(-1, scale.shape[1])
        logits = torch.nn.functional.linear(x, head, offset)
        ctx.save_for_backward(features, scale, x, *hidden, *(weight for weight, _ in layers), head)
        ctx.set_materialize_grads(False)
        return x, logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, to_x: Tensor | None, to_logits: Tensor | None) -> Any:  # type: ignore[override]
        features, scale, x, *rest, head = ctx.saved_tensors
        depth = len(rest) // 2
        hidden, weights = rest[:depth], rest[depth:]
        batches = (-1, *scale.shape)
        ends: tuple[Tensor | None, Tensor | None] = (None, None)
        if to_logits is not None:
            ends = outer(to_logits, x), to_logits.sum(0)
            onward = to_logits @ head if to_x is None else torch.addmm(to_x, to_logits, head)
        elif to_x is not None:
            onward = to_x.clone()
        else:
            return (None,) * (6 + 2 * depth)
        # from here on in place: fresh memory costs more than what is written to it
        parts = onward.view(batches)
        to_scale, to_shift = torch.zeros_like(scale), parts.sum(0)
        for part, below in zip(parts, hidden[-1].view(batches), strict=True):
            to_scale.addcmul_(part, below)
        parts.mul_(scale)
        gradients: list[Tensor | None] = [*ends]
        for layer in reversed(range(depth)):
            torch.ops.aten.leaky_relu_backward.grad_input(onward, hidden[layer], SLOPE, True, grad_input=onward)
            below = hidden[layer - 1] if layer else features
            bias = onward.sum(0) if layer else (to_told := onward.view(batches).sum(0)).sum(0)
            gradients = [outer(onward, below), bias, *gradients]
            onward = product(onward, weights[layer].T) if layer else onward
        return None, to_told, to_scale, to_shift, *gradients


def forward_hidden(
    features: Float[Tensor, "r f"], told: Float[Tensor, "n w"], layers: Sequence[tuple[Tensor, Tensor]]
) -> list[Float[Tensor, "r w"]]:
    """The hidden layers of states, given weights and biases."""
    (weight, bias), *more = layers
    x = product(features, weight, bias)
    hidden = [torch.nn.functional.leaky_relu_(x.view(-1, *told.shape).add_(told), SLOPE).view_as(x)]
    for weight, bias in more:
        hidden.append(activated(hidden[-1], weight, bias, SLOPE))
    return hidden


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

    def layers(self) -> list[nn.Linear]:
        """Hidden layers and the first head, in the order of their calling."""
        return [self.first, *cast("Iterable[nn.Linear]", self.hidden), cast("nn.Linear", self.heads[0])]

    def tell(self, condition: Float[Tensor, "n d"]) -> tuple[Tensor, ...]:
        scale, shift = self.gate(condition).chunk(2, -1)
        return self.condition(condition), 1 + scale, shift

    def told_rows(self, told: tuple[Tensor, ...], steps: int, rows: Int[Tensor, " r"] | None) -> tuple[Tensor, ...]:
        """Of whole batches, the condition is given once: `trunk` takes s batches of states to one of conditions."""
        return told if rows is None else super().told_rows(told, steps, rows)

    def trunk(self, state: Any, told: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        parameters = [part for layer in self.layers() for part in (layer.weight, layer.bias)]
        return Perceptron.apply(self.environment.features(state), *told, *parameters)

    def path(
        self, trajectories: Trajectories, condition: Float[Tensor, "n d"], wants: Collection[str] = ()
    ) -> PathScores:
        if trajectories.remembered is None or wants or self.scale is not None:
            return super().path(trajectories, condition, wants)
        return PathScores(trajectories.remembered.log_probs(self, condition))

    def choose(
        self, trunk: tuple[Tensor, ...], state: Any, chosen: Int[Tensor, "r i"], told: tuple[Tensor, ...]
    ) -> Float[Tensor, "r a"]:
        x, choice = trunk[0], chosen.shape[1]
        if choice == 0:
            return trunk[1]
        for place in range(choice):
            x = x + cast("nn.Embedding", self.earlier[place])(chosen[:, place])
        return self.heads[choice](nn.functional.leaky_relu(x))


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
