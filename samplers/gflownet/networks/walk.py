"""Rollouts of an MLP over a hypergrid as machine code: the walks of a batch are divided among threads, start to end.

With small batches a rollout in torch is a long row of tiny operations, and calling them costs more than the arithmetic.
Here one call walks all of it. The code is C with vector extensions (GCC or Clang), compiled once for the CPU at hand.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mogen.errors import ConfigError
from samplers.environment.environment import Environment
from samplers.environment.hypergrid import HyperGrid, HyperGridState
from samplers.environment.rollout import Slices, Trajectories, drawn
from samplers.gflownet.networks.mlp import SLOPE, MLPPolicy
from samplers.gflownet.policy import Policy
from samplers.native import compiled

PANEL = 32
"""columns of a weight that are computed together; widths are a multiple of it"""

SOURCE = Path(__file__).with_name("walk.c")
FLAGS = (
    "-O3",
    "-march=native",
    # not -ffast-math: linked into a library, it would change how the whole process treats tiny numbers
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-fopenmp",
)


class _Walk(ctypes.Structure):
    """The C struct `walk`, field by field."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("n", "steps", "dimension", "side", "edge_ends", "length")),
        *((name, ctypes.c_long) for name in ("width", "depth", "threads")),
        ("slope", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("first", "told", "weight", "bias", "scale", "shift", "head", "offset")),
        *((name, ctypes.c_void_p) for name in ("factor", "noise", "explores", "position", "stopped", "action")),
        *((name, ctypes.c_void_p) for name in ("allowed", "hidden", "logits", "log_forward", "log_backward", "moves")),
    ]


class _Gradient(ctypes.Structure):
    """The C struct `gradient`, field by field."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("n", "steps", "dimension", "side", "width", "depth", "threads")),
        ("slope", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("position", "hidden", "scale", "shift", "head", "weight")),
        *((name, ctypes.c_void_p) for name in ("logits", "allowed", "action", "upward")),
        ("stride", ctypes.c_long),
        *((name, ctypes.c_void_p) for name in ("to_told", "to_scale", "to_shift", "work", "shared")),
    ]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The compiled code; raises `RunError` where there is no C compiler."""
    found = compiled(SOURCE, *FLAGS)
    found.walk_all.restype = ctypes.c_long
    found.walk_all.argtypes = [ctypes.POINTER(_Walk)]
    found.gradient_all.restype = None
    found.gradient_all.argtypes = [ctypes.POINTER(_Gradient)]
    return found


@dataclass(frozen=True)
class Walked:
    """What an `MLPPolicy` computed on n walks of l steps, for its gradient."""

    grid: HyperGrid
    position: Int[Tensor, "l n d"]
    """before every step"""
    action: Int[Tensor, "l n"]
    allowed: Bool[Tensor, "l n a"]
    hidden: Float[Tensor, "k l n w"]
    """of all layers; steps beyond the longest walk are cut off, so that layers need not lie side by side"""
    logits: Float[Tensor, "l n a"]
    log_forward: Float[Tensor, "l n"]
    scale: Float[Tensor, "n w"]
    shift: Float[Tensor, "n w"]

    def log_probs(self, policy: MLPPolicy, condition: Float[Tensor, "n d"]) -> Float[Tensor, "n l"]:
        """Log-probabilities of the steps, with their gradient; for the very weights and conditions of the rollout."""
        gate = policy.gate
        parameters = [part for layer in policy.layers() for part in (layer.weight, layer.bias)]
        return _Recalled.apply(self, condition, policy.condition.weight, gate.weight, gate.bias, *parameters).T


