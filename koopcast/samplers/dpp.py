"""Determinantal sampling: as many rows as features, which repel one another."""

from typing import Literal

import numpy as np
from jaxtyping import Int
from pydantic import NonNegativeInt

from koopcast.numerics.determinantal import Projection
from koopcast.samplers.weighted import WeightedSpec


class DPPSpec(WeightedSpec):
    """One row a feature, with density det(φ_S)² / m!: rows that are alike exclude each other."""

    kind: Literal["dpp"] = "dpp"
    degree: NonNegativeInt | None = None
    """Total degree of the features of points; null: as many functions as points, low degrees first."""

    reference = (
        "Nouy and Michel 2023, Weighted least-squares approximation with determinantal point processes; "
        "the chain rule of Hough et al. 2006 by rejection: exact, and as fast for many candidates as for few"
    )

    def indices(
        self, process: Projection, num_features: int, count: int, generator: np.random.Generator
    ) -> Int[np.ndarray, " count"]:
        """Draw the process once."""
        return process.draw(1, generator).ravel()

    def faulty_count(self, count: int, num_features: int | None = None) -> str | None:
        """Refuse any count but the number of features."""
        if num_features is None or count == num_features:
            return None
        return (
            f"dpp draws one row a feature, {num_features}, not {count}; "
            "give that count or take repeated_dpp or volume"
        )
