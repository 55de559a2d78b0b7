"""All monomials of the coordinates up to a degree."""

from collections.abc import Mapping
from itertools import combinations_with_replacement
from math import comb
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.koopman.dictionaries.base import DictionarySpec


class PolynomialSpec(DictionarySpec):
    """1, the coordinates, and all their products up to `degree`."""

    kind: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=2, le=8)] = 2
    """Highest total degree. The count grows as (coordinates + degree choose degree)."""

    reference = "Williams, Kevrekidis & Rowley 2015"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Need nothing."""
        return {}

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return 1 and the monomials of degree two and more."""
        # Each coordinate lies on its own in memory, and so does each product.
        axes = coordinates.mT.contiguous().unbind()
        monomials: dict[tuple[int, ...], Tensor] = {(index,): axis for index, axis in enumerate(axes)}
        for degree in range(2, self.degree + 1):
            for item in combinations_with_replacement(range(len(axes)), degree):
                monomials[item] = monomials[item[:-1]] * axes[item[-1]]
        higher = list(monomials.values())[len(axes) :]
        return torch.stack([torch.ones_like(axes[0]), *higher]).mT

    def num_observables(self, num_coordinates: int) -> int:
        """Return the number of monomials but for the coordinates."""
        return comb(num_coordinates + self.degree, self.degree) - num_coordinates
