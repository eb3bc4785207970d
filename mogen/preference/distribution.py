"""Where preferences come from: rows of non-negative weights that sum to 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError, ShapeError


class PreferenceDistribution(ABC):
    """A way of drawing preferences."""

    @abstractmethod
    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        """n rows on the simplex of m objectives, in float32."""


@final
class Dirichlet(PreferenceDistribution):
    """The symmetric Dirichlet distribution; concentration 1 is uniform on the simplex, above 1 nearer its middle."""

    def __init__(self, concentration: float = 1.0) -> None:
        if not 0.01 <= concentration < float("inf"):
            raise ConfigError(f"concentration of a Dirichlet must be at least 0.01 and finite, got {concentration}")
        self.concentration = float(concentration)

    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        shape = torch.full((n, m), self.concentration, dtype=torch.float64)
        draws = torch._standard_gamma(shape, generator=generator).clamp_min(1e-300)
        return (draws / draws.sum(1, keepdim=True)).float()


@final
class SimplexLattice(PreferenceDistribution):
    """Random rows of the simplex lattice with a number of partitions per objective."""

    def __init__(self, partitions: int = 10) -> None:
        self.partitions = _checked(partitions)

    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        lattice = simplex_lattice(m, self.partitions)
        return lattice[torch.randint(len(lattice), (n,), generator=generator)].float()


@final
class Fixed(PreferenceDistribution):
    """The same preference for everyone."""

    def __init__(self, preference: Sequence[float]) -> None:
        self.preference = torch.as_tensor(preference, dtype=torch.float64).clone()
        is_row = self.preference.ndim == 1 and len(self.preference) > 0
        if not is_row or not (self.preference >= 0).all() or abs(self.preference.sum().item() - 1) > 1e-4:
            raise ConfigError(f"a preference must be non-negative numbers that sum to 1, got {list(preference)}")

    def sample(self, n: int, m: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "n m"]:
        del generator
        if len(self.preference) != m:
            raise ShapeError(f"preference must have {m} values, one per objective, got {len(self.preference)}")
        return self.preference.float().repeat(n, 1)


def simplex_lattice(m: int, partitions: int) -> Float[Tensor, "k m"]:
    """All preferences whose weights are multiples of 1/partitions, in float64 (Das and Dennis 1998).

    k = (partitions + m - 1 choose m - 1); the corners are always among them.
    """
    if m < 1:
        raise ShapeError(f"a simplex lattice needs at least one objective, got m={m}")
    return _lattice(m, _checked(partitions)).clone()


@lru_cache(maxsize=32)
def _lattice(m: int, partitions: int) -> Float[Tensor, "k m"]:
    if m == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    from pymoo.util.ref_dirs import get_reference_directions

    return torch.tensor(get_reference_directions("das-dennis", m, n_partitions=partitions), dtype=torch.float64)


def _checked(partitions: int) -> int:
    if partitions < 1:
        raise ConfigError(f"partitions of a simplex lattice must be at least 1, got {partitions}")
    return int(partitions)
