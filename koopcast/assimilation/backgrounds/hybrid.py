"""A weighted sum of a static covariance and that of the ensemble."""

from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.backgrounds.base import Background, BackgroundSpec, Covariance
from koopcast.assimilation.backgrounds.climatological import ClimatologicalSpec
from koopcast.assimilation.backgrounds.diagonal import DiagonalSpec
from koopcast.assimilation.backgrounds.diffusion import DiffusionSpec
from koopcast.assimilation.backgrounds.ensemble import EnsembleBackgroundSpec
from koopcast.assimilation.backgrounds.nmc import NMCSpec
from koopcast.assimilation.base import Setting
from koopcast.spec import Family

Simple: TypeAlias = ClimatologicalSpec | DiagonalSpec | DiffusionSpec | EnsembleBackgroundSpec | NMCSpec


class HybridSpec(BackgroundSpec):
    """B = w B_s + (1 - w) B_e."""

    kind: Literal["hybrid"] = "hybrid"
    weight: float = Field(0.5, gt=0, lt=1)
    """Weight w of the static part."""
    static: "Annotated[Simple | HybridSpec, Family('backgrounds')]" = Field(
        default="climatological", validate_default=True
    )
    """The static covariance B_s."""
    ensemble: EnsembleBackgroundSpec = EnsembleBackgroundSpec()
    """The covariance of the ensemble, B_e."""

    reference = "Hamill and Snyder 2000; Lorenc 2003"

    def build(self, setting: Setting) -> Background:
        """Return both parts side by side."""
        static, sampled = self.static.build(setting), self.ensemble.build(setting)
        weights = self.weight**0.5, (1 - self.weight) ** 0.5
        return lambda ensemble: Sum((static(ensemble), sampled(ensemble)), weights)

    def needs_climatology(self) -> bool:
        """Return whether the static part does."""
        return self.static.needs_climatology()

    def needs_ensemble(self) -> bool:
        """Return True."""
        return True

    def needs_physical_state(self) -> bool:
        """Return whether a part does."""
        return self.static.needs_physical_state() or self.ensemble.needs_physical_state()


class Sum(Covariance):
    """B = Σ w_i² B_i; a control holds those of the parts, one behind the other."""

    def __init__(self, parts: tuple[Covariance, ...], weights: tuple[float, ...]) -> None:
        self._parts, self._weights = parts, weights
        self._ranks = [part.rank for part in parts]
        self.rank = sum(self._ranks)

    def root(self, control: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member state"]:
        """Return Σ w_i B_i^{1/2} v_i."""
        controls = control.split(self._ranks, dim=2)
        terms = zip(self._weights, self._parts, controls, strict=True)
        return torch.stack([weight * part.root(v) for weight, part, v in terms]).sum(dim=0)

    def transposed(self, state: Float[Tensor, "batch member state"]) -> Float[Tensor, "batch member rank"]:
        """Return w_i B_i^{T/2} x of every i."""
        terms = zip(self._weights, self._parts, strict=True)
        return torch.cat([weight * part.transposed(state) for weight, part in terms], dim=2)

    def columns(self) -> Float[Tensor, "_ rank state"]:
        """Return the columns of the parts."""
        columns = [weight * part.columns() for weight, part in zip(self._weights, self._parts, strict=True)]
        batch = max(len(part) for part in columns)
        return torch.cat([part.expand(batch, -1, -1) for part in columns], dim=1)


HybridSpec.model_rebuild()
