"""Samplers for weighted least squares: what Christoffel, determinantal and volume sampling have in common."""

from abc import abstractmethod
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from koopcast.errors import ComputeError, InvalidInput
from koopcast.numerics import bases
from koopcast.numerics.determinantal import Projection
from koopcast.numerics.leverage import orthonormal
from koopcast.samplers.base import Points, RowDraw, Rows, SamplerSpec


class WeightedSpec(SamplerSpec):
    """Options of samplers whose every draw has the optimal density ν = ‖φ‖² / m for weighted least squares.

    φ are m features, orthonormal over the candidates; the weight of row i is m / ‖φᵢ‖². The Gram matrix
    G = (1/n) Σ wᵢ φᵢ φᵢᵀ tells how stable the fit is; its least eigenvalue is the figure `gram_min_eig`.
    """

    basis: bases.Basis = "legendre"
    """Features of points of the cube: polynomials for uniform or for normal (`hermite`) parameters, waves."""
    degree: NonNegativeInt | None = 3
    """Total degree of the features of points; null: as many functions as points, low degrees first."""
    candidates: PositiveInt = 20_000
    """Places among which points of the cube are chosen; they lie dense where the features are large."""
    conditioning: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Draw again until the least eigenvalue of G is at least 1 - this; null: take the first draw."""
    max_tries: PositiveInt = 1000
    """Draws before giving up on `conditioning`."""
    boosted: bool = False
    """Drop rows one by one, the least needed first, while `conditioning` holds: fewer rows than asked for."""

    @model_validator(mode="after")
    def _boosting_needs_a_condition(self) -> "WeightedSpec":
        if self.boosted and self.conditioning is None:
            raise ValueError("boosted: true drops rows while `conditioning` holds, which is null; give it")
        return self

    @abstractmethod
    def indices(
        self, process: Projection, num_features: int, count: int, generator: np.random.Generator
    ) -> Int[np.ndarray, " count"]:
        """Draw `count` rows, each with marginal density ν."""

    def drawing(self, features: Float[np.ndarray, "candidate feature"]) -> RowDraw:
        """Return draws from the density ν of a table, factorised here once.

        Raises:
            NotFinite: The features hold NaN or infinity.
            DataError: The features depend on one another.
        """
        U = orthonormal(features)
        N, m = U.shape
        process = Projection(U)
        phi, weight = np.sqrt(N) * U, m / (N * np.where(process.tau > 0, process.tau, np.inf))

        def draw(count: int, generator: np.random.Generator) -> Rows:
            if fault := self.faulty_count(count, m):
                raise InvalidInput(fault)
            for _ in range(self.max_tries):
                index = self.indices(process, m, count, generator)
                least = gram_min_eig(phi[index], weight[index])
                if self.conditioning is None or least >= 1 - self.conditioning:
                    return self._boosted(index, phi, weight)
            raise ComputeError(
                f"{self.kind}: none of {self.max_tries} draws of {count} rows for {m} features had its least "
                f"eigenvalue above 1 - {self.conditioning}",
                "raise the count, `conditioning` or `max_tries`",
            )

        return draw

    def _boosted(
        self,
        index: Int[np.ndarray, " count"],
        phi: Float[np.ndarray, "candidate feature"],
        weight: Float[np.ndarray, " candidate"],
    ) -> Rows:
        least = gram_min_eig(phi[index], weight[index])
        while self.boosted and self.conditioning is not None and len(index) > phi.shape[1]:
            outer = np.einsum("i,ij,ik->ijk", weight[index], phi[index], phi[index])
            rest = np.linalg.eigvalsh((outer.sum(axis=0) - outer) / (len(index) - 1))[:, 0]
            if rest.max() < 1 - self.conditioning:
                break
            least = float(rest.max())
            index = np.delete(index, rest.argmax())
        return Rows(index, weight[index], {"gram_min_eig": least, "num_features": float(phi.shape[1])})

    def points(self, count: int, dimension: int, generator: np.random.Generator) -> Points:
        """Choose points among candidates that stand, with a weight of their own, for the uniform measure.

        Raises:
            InvalidInput: `boosted`, a count that is not possible, or more features than candidates.
        """
        if self.boosted:
            raise InvalidInput(
                f"{self.kind}: `boosted` drops rows, but all {count} points are wanted",
                "set `boosted: false`",
            )
        m = self.num_functions(count, dimension)
        if m > self.candidates:
            raise InvalidInput(
                f"{self.kind}: {m} features in {dimension} dimensions, but {self.candidates} candidates",
                "lower `degree` or raise `candidates`",
            )
        if fault := self.faulty_count(count, m):
            raise InvalidInput(fault)
        degree = int(bases.degrees(self.basis, m, dimension).max())
        design = bases.resolving_design(self.basis, self.candidates, dimension, degree)
        phi = bases.evaluate(self.basis, design.points, m)
        rows = self.rows(np.sqrt(design.density)[:, None] * phi, count, generator)
        return Points(design.points[rows.index], design.density[rows.index] * rows.weight, rows.figures)

    def num_functions(self, count: int, dimension: int) -> int:
        """Return the number of functions up to `degree`."""
        return count if self.degree is None else bases.num_functions(self.basis, self.degree, dimension)

    def faulty_count(self, count: int, num_features: int | None = None) -> str | None:
        """Refuse fewer rows than features."""
        if num_features is None or count >= num_features:
            return None
        return (
            f"{self.kind} cannot fit {num_features} features to {count} rows; "
            f"take {num_features} rows or more, or fewer features"
        )


def gram_min_eig(phi: Float[np.ndarray, "count feature"], weight: Float[np.ndarray, " count"]) -> float:
    """Return the least eigenvalue of G = (1/n) Σ wᵢ φᵢ φᵢᵀ."""
    G = (phi * weight[:, None]).T @ phi / len(phi)
    return float(np.linalg.eigvalsh(G)[0])
