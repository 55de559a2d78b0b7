"""Samplers: which points to evaluate, which rows to keep, where to measure, and with what weight."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from koopcast.errors import InvalidInput
from koopcast.spec import MethodSpec


@dataclass(frozen=True)
class Rows:
    """Rows chosen from a table of candidates; a row may be chosen more than once."""

    index: Int[np.ndarray, " count"]
    weight: Float[np.ndarray, " count"]
    """Factors w with sum(w r(i)) = sum of r over all candidates x count / candidates, in mean: equal weights
    are 1."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """`gram_min_eig`, `total_sensitivity`, ..."""


@dataclass(frozen=True)
class Points:
    """Points of the unit cube, to be passed through the quantiles of each parameter."""

    points: Float[np.ndarray, "count dimension"]
    weight: Float[np.ndarray, " count"]
    figures: Mapping[str, float] = field(default_factory=dict)


class SamplerSpec(MethodSpec):
    """Options of a sampler. It chooses rows of a table, points of the unit cube, or both."""

    def rows(
        self, features: Float[np.ndarray, "candidate feature"], count: int, generator: np.random.Generator
    ) -> Rows:
        """Choose `count` rows.

        Raises:
            InvalidInput: The method chooses no rows, or not so many.
            DataError: The features do not allow it (rank).
        """
        raise InvalidInput(
            f"'{self.kind}' lays out points of a cube and chooses no rows", "choose iid, christoffel or dpp"
        )

    @abstractmethod
    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Lay out `count` points of the unit cube, for parameters that are independent there.

        Raises:
            InvalidInput: Not so many points, or not in so many dimensions.
        """

    def faulty_count(self, count: int, num_features: int | None = None) -> str | None:
        """Return why `count` is not possible and which counts are; None where it is."""
        return None
