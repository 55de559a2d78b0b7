"""What every ensemble filter shares: inflation, rotation and the order of the two."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from koopcast.assimilation.adaptive import Adaptive
from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.base import whitened as whitened
from koopcast.assimilation.inflation import (
    AdaptiveSpec,
    AnyInflation,
    Factor,
    InflationSpec,
    Relax,
    is_plainly,
)
from koopcast.assimilation.localization import AnyLocalization, Taper
from koopcast.grids import FieldsInfo
from koopcast.numerics.ensembles import rotated, split
from koopcast.spec import Problem

Transform = Analyse


@dataclass(frozen=True)
class Finish:
    """What follows the update of a filter: anomalies are inflated, then rotated."""

    relax: Relax
    rotation: bool
    factor: Factor | None = None
    """What `relax` multiplies anomalies by, where it does no more than that."""

    @classmethod
    def of(cls, inflation: InflationSpec, rotation: bool, setting: Setting) -> "Finish":
        """Return what follows an update."""
        return cls(inflation.build(setting), rotation, inflation.posterior_factor())

    def fused_factor(self) -> Factor | None:
        """Return the factor on anomalies if that and a rotation are all that follows, else None."""
        return self.factor if self.rotation else None

    def __call__(
        self,
        mean: Float[Tensor, "batch 1 state"],
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the analysis ensemble."""
        anomalies = self.relax(anomalies, background, generator)
        return mean + (rotated(anomalies, generator) if self.rotation else anomalies)


class EnsembleSpec(FilterSpec):
    """Options of an ensemble filter."""

    members: int = Field(20, ge=2)
    """Size of the ensemble."""
    inflation: AnyInflation = Field(default="none", validate_default=True)
    """How spread is kept up."""
    rotation: bool = False
    """Rotate the anomalies of each analysis at random, keeping mean and covariance."""

    @model_validator(mode="after")
    def _has_members_to_rotate(self) -> "EnsembleSpec":
        if self.rotation and self.members < 3:
            raise ValueError(f"rotation: needs at least 3 members, not {self.members}")
        return self

    def num_members(self) -> int:
        """Return `members`."""
        return self.members

    def needs_physical_state(self) -> bool:
        """Return whether inflation varies from cell to cell."""
        return isinstance(self.inflation, AdaptiveSpec)

    def needs_climatology(self) -> bool:
        """Return whether inflation draws from the training data."""
        return self.inflation.needs_climatology()

    def taper(self, setting: Setting) -> Taper | None:
        """Return how covariances fall with distance; None where they do not."""
        return None

    @abstractmethod
    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the filter's own update, which ends in `finish`."""

    def build(self, setting: Setting) -> Analyse:
        """Return the update after prior inflation; it ends in posterior inflation and rotation."""
        inflation = self.inflation.within(setting)
        transform = self.transform(setting, Finish.of(inflation, self.rotation, setting))
        if isinstance(inflation, AdaptiveSpec):
            return Adaptive(transform, inflation, self.taper(setting), setting.num_channels)
        factor = inflation.prior_factor()
        if is_plainly(factor, 1.0):
            return transform

        def analyse(
            ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
        ) -> Analysis:
            predicted = stretched(observed.predicted, factor)
            return transform(stretched(ensemble, factor), observed._replace(predicted=predicted), generator)

        return analyse


class LocalizedSpec(EnsembleSpec):
    """Options of an ensemble filter whose covariances may fall with distance."""

    localization: AnyLocalization = Field(default="none", validate_default=True)
    """Taper on sampled covariances."""

    def needs_physical_state(self) -> bool:
        """Return whether covariances are tapered, or inflation varies from cell to cell."""
        return super().needs_physical_state() or not self.localization.is_global()

    def taper(self, setting: Setting) -> Taper | None:
        """Return the taper of `localization`."""
        return None if self.localization.is_global() else Taper.of(self.localization, setting)

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        """Yield what the taper finds wrong with the axes."""
        yield from (problem.below("localization") for problem in self.localization.check(fields))


def stretched(
    ensemble: Float[Tensor, "batch member state"], factor: Factor
) -> Float[Tensor, "batch member state"]:
    """Return the ensemble with its anomalies multiplied."""
    mean, anomalies = split(ensemble)
    return mean + factor * anomalies


def diagonal_figures(
    anomalies: Float[Tensor, "batch member state"], observed: Observed, C: Tensor, delta: Tensor
) -> dict[str, Float[Tensor, " batch"]]:
    """Return diagonal figures: (HK)_jj = σ_a² / r at the site, and d² / (σ_b² + r), summed over observations.

    A localised HPHᵀ has full rank where the sampled one has not, so its off-diagonal part is left out. Seen
    through an operator, σ_a is not known.
    """
    N1 = anomalies.shape[1] - 1
    assert observed.cell is not None
    chi_square = (delta.square() / (1 + C.square().sum(dim=1) / N1)).sum(dim=1)
    if not observed.is_of_cells:
        return {"chi_square": chi_square}
    index = observed.cell[:, None].expand(-1, anomalies.shape[1], -1)
    after = anomalies.gather(2, index) * observed.scale[:, None]
    return {"degrees_of_freedom": after.square().sum(dim=(1, 2)) / N1, "chi_square": chi_square}
