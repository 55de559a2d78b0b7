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
        count = coordinates.shape[1]
        columns = [torch.ones_like(coordinates[:, :1])]
        place: dict[tuple[int, ...], int] = {(index,): index for index in range(count)}
        monomials = coordinates
        for degree in range(2, self.degree + 1):
            # Each monomial is one of a degree less times its last factor.
            factors = list(combinations_with_replacement(range(count), degree))
            shorter = torch.tensor([place[item[:-1]] for item in factors])
            last = torch.tensor([item[-1] for item in factors])
            monomials = monomials.index_select(1, shorter) * coordinates.index_select(1, last)
            place = {item: index for index, item in enumerate(factors)}
            columns.append(monomials)
        return torch.cat(columns, dim=1)

    def num_observables(self, num_coordinates: int) -> int:
        """Return the number of monomials but for the coordinates."""
        return comb(num_coordinates + self.degree, self.degree) - num_coordinates
