"""The size and shape of a conformation."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mogen.domain.backbone import Backbone, dihedral, torsions
from mogen.domain.conformation import radius_of_gyration
from mogen.errors import ConfigError
from objectives.structure.structure import BackboneObjective, CoordinateObjective


@final
class RadiusOfGyration(CoordinateObjective):
    """Radius of gyration of the CA atoms in Å, or its distance from a target.

    Args:
        target: what is wanted, Å; the radius itself where none is given.
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    unit, source = "Å", "sqrt(mean |x - mean x|^2) over CA"

    def __init__(
        self, *, target: float | None = None, worst: float = 30.0, best: float = 0.0, name: str = "radius_of_gyration"
    ) -> None:
        self.name = name
        self.target, self.worst, self.best = target, float(worst), float(best)
        self.parameters = {} if target is None else {"target": float(target)}

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        radius = radius_of_gyration(x[:, :, 1])
        return radius if self.target is None else (radius - self.target).abs()


@final
class EndToEnd(CoordinateObjective):
    """Distance between the first and the last CA in Å.

    Args:
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    unit, source = "Å", "distance of the first and the last CA"

    def __init__(self, *, worst: float = 0.0, best: float = 60.0, name: str = "end_to_end") -> None:
        self.name = name
        self.worst, self.best = float(worst), float(best)

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        return (x[:, -1, 1].double() - x[:, 0, 1].double()).norm(dim=-1)


@final
class DistanceRestraint(CoordinateObjective):
    """How far the distance of two CA is from a wanted one, in Å.

    Args:
        first: a residue, by place in the chain from 0.
        second: another.
        target: the wanted distance, Å.
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    unit, source = "Å", "| |x_i - x_j| - target |"

    def __init__(
        self,
        *,
        first: int,
        second: int,
        target: float,
        worst: float = 20.0,
        best: float = 0.0,
        name: str = "distance_restraint",
    ) -> None:
        if first == second or min(first, second) < 0:
            raise ConfigError(f"expected two different residues counted from 0, got {first} and {second}")
        self.name = name
        self.first, self.second, self.target = first, second, float(target)
        self.worst, self.best = float(worst), float(best)
        self.parameters = {"first": first, "second": second, "target": float(target)}

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        if max(self.first, self.second) >= x.shape[1]:
            return torch.full((len(x),), torch.nan, dtype=torch.float64)
        ca = x[:, :, 1].double()
        return ((ca[:, self.first] - ca[:, self.second]).norm(dim=-1) - self.target).abs()


@final
class SecondaryStructure(CoordinateObjective):
    """Share of residues in helix or strand, by how near phi and psi are to the ideal ones (smooth).

    A residue counts exp(-(d_phi^2 + d_psi^2) / (2 width^2)), angles wrapped, over residues that have both torsions.

    Args:
        kind: helix (phi -57, psi -47 degrees) or strand (phi -120, psi 130).
        width: of the Gaussian, degrees.
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    source = "Gaussians about the ideal torsions of Pauling's helix and strand"
    IDEAL = {"helix": (-57.0, -47.0), "strand": (-120.0, 130.0)}

    def __init__(
        self,
        *,
        kind: str = "helix",
        width: float = 30.0,
        worst: float = 0.0,
        best: float = 1.0,
        name: str = "secondary_structure",
    ) -> None:
        if kind not in self.IDEAL:
            raise ConfigError(f"expected helix or strand, got {kind!r}")
        self.name = name
        self.kind, self.width, self.worst, self.best = kind, float(width), float(worst), float(best)
        self.parameters = {"kind": kind, "width": float(width)}

    def value(self, x: Float[Tensor, "b r 4 3"]) -> Float[Tensor, " b"]:
        x = x.double()
        n, ca, c = x[:, :, 0], x[:, :, 1], x[:, :, 2]
        phi = dihedral(c[:, :-2], n[:, 1:-1], ca[:, 1:-1], c[:, 1:-1])
        psi = dihedral(n[:, 1:-1], ca[:, 1:-1], c[:, 1:-1], n[:, 2:])
        return self._weight(phi, psi).mean(1)

    def measure(self, backbone: Backbone) -> float:
        """Only residues whose neighbours are not missing count; NaN where there are none."""
        phi, psi, _ = torsions(backbone).unbind(-1)
        both = ~(phi.isnan() | psi.isnan())
        return float(self._weight(phi[both], psi[both]).mean())

    def _weight(self, phi: Float[Tensor, "*b"], psi: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        square = torch.zeros_like(phi)
        for angle, ideal in zip((phi, psi), self.IDEAL[self.kind], strict=True):
            away = angle - torch.deg2rad(torch.tensor(ideal, dtype=angle.dtype))
            square = square + torch.atan2(away.sin(), away.cos()).rad2deg() ** 2
        return (-square / (2 * self.width**2)).exp()


@final
class SurfaceArea(BackboneObjective):
    """Solvent-accessible surface area of the backbone atoms in Å^2 (Shrake and Rupley 1973, by biotite).

    Side chains are not there, so that it is larger than that of a whole protein would be.

    Args:
        probe: radius of the probe, Å.
        points: points on the sphere of every atom.
        worst: raw value worth nothing.
        best: raw value worth everything.
        name: what the objective is called, where a set has two of a kind.
    """

    unit, source = "Å^2", "Shrake and Rupley 1973 (biotite.structure.sasa), N, CA, C, O"

    def __init__(
        self,
        *,
        probe: float = 1.4,
        points: int = 500,
        worst: float = 15_000.0,
        best: float = 3_000.0,
        name: str = "surface_area",
    ) -> None:
        self.name = name
        self.probe, self.points, self.worst, self.best = float(probe), points, float(worst), float(best)
        self.parameters = {"probe": float(probe), "points": points}

    def measure(self, backbone: Backbone) -> float:
        import biotite.structure as structure

        array = structure.AtomArray(4 * len(backbone))
        array.coord = backbone.coordinates.flatten(0, 1).numpy()
        array.element[:] = ["N", "C", "C", "O"] * len(backbone)
        array.atom_name[:] = ["N", "CA", "C", "O"] * len(backbone)
        array.res_name[:] = "GLY"
        area = structure.sasa(array, probe_radius=self.probe, point_number=self.points, vdw_radii="Single")
        return float(area.sum())
