"""Observations: what an instrument or a twin experiment reports of fields, time by time."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.fields import FieldData
from koopcast.grids import FieldsInfo
from koopcast.spec import MethodSpec, Problem


@dataclass(frozen=True)
class ObservationSet:
    """Observations of a window of fields at its record times, batched over independent experiments.

    A frame `(*space, channel)` is flattened to `cell` (channel fastest). `index` says which cell each observation
    sees; a NaN in `value` is a missing observation. Record times without any observation have only NaN.
    """

    index: Int[Tensor, "batch time obs"]
    value: Float[Tensor, "batch time obs"]
    variance: Float[Tensor, "batch time obs"]

    @property
    def is_empty(self) -> Tensor:
        """Whether a time has no observation in any experiment: `(time,)`."""
        return torch.isnan(self.value).all(dim=2).all(dim=0)


class ObservationsSpec(MethodSpec):
    """Options of an observing system."""

    @abstractmethod
    def observe(self, truth: FieldData, repeats: int, generator: torch.Generator) -> ObservationSet:
        """Return the observations of every record in the window of `truth`.

        The batch is `sample * repeat`, repeats fastest: each repeat draws its own noise and, where random, its own
        sites.
        """

    @abstractmethod
    def num_observations(self, fields: FieldsInfo) -> int:
        """Return how many sites are observed at an observation time."""

    def check(self, fields: FieldsInfo) -> Iterator[Problem]:
        yield from ()
