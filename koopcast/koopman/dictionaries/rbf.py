"""Radial basis functions about centres of the training data."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from koopcast.koopman.dictionaries.base import DictionarySpec
from koopcast.numerics.clusters import k_means

Kernel = Literal["gaussian", "exponential", "inverse_quadratic", "thin_plate"]


class RBFSpec(DictionarySpec):
    """1, the coordinates, and bells or splines about k-means centres."""

    kind: Literal["rbf"] = "rbf"
    centers: PositiveInt = 50
    """Number of centres, placed by k-means on the training data."""
    kernel: Kernel = "gaussian"
    """With s the distance in widths: exp(-s²), exp(-s), 1 / (1 + s²), or s² log s."""
    width: PositiveFloat = 1.0
    """Length of one unit of s, as a multiple of `unit`."""
    unit: Literal["centers", "spread"] = "centers"
    """The median distance between centres, or the mean distance of the data from their mean."""

    reference = "Williams, Kevrekidis & Rowley 2015"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Place the centres and measure the unit of length."""
        centres = k_means(coordinates, self.centers, generator)
        if self.unit == "spread":
            spread = (coordinates - coordinates.mean(dim=0)).norm(dim=1).mean()
            return {"centers": centres, "width": (self.width * spread).reshape(1)}
        apart = torch.pdist(centres)
        apart = apart[apart > 0]
        typical = apart.median() if len(apart) else torch.ones((), dtype=centres.dtype)
        return {"centers": centres, "width": (self.width * typical).reshape(1)}

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return 1 and the function about each centre."""
        distance = torch.cdist(coordinates, tensors["centers"], compute_mode="donot_use_mm_for_euclid_dist")
        s = distance / tensors["width"]
        values = {
            "gaussian": lambda: torch.exp(-s.square()),
            "exponential": lambda: torch.exp(-s),
            "inverse_quadratic": lambda: 1 / (1 + s.square()),
            "thin_plate": lambda: torch.xlogy(s.square(), s),
        }[self.kernel]()
        return torch.cat([torch.ones_like(coordinates[:, :1]), values], dim=1)

    def num_observables(self, num_coordinates: int) -> int:
        """Return one for each centre, and the constant."""
        return self.centers + 1
