"""One number out of many utilities.

Every kind maps utilities in [0, 1] and preferences on the simplex into [0, 1], larger is better, and never falls when
a utility rises. Utilities outside [0, 1] are clamped first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from jaxtyping import Float
from torch import Tensor

from mogen.errors import ConfigError


class Scalarization(ABC):
    """How a preference weighs utilities: monotone in every utility, into [0, 1], larger is better."""

    @abstractmethod
    def __call__(self, utility: Float[Tensor, "*b m"], preference: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        """What the utilities are worth to someone with this preference."""


@final
class WeightedSum(Scalarization):
    """S = sum_i w_i u_i; reaches only the convex parts of a front."""

    def __call__(self, utility: Float[Tensor, "*b m"], preference: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        return (preference * utility.clamp(0, 1)).sum(-1).clamp(0, 1)


@final
class WeightedLogSum(Scalarization):
    """S = prod_i max(u_i, floor)^w_i, the weighted geometric mean; a utility below the floor counts as the floor."""

    def __init__(self, floor: float = 1e-8) -> None:
        if not 0 < floor < 1:
            raise ConfigError(f"floor of a weighted log-sum must be between 0 and 1, got {floor}")
        self.floor = float(floor)

    def __call__(self, utility: Float[Tensor, "*b m"], preference: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        return (preference * utility.clamp(self.floor, 1).log()).sum(-1).exp().clamp(0, 1)


@final
class Tchebycheff(Scalarization):
    """S = 1 - max_i w_i (1 - u_i) / max_i w_i: the worst weighted shortfall from the utopia point 1, turned round.

    Reaches the whole front, convex or not. Dividing by the largest weight makes S use all of [0, 1] under every
    preference and changes no ranking. Strictly better utilities may tie (it is weakly monotone).
    """

    def __call__(self, utility: Float[Tensor, "*b m"], preference: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        shortfall = (preference * (1 - utility.clamp(0, 1))).amax(-1)
        return (1 - shortfall / preference.amax(-1)).clamp(0, 1)


@final
class Geometric(Scalarization):
    """S = (prod_i u_i)^(1/m), the plain geometric mean of the GuacaMol scores (Brown et al. 2019).

    The preference is not looked at: everyone wants all objectives equally, and one utility of 0 gives 0. The weighted
    kind is `WeightedLogSum`.
    """

    def __call__(self, utility: Float[Tensor, "*b m"], preference: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
        del preference
        return utility.clamp(0, 1).log().mean(-1).exp()
