"""Dictionaries made of others: their union, or all products of their functions."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeInt
from torch import Tensor

from koopcast.errors import DataError
from koopcast.koopman.dictionaries.base import DictionarySpec
from koopcast.koopman.dictionaries.fourier import FourierSpec
from koopcast.koopman.dictionaries.indicator import IndicatorSpec
from koopcast.koopman.dictionaries.linear import LinearSpec
from koopcast.koopman.dictionaries.polynomial import PolynomialSpec
from koopcast.koopman.dictionaries.random_fourier import RandomFourierSpec
from koopcast.koopman.dictionaries.rbf import RBFSpec
from koopcast.spec import Family, Spec


class PartSpec(Spec):
    """One dictionary, and the coordinates that it sees."""

    dictionary: "Annotated[Simple | CombinedSpec, Family('dictionaries')]"
    """Its functions; a combined dictionary may be a part of another."""
    coordinates: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """Places of the coordinates; null: all."""

    def seen(self, coordinates: Float[Tensor, "batch coordinate"]) -> Float[Tensor, "batch seen"]:
        """Return the coordinates that the dictionary sees.

        Raises:
            DataError: There are fewer.
        """
        if self.coordinates is None:
            return coordinates
        if max(self.coordinates) >= coordinates.shape[1]:
            raise DataError(
                f"a dictionary asks for coordinate {max(self.coordinates)}, and there are "
                f"{coordinates.shape[1]}, counted from 0",
                "correct `coordinates`, or raise rank",
            )
        return coordinates[:, list(self.coordinates)]

    def num_seen(self, num_coordinates: int) -> int:
        """Return how many coordinates the dictionary sees."""
        return num_coordinates if self.coordinates is None else len(self.coordinates)

    def num_more(self, num_coordinates: int) -> int:
        """Return how many functions it has beside 1 and the coordinates."""
        return max(0, self.dictionary.num_observables(self.num_seen(num_coordinates)) - 1)


class CombinedSpec(DictionarySpec):
    """1, the coordinates, and the functions of all parts (`union`), or all products of one function of each
    (`product`), 1 and coordinates among them.
    """

    kind: Literal["combined"] = "combined"
    how: Literal["union", "product"] = "union"
    """Whether functions stand side by side or are multiplied."""
    parts: tuple[PartSpec, ...] = Field(
        default=({"dictionary": "polynomial"}, {"dictionary": "fourier"}), min_length=1, validate_default=True
    )
    """The dictionaries."""

    reference = "tensor products: Williams, Kevrekidis & Rowley 2015"

    def prepare(
        self, coordinates: Float[Tensor, "pair coordinate"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Prepare each part on what it sees."""
        return {
            f"{place}.{name}": tensor
            for place, part in enumerate(self.parts)
            for name, tensor in part.dictionary.prepare(part.seen(coordinates), generator).items()
        }

    def lift(
        self, coordinates: Float[Tensor, "batch coordinate"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch observable"]:
        """Return 1 and what the parts make; coordinates alone are left out, they are there already."""
        one = torch.ones_like(coordinates[:, :1])
        seen = [part.seen(coordinates) for part in self.parts]
        more = [self._more(place, u, tensors) for place, u in enumerate(seen)]
        if self.how == "union":
            return torch.cat([one, *more], dim=1)
        product, is_new = one, torch.zeros(1, dtype=torch.bool)
        for u, functions in zip(seen, more, strict=True):
            factors = torch.cat([one, u, functions], dim=1)
            # A product is new unless it is 1, or one coordinate times ones.
            own = torch.arange(factors.shape[1])
            is_one = torch.arange(product.shape[1]) == 0
            new = is_new[:, None] | (own > u.shape[1]) | (~is_one[:, None] & (own > 0))
            product = (product[:, :, None] * factors[:, None]).flatten(1)
            is_new = new.flatten()
        return torch.cat([one, product[:, is_new]], dim=1)

    def num_observables(self, num_coordinates: int) -> int:
        """Return the sum over parts, or the product without the coordinates."""
        more = [part.num_more(num_coordinates) for part in self.parts]
        if self.how == "union":
            return 1 + sum(more)
        seen = [part.num_seen(num_coordinates) for part in self.parts]
        count = 1
        for here, functions in zip(seen, more, strict=True):
            count *= 1 + here + functions
        return count - sum(seen)

    def _more(
        self, place: int, seen: Float[Tensor, "batch seen"], tensors: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch more"]:
        """Return the functions of a part beside 1 and the coordinates."""
        prefix = f"{place}."
        own = {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
        return self.parts[place].dictionary.lift(seen, own)[:, 1:]


Simple = FourierSpec | IndicatorSpec | LinearSpec | PolynomialSpec | RandomFourierSpec | RBFSpec
PartSpec.model_rebuild()
CombinedSpec.model_rebuild()
