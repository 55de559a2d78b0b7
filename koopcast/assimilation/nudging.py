"""Nudging: a fixed share of each innovation, at the observed cells alone."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.gridded import on_cells


class NudgingSpec(FilterSpec):
    """x_a = x_b + κ (y - x_b) at observed cells; nothing is spread to others."""

    kind: Literal["nudging"] = "nudging"
    kappa: float = Field(0.5, gt=0, le=1)
    """Share κ of the innovation that is added; 1 inserts the observations as they are."""
    members: PositiveInt = 1
    """States that run beside each other, each nudged by itself."""

    reference = "Hoke and Anthes 1976, for one insertion an observation time"

    def build(self, setting: Setting) -> Analyse:
        """Return the update with the static gain."""
        return partial(nudged, kappa=self.kappa)

    def num_members(self) -> int:
        """Return `members`."""
        return self.members

    def needs_cells(self) -> bool:
        """Return True: observations are laid out on cells."""
        return True

    def needs_physical_state(self) -> bool:
        """Return True: the state must be the field."""
        return True


def nudged(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    kappa: float,
) -> Analysis:
    """Return x + κ (y - H x) on observed cells; where several observations see a cell, κ times their mean."""
    increments = [
        on_cells(observed.value - predicted, observed, ensemble.shape[2])[0]
        for predicted in observed.predicted.unbind(1)
    ]
    return Analysis(ensemble + kappa * torch.stack(increments, dim=1))
