"""Quality control within a cycle: observations against the background that they are to correct."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from koopcast.assimilation.base import Observed
from koopcast.numerics.geometry import Domain, distances
from koopcast.observations.base import ObservationSet
from koopcast.observations.quality import is_used


class Screening:
    """The checks of all types that look at the background; distances are kept while sites stay."""

    def __init__(self, observations: ObservationSet, domain: Domain, num_channels: int) -> None:
        self._observations, self._domain, self._num_channels = observations, domain, num_channels
        self._sections = list(observations.sections())
        self.is_needed = any(kind.qc.looks_at_background for kind, _ in self._sections)
        self._flag = observations.flag
        self._index: Tensor | None = None
        self._gaps: dict[int, Tensor] = {}

    def __call__(self, observed: Observed, time: int) -> tuple[Observed, Int[Tensor, "batch obs"]]:
        """Return what an analysis may use of the observations at a time, and their flags."""
        predicted = observed.predicted
        departure = observed.value - predicted.mean(dim=1)
        has_spread = predicted.shape[1] > 1
        spread = predicted.var(dim=1) if has_spread else torch.zeros_like(departure)
        variance = self._observations.variance[:, time].double()
        flag, factor = self._flag[:, time].clone(), torch.ones_like(departure)
        for kind, columns in self._sections:
            if kind.qc.looks_at_background:
                flag[:, columns], factor[:, columns] = kind.qc.against(
                    departure[:, columns],
                    (spread[:, columns], variance[:, columns]),
                    flag[:, columns],
                    self._distances(observed.cell, columns) if kind.qc.buddy_check else None,
                )
        return observed._replace(scale=observed.scale * factor * is_used(flag)), flag

    def _distances(self, index: Tensor | None, columns: slice) -> Float[Tensor, "_ obs obs"]:
        """Return distances among the observations of a type, infinite between different variables."""
        assert index is not None, "the observed cells are given"
        if index is not self._index:
            self._index, self._gaps = index, {}
        if columns.start not in self._gaps:
            own = index[:, columns]
            rows = own[:1] if bool((own == own[:1]).all()) else own
            points, channel = rows // self._num_channels, rows % self._num_channels
            gaps = torch.stack([distances(self._domain, row, row) for row in points])
            is_other = channel[:, :, None] != channel[:, None]
            self._gaps[columns.start] = gaps.masked_fill(is_other, torch.inf)
        return self._gaps[columns.start]
