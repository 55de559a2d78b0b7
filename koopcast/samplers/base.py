"""Samplers: which points to evaluate, which rows to keep, where to measure, and with what weight."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from koopcast.errors import InvalidInput
from koopcast.spec import MethodSpec


@dataclass(frozen=True)
class Rows:
    """Rows chosen from a table of candidates; a row may be chosen more than once.

    There are as many as were asked for, with two exceptions that say so in their options: `lp` meets the
    count in mean, and `boosted` samplers drop rows that are not needed.
    """

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
    """Strictly between 0 and 1, so that every quantile is finite."""
    weight: Float[np.ndarray, " count"]
    figures: Mapping[str, float] = field(default_factory=dict)


RowDraw: TypeAlias = Callable[[int, np.random.Generator], Rows]
"""Draws so many rows of a table that was looked at once."""


class SamplerSpec(MethodSpec):
    """Options of a sampler. It chooses rows of a table, points of the unit cube, or both."""

    chooses_rows: ClassVar[bool] = True
    lays_points: ClassVar[bool] = True

    def drawing(self, features: Float[np.ndarray, "candidate feature"]) -> RowDraw:
        """Return what draws rows of a table again and again; factorisations are made once, here.

        Raises:
            InvalidInput: The method chooses no rows.
            DataError: The features do not allow it (rank).
        """
        raise InvalidInput(
            f"'{self.kind}' lays out points of a cube and chooses no rows", "choose iid, christoffel or dpp"
        )

    def rows(
        self, features: Float[np.ndarray, "candidate feature"], count: int, generator: np.random.Generator
    ) -> Rows:
        """Choose `count` rows.

        Raises:
            InvalidInput: The method chooses no rows, or not so many.
            DataError: The features do not allow it (rank).
        """
        return self.drawing(features)(count, generator)

    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Lay out `count` points of the unit cube, for parameters that are independent there.

        Raises:
            InvalidInput: The method lays out no points, not so many, or not in so many dimensions.
        """
        raise InvalidInput(
            f"'{self.kind}' chooses rows of a table and lays out no points",
            "choose sobol, latin_hypercube or christoffel",
        )

    def num_functions(self, count: int, dimension: int) -> int | None:
        """Return how many basis functions of the cube `points` serves; None where it uses none."""
        return None

    def faulty_count(self, count: int, num_features: int | None = None) -> str | None:
        """Return why `count` is not possible and which counts are, a sentence for whatever option holds the
        count; None where it is possible.

        Args:
            count: Rows or points that are asked for.
            num_features: Columns of the table, or `num_functions` of the cube.
        """
        return None


def inside(points: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Return points of [0, 1] moved into (0, 1) by round-off."""
    least, greatest = np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg
    return np.asarray(np.clip(points, least, greatest))
