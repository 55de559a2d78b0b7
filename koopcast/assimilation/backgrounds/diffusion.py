"""Homogeneous correlations along the axes of the grid, by diffusion or by a Gaussian spectrum."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.assimilation.backgrounds.base import (
    Background,
    BackgroundSpec,
    Covariance,
    climatological_std,
)
from koopcast.assimilation.base import Setting
from koopcast.errors import EmptySelection
from koopcast.numerics.geometry import period


class DiffusionSpec(BackgroundSpec):
    """B = σ C σ with correlations C that fall with distance along every axis, the same everywhere.

    Along an axis C has the eigenvectors of the second difference D: waves on a periodic axis, cosines
    (nothing flows out) on another. Its spectrum is that of `steps` implicit steps of diffusion,
    (1 - l²D / (2 steps))^-steps, which tends to exp(l²D/2), the Gaussian. Each grid point is scaled to
    a correlation of 1 with itself. Channels are independent.
    """

    kind: Literal["diffusion"] = "diffusion"
    length: PositiveFloat = 2.0
    """Daley length l, in the units of the axes."""
    spectrum: Literal["diffusion", "gaussian"] = "diffusion"
    """Implicit steps, or their limit."""
    steps: int = Field(4, ge=2)
    """Implicit steps: the more, the smoother fields are."""
    std: PositiveFloat | None = None
    """Standard deviation σ; default: that of each entry over the training data."""
    factor: PositiveFloat = 1.0
    """Factor on B."""

    reference = "Weaver and Courtier 2001; Guillet et al. 2019 for implicit steps"

    def build(self, setting: Setting) -> Background:
        """Return the same covariance for every ensemble.

        Raises:
            EmptySelection: The state has no cells with positions, or no standard deviation is known.
        """
        if setting.domain is None:
            raise EmptySelection(
                "the background 'diffusion' needs cells with positions; this state has none",
                "use `climatological`, or a model whose state is the field",
            )
        roots = []
        for axis, nodes in zip(setting.domain.axes, setting.domain.coordinates, strict=True):
            loop = period(axis)
            gap = float((nodes[-1] - nodes[0]).abs()) / max(1, len(nodes) - 1) if len(nodes) > 1 else 1.0
            roots.append(self._root(len(nodes), gap, loop is not None))
        size = math.prod(setting.domain.shape) * setting.num_channels
        device = torch.device("cpu") if setting.active is None else setting.active.device
        if self.std is None:
            std = climatological_std(setting, self.kind)
        else:
            std = torch.full((size,), self.std, dtype=torch.float64, device=device)
        std = std * self.factor**0.5 if setting.active is None else std * self.factor**0.5 * setting.active
        covariance = Separable([root.to(device) for root in roots], std)
        return lambda ensemble: covariance

    def needs_climatology(self) -> bool:
        """Return whether no standard deviation is given."""
        return self.std is None

    def needs_physical_state(self) -> bool:
        """Return True."""
        return True

    def _root(self, size: int, gap: float, is_periodic: bool) -> Float[Tensor, "size size"]:
        """Return C^{1/2} along one axis."""
        D = -2 * torch.eye(size, dtype=torch.float64)
        D += torch.diag(torch.ones(size - 1, dtype=torch.float64), 1)
        D += torch.diag(torch.ones(size - 1, dtype=torch.float64), -1)
        if is_periodic:
            D[0, -1] += 1
            D[-1, 0] += 1
        else:
            D[0, 0] += 1
            D[-1, -1] += 1
        eigenvalues, vectors = torch.linalg.eigh(D * (self.length / gap) ** 2 / 2)
        if self.spectrum == "gaussian":
            spectrum = eigenvalues.exp()
        else:
            spectrum = (1 - eigenvalues / self.steps) ** -self.steps
        root = (vectors * spectrum.sqrt()) @ vectors.mT
        scaled: Tensor = root / root.square().sum(dim=1, keepdim=True).sqrt()
        return scaled


class Separable(Covariance):
    """B^{1/2} = σ times a product of roots, one an axis of the grid; channels fastest and independent."""

    def __init__(self, roots: list[Float[Tensor, "_ _"]], std: Float[Tensor, " state"]) -> None:
        self._roots, self._std = roots, std
        self._shape = tuple(len(root) for root in roots)
        self.rank = std.shape[0]

    def root(self, control: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member state"]:
        """Return σ C^{1/2} v."""
        return self._along(control, self._roots) * self._std

    def transposed(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member rank"]:
        """Return C^{T/2} σ x."""
        return self._along(state * self._std, [root.mT for root in self._roots])

    def columns(self) -> Float[Tensor, "_ rank state"]:
        """Return B^{1/2} applied to every unit control."""
        return self.root(torch.eye(self.rank, dtype=self._std.dtype, device=self._std.device)[None])

    def _along(self, values: Tensor, roots: list[Tensor]) -> Tensor:
        fields: Tensor = values.unflatten(2, (*self._shape, -1))
        for axis, root in enumerate(roots):
            fields = (fields.movedim(2 + axis, -1) @ root.mT).movedim(-1, 2 + axis)
        return fields.flatten(2)
