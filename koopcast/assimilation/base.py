"""Assimilation: one analysis of an ensemble, batched over independent experiments.

Words of the family: *member* one state of the ensemble, *state* its components, *obs* one observation, *background*
the ensemble before the analysis, *anomaly* a member less the mean, *innovation* observation less background mean.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.grids import FieldsInfo
from koopcast.spec import MethodSpec, Problem


@dataclass(frozen=True)
class Observed:
    """What an analysis sees of one time. A NaN in `value` is missing and carries no weight."""

    value: Float[Tensor, "batch obs"]
    variance: Float[Tensor, "batch obs"]
    predicted: Float[Tensor, "batch member obs"]
    """The observation operator applied to each member of the background."""
    taper: Float[Tensor, "batch cell obs"] | None = None
    """Localisation weight in [0, 1] between each cell of the state and each observation; None without localisation."""


@dataclass(frozen=True)
class Analysis:
    """The ensemble after the observations, and figures of the update: `degrees_of_freedom (batch)` and the like."""

    ensemble: Float[Tensor, "batch member state"]
    figures: dict[str, Float[Tensor, " batch"]] = field(default_factory=dict)


class AnalysisSpec(MethodSpec):
    """Options of a method that draws an ensemble to observations."""

    @abstractmethod
    def analyse(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, *, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis ensemble; float64 inside; every batch element is an experiment of its own.

        Raises:
            Diverged: The ensemble or its predicted observations are not finite.
        """

    @abstractmethod
    def num_members(self) -> int:
        """Return the size of the ensemble (1 for a method without one)."""

    def needs_physical_state(self) -> bool:
        """Return whether cells of the state must have a position (localisation)."""
        return False

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        yield from ()
