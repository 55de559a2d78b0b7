"""Virtual observations of Darcy flow: where test functions sit, and the weak residuals that they see."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.numerics.compact_functions import TestFunction, gradient, value


@dataclass(frozen=True)
class Observers:
    """Averages of fields with test functions ψ, and with their gradients, from values at shared points."""

    points: Float[Tensor, "point 2"]
    """Where fields are asked for."""
    matrices: Float[Tensor, "3 centre point"]
    """Weights of ∫ψ s, ∫∂₁ψ s and ∫∂₂ψ s, all over ∫ψ."""

    def seen(self, field: Float[Tensor, "batch point"]) -> Float[Tensor, "3 batch centre"]:
        """Return the three averages at each centre."""
        result: Tensor = field @ self.matrices.mT
        return result


@dataclass(frozen=True)
class Centres:
    """Test functions ψ(x) = φ((x - c)/R) sin(πx₁) sin(πx₂), which vanish on the boundary of the unit square
    wherever the disc around c lies.

    Discs that stay inside would leave a strip along the boundary where nothing is asked of the fields.
    """

    kind: TestFunction
    radii: tuple[float, ...]
    across: int
    """Points over the diameter of the smallest disc."""
    count: int
    """Centres, shared out evenly among the radii."""

    @property
    def lattice(self) -> int:
        """Points along each axis of the lattice that all test functions share."""
        return math.ceil((self.across - 1) / (2 * min(self.radii)))

    def draw(self, generator: torch.Generator) -> Observers:
        """Return test functions around new centres, uniform over the square, on a lattice that is shifted."""
        n = self.lattice
        shift = torch.rand(2, generator=generator)
        lines = [(torch.arange(n) + float(part)) / n for part in shift]
        points = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).flatten(0, 1)
        share = -(-self.count // len(self.radii))
        drawn = [torch.rand(share, 2, generator=generator) for _ in self.radii]
        weights = [self.weights(points, c, R) for c, R in zip(drawn, self.radii, strict=True)]
        return Observers(points, torch.cat(weights, dim=1))

    def weights(
        self, points: Float[Tensor, "point 2"], centres: Float[Tensor, "centre 2"], radius: float
    ) -> Float[Tensor, "3 centre point"]:
        """Return the weights of points, exact by parts for linear fields: Σ g = 0 and Σ g xᵀ = -1.

        Plain sums miss this by the error of the quadrature, which in a clipped disc is not small.
        """
        offset = (points - centres[:, None]) / radius
        phi, slope = value(self.kind, offset), gradient(self.kind, offset) / radius
        wave, turn = torch.sin(math.pi * points), math.pi * torch.cos(math.pi * points)
        weight = phi * wave.prod(-1)
        slope = slope * wave.prod(-1, keepdim=True) + phi[..., None] * turn * wave.flip(-1)
        total = weight.sum(-1, keepdim=True)
        weight, slope = weight / total, slope / total[..., None]
        basis = torch.cat([torch.ones_like(offset[..., :1]), offset], dim=-1)
        moments = torch.einsum("cp,cpi,cpj->cij", weight, basis, basis)
        wanted = torch.cat([torch.zeros(1, 2), -torch.eye(2) / radius]).to(slope)
        defect = wanted - torch.einsum("cpk,cpi->cik", slope, basis)
        repair = torch.linalg.solve(moments, defect)
        slope = slope + weight[..., None] * torch.einsum("cpi,cik->cpk", basis, repair)
        return torch.stack([weight, *slope.unbind(-1)])


def balance(
    seen: Observers, flux: Float[Tensor, "batch point 2"], source: float
) -> Float[Tensor, "batch centre"]:
    """Return (∫ s·∇ψ - ∫ f ψ)/∫ψ, which is 0 where -div s = f."""
    first, second = seen.seen(flux[..., 0]), seen.seen(flux[..., 1])
    return first[1] + second[2] - source


def weak_flux_law(
    seen: Observers,
    coefficient: Float[Tensor, "batch point"],
    u: Float[Tensor, "batch point"],
    flux: Float[Tensor, "batch point 2"],
) -> Float[Tensor, "batch centre 2"]:
    """Return (∫ ψ s/a + ∫ u ∇ψ)/∫ψ, which is 0 where s = a ∇u; no derivative of u is needed."""
    first, second = (seen.seen(part / coefficient)[0] for part in flux.unbind(-1))
    _, along, across = seen.seen(u)
    return torch.stack([first + along, second + across], dim=-1)
