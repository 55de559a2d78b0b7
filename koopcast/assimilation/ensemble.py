"""What every ensemble filter shares: inflation, rotation and the order of the two."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.inflation import AnyInflation, Factor, InflationSpec, is_plainly
from koopcast.numerics.ensembles import rotated, split

Transform = Callable[[Tensor, Observed, torch.Generator], Analysis]


@dataclass(frozen=True)
class Finish:
    """What follows the update of a filter: anomalies are inflated, then rotated."""

    inflation: InflationSpec
    rotation: bool

    def fused_factor(self) -> Factor | None:
        """Return the factor on anomalies if that and a rotation are all that follows, else None."""
        return self.inflation.posterior_factor() if self.rotation else None

    def __call__(
        self,
        mean: Float[Tensor, "batch 1 state"],
        anomalies: Float[Tensor, "batch member state"],
        background: Float[Tensor, "batch member state"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch member state"]:
        """Return the analysis ensemble."""
        anomalies = self.inflation.relax(anomalies, background, generator)
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

    @abstractmethod
    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the filter's own update, which ends in `finish`."""

    def build(self, setting: Setting) -> Analyse:
        """Return the update after prior inflation; it ends in posterior inflation and rotation."""
        inflation = self.inflation.within(setting)
        transform = self.transform(setting, Finish(inflation, self.rotation))
        factor = inflation.prior_factor()
        if is_plainly(factor, 1.0):
            return transform

        def analyse(
            ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
        ) -> Analysis:
            predicted = stretched(observed.predicted, factor)
            return transform(stretched(ensemble, factor), observed._replace(predicted=predicted), generator)

        return analyse


def stretched(
    ensemble: Float[Tensor, "batch member state"], factor: Factor
) -> Float[Tensor, "batch member state"]:
    """Return the ensemble with its anomalies multiplied."""
    mean, anomalies = split(ensemble)
    return mean + factor * anomalies


def whitened(observed: Observed) -> tuple[Float[Tensor, "batch member obs"], Float[Tensor, "batch obs"]]:
    """Return the anomalies of the predicted observations and the innovation, over the observation error."""
    mean, anomalies = split(observed.predicted)
    return anomalies * observed.scale[:, None], (observed.value - mean[:, 0]) * observed.scale
