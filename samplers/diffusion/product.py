"""Several fields that are perturbed independently and denoised together (Jo et al. 2022, eqs. 1 and 3).

`Fields` is a mapping from names to tensors with the batch first. Entries that have no process of their own (a mask of
nodes, residue types, a condition) are context: they are carried along unchanged and seen by the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError
from samplers.diffusion.sde import SDE

Fields = Mapping[str, Tensor]
"""the state of a batch: every diffused field by name, and context"""
Score = Callable[[Fields, Tensor], Fields]
"""(fields, times (b,)) -> a tangent for every diffused field: the gradient of their joint log-density"""
Mask = Callable[[Fields], Fields]
"""what multiplies the tangents of every field, made from the fields themselves"""


@dataclass(frozen=True)
class PerturbedFields:
    """Noisy fields (context included), and the conditional score of every diffused one."""

    fields: Fields
    score: Fields


@final
class ProductSDE:
    """One process per named field, and which entries of a batch really exist.

    Args:
        sdes: the process of every diffused field.
        mask: from fields to a factor (0 or 1, broadcastable to the tangent) for the fields that are masked; what is
            masked never moves.
    """

    def __init__(self, sdes: Mapping[str, SDE], mask: Mask | None = None) -> None:
        if not sdes:
            raise ConfigError("expected at least one field to diffuse, got none")
        self.sdes, self.mask = dict(sdes), mask

    def items(self) -> Iterator[tuple[str, SDE]]:
        """Every diffused field and its process."""
        yield from self.sdes.items()

    def masked(self, fields: Fields, tangent: Fields) -> Fields:
        """Tangents that are zero wherever nothing exists."""
        if self.mask is None:
            return tangent
        mask = self.mask(fields)
        return {name: value * mask[name] if name in mask else value for name, value in tangent.items()}

    def noise(self, fields: Fields, *, generator: torch.Generator | None = None) -> Fields:
        """A standard normal tangent for every diffused field."""
        drawn = {name: sde.noise(fields[name], generator=generator) for name, sde in self.items()}
        return self.masked(fields, drawn)

    def move(self, fields: Fields, tangent: Fields) -> Fields:
        """The fields after a step along tangents; context stays."""
        step = self.masked(fields, tangent)
        return {**fields, **{name: sde.move(fields[name], step[name]) for name, sde in self.items() if name in step}}

    def perturb(
        self, fields: Fields, t: Float[Tensor, " b"], *, generator: torch.Generator | None = None
    ) -> PerturbedFields:
        """x_t of every field for one time per item, shared by its fields."""
        noise = self.noise(fields, generator=generator)
        made = {name: sde.perturb(fields[name], t, noise[name]) for name, sde in self.items()}
        noisy = {**fields, **{name: item.value for name, item in made.items()}}
        return PerturbedFields(noisy, {name: item.score for name, item in made.items()})

    def prior(self, fields: Fields, *, generator: torch.Generator | None = None) -> Fields:
        """What sampling starts with, in the shapes of `fields`, with their context and mask."""
        drawn = {name: sde.prior(fields[name], generator=generator) for name, sde in self.items()}
        return {**fields, **self.masked_values(fields, drawn)}

    def masked_values(self, fields: Fields, values: Fields) -> Fields:
        """Drawn values where something exists, what was there before elsewhere (for flat fields)."""
        if self.mask is None:
            return values
        mask = self.mask(fields)
        return {
            name: torch.where(mask[name].expand_as(value) > 0, value, fields[name])
            if name in mask and mask[name].ndim == value.ndim
            else value
            for name, value in values.items()
        }


def rows(fields: Fields, index: Tensor) -> Fields:
    """Chosen items of a batch, context included."""
    return {name: value[index] for name, value in fields.items()}


def size(fields: Fields) -> int:
    """How many items a batch has."""
    return len(next(iter(fields.values())))
