"""Background errors that are independent from entry to entry."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.assimilation.backgrounds.base import (
    Background,
    BackgroundSpec,
    Covariance,
    climatological_std,
)
from koopcast.assimilation.base import Setting


class DiagonalSpec(BackgroundSpec):
    """B = σ² I, or the climatological variances on the diagonal."""

    kind: Literal["diagonal"] = "diagonal"
    std: PositiveFloat | None = None
    """Standard deviation σ; default: that of each entry over the training data."""
    factor: PositiveFloat = 1.0
    """Factor on B."""

    reference = "Lorenc 1986"

    def build(self, setting: Setting) -> Background:
        """Return the standard deviations, 0 in masked cells once a state is seen."""
        root = self.factor**0.5
        std = None if self.std is not None else climatological_std(setting, self.kind) * root

        def background(ensemble: Float[Tensor, "batch member state"]) -> Covariance:
            known = torch.full_like(ensemble[0, 0], (self.std or 0.0) * root) if std is None else std
            return Independent(known if setting.active is None else known * setting.active)

        return background

    def needs_climatology(self) -> bool:
        """Return whether no standard deviation is given."""
        return self.std is None


class Independent(Covariance):
    """B = diag(σ²)."""

    def __init__(self, std: Float[Tensor, " state"]) -> None:
        self._std = std
        self.rank = std.shape[0]

    def root(self, control: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member state"]:
        """Return σ v."""
        return control * self._std

    def transposed(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member rank"]:
        """Return σ x."""
        return state * self._std

    def columns(self) -> Float[Tensor, "_ rank state"]:
        """Return the diagonal matrix."""
        return torch.diag(self._std)[None]