class _Recalled(torch.autograd.Function):
    """Log-probabilities of steps that are known already, with their gradient (also that of `MLPPolicy.tell`)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        walked: Walked,
        condition: Float[Tensor, "n d"],
        to_first: Float[Tensor, "w d"],
        gate: Float[Tensor, "v d"],
        offset: Float[Tensor, " v"],
        *parameters: Tensor,
    ) -> Float[Tensor, "l n"]:
        ctx.walked = walked
        ctx.save_for_backward(condition, *parameters[::2])
        return walked.log_forward.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upward: Float[Tensor, "l n"]) -> Any:  # type: ignore[override]
        walked: Walked = ctx.walked
        condition, _first, *inner, head = ctx.saved_tensors
        scale, shift = walked.scale, walked.shift
        (steps, n, dimension), (n, width), grid = walked.position.shape, scale.shape, walked.grid
        places, depth, actions = dimension * grid.side, 1 + len(inner), len(head)
        sizes = (places * width, len(inner) * width**2, len(inner) * width, actions * width, actions)
        outputs = {
            **{name: torch.zeros(n, width) for name in ("to_told", "to_scale", "to_shift")},
            "work": torch.empty(torch.get_num_threads(), sum(sizes) + 3 * 64 * width),
            "shared": torch.empty(sum(sizes)),
        }
        inputs = {
            "position": walked.position,
            "hidden": walked.hidden,
            "scale": scale,
            "shift": shift,
            "head": head,
            "weight": _together([_panels(weight.T) for weight in inner]),
            "logits": walked.logits,
            "allowed": walked.allowed,
            "action": walked.action,
            "upward": upward.contiguous(),
        }
        whole = {
            "n": n,
            "steps": steps,
            "dimension": dimension,
            "side": grid.side,
            "width": width,
            "depth": depth,
            "threads": torch.get_num_threads(),
            "slope": SLOPE,
            "stride": walked.hidden.stride(0),
        }
        library().gradient_all(ctypes.byref(_Gradient(**whole, **_pointers(inputs | outputs))))
        first, weights, biases, to_head, to_offset = outputs["shared"].split(sizes)
        to_told, to_gate = outputs["to_told"], torch.cat([outputs["to_scale"], outputs["to_shift"]], 1)
        layers: list[Tensor] = [to_told.T @ condition, to_gate.T @ condition, to_gate.sum(0)]
        layers += [first.view(places, width).T, to_told.sum(0)]
        for weight, bias in zip(weights.view(-1, width, width), biases.view(-1, width), strict=True):
            layers += [weight, bias]
        layers += [to_head.view(actions, width), to_offset]
        return None, None, *layers


def _pointers(tensors: Mapping[str, Tensor | None]) -> dict[str, int | None]:
    """Where contiguous tensors lie."""
    return {name: None if part is None else part.data_ptr() for name, part in tensors.items()}


class GridWalk:
    """The rollout of an MLP over a hypergrid in one call; the same walks as `rollout` from the same random numbers.

    (Up to rounding: sums are taken in another order.) What the layers gave is kept with the trajectories where it is
    asked for, so that the gradient need not compute it again.
    """

    def __init__(self, environment: Environment, policy: Policy) -> None:
        if not isinstance(environment, HyperGrid) or not isinstance(policy, MLPPolicy):
            raise ConfigError(
                f"expected an MLP over a HyperGrid for compile: true, got {type(policy).__name__} over "
                f"{type(environment).__name__}"
            )
        if policy.first.out_features % PANEL:
            raise ConfigError(
                f"expected a width that {PANEL} divides for compile: true, got {policy.first.out_features}"
            )
        self.grid, self.policy = environment, policy
        library()

    @property
    def suits(self) -> bool:
        """True while the weights can be read: float32, on the CPU."""
        weight = self.policy.first.weight
        return weight.dtype == torch.float32 and weight.device.type == "cpu"

    @torch.no_grad()
    def rollout(
        self,
        condition: Float[Tensor, "n d"],
        *,
        epsilon: float = 0.0,
        remembers: bool = False,
        generator: torch.Generator | None = None,
    ) -> Trajectories[HyperGridState]:
        """n walks under a condition each."""
        grid, policy = self.grid, self.policy
        first, *inner, head = policy.layers()
        n, steps, width, actions = len(condition), grid.max_steps, first.out_features, grid.sizes[0]
        noise, explores = zip(*drawn(n, grid.sizes, steps, epsilon=epsilon, generator=generator), strict=True)
        told, scale, shift = (part.contiguous() for part in policy.tell(condition))
        inputs = {
            "first": first.weight.T.contiguous(),
            "told": told + first.bias,
            "weight": _together([_panels(layer.weight) for layer in inner]),
            "bias": _together([layer.bias for layer in inner]),
            "scale": scale,
            "shift": shift,
            "head": head.weight,
            "offset": head.bias,
            "factor": None if policy.scale is None else policy.scale(condition),
            "noise": noise[0] if len(noise) == 1 else torch.cat(noise),
            "explores": torch.cat([*explores]) if epsilon > 0 else None,
        }
        made = {
            "position": torch.empty(steps + 1, n, grid.dimension, dtype=torch.long),
            "stopped": torch.empty(steps + 1, n, dtype=torch.bool),
            "action": torch.empty(steps, n, dtype=torch.long),
            "allowed": torch.empty(steps, n, actions, dtype=torch.bool),
            "logits": torch.empty(steps, n, actions),
            "log_forward": torch.empty(steps, n),
            "log_backward": torch.empty(steps, n),
            "moves": torch.empty(steps, n, dtype=torch.bool),
        }
        hidden = torch.empty(1 + len(inner), steps, n, width) if remembers else None
        whole = {
            "n": n,
            "steps": steps,
            "dimension": grid.dimension,
            "side": grid.side,
            "edge_ends": grid.edge_ends,
            "length": grid.length or 0,
            "width": width,
            "depth": 1 + len(inner),
            "threads": torch.get_num_threads(),
            "slope": SLOPE,
        }
        longest = library().walk_all(ctypes.byref(_Walk(**whole, **_pointers({**inputs, **made, "hidden": hidden}))))
        part = {name: value[:longest] for name, value in made.items()}
        kept = {name: part[name] for name in ("position", "action", "allowed", "logits", "log_forward")}
        kept |= {"scale": scale, "shift": shift}
        places = HyperGridState(made["position"][: longest + 1], made["stopped"][: longest + 1])
        return Trajectories(
            actions=part["action"].T[..., None],
            allowed=(part["allowed"].transpose(0, 1),),
            states=Slices(places),
            log_backward=part["log_backward"].T,
            log_symmetry=torch.zeros(n),
            moves=part["moves"].T,
            remembered=None if hidden is None else Walked(grid, hidden=hidden[:, :longest], **kept),
        )


def _together(parts: list[Tensor]) -> Tensor | None:
    """Tensors of one shape one after another; None where there is none."""
    return parts[0] if len(parts) == 1 else torch.cat(parts) if parts else None


def _panels(weight: Float[Tensor, "o i"]) -> Float[Tensor, "p i c"]:
    """A weight, transposed, as panels of `PANEL` columns."""
    return weight.reshape(-1, PANEL, weight.shape[1]).transpose(1, 2).contiguous()
