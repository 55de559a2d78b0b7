"""Indicator functions of cells: Ulam's method, Markov state models, and exact finite systems."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor

from koopcast.koopman.dictionaries.base import DictionarySpec
from koopcast.numerics.clusters import k_means


class IndicatorSpec(DictionarySpec):
    """1, the coordinates, and the indicator of each cell but the last, whose own follows from the others."""

    kind: Literal["indicator"] = "indicator"
    cells: PositiveInt = 20
    """Voronoi cells of k-means centres; as many as there are states make a finite system exact."""

    reference = "Ulam 1960; Schütte & Sarich 2013 (Markov state models)"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Place the centres."""
        return {"centers": k_means(coordinates, self.cells, generator)}

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return 1 and which cell each point lies in."""
        distance = torch.cdist(coordinates, tensors["centers"], compute_mode="donot_use_mm_for_euclid_dist")
        cell = torch.nn.functional.one_hot(distance.argmin(dim=1), self.cells)[:, :-1]
        return torch.cat([torch.ones_like(coordinates[:, :1]), cell.to(coordinates.dtype)], dim=1)

    def num_observables(self, num_coordinates: int) -> int:
        """Return the number of cells."""
        return self.cells
