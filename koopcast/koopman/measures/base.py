"""Spectral measures: how the power of an observable is spread over the angles of eigenvalues."""

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor

from koopcast.spec import MethodSpec


class MeasureSpec(MethodSpec):
    """Options of an estimate of a spectral density."""

    @abstractmethod
    def density(
        self,
        K: Float[Tensor, "function function"],
        f: Float[Tensor, " function"],
        series: Float[Tensor, "sample time"],
        angles: Float[Tensor, " angle"],
    ) -> Float[Tensor, " angle"]:
        """Return the density of the spectral measure of an observable.

        Args:
            K: Galerkin matrix of the Koopman operator in orthonormal functions.
            f: The observable's coefficients in them.
            series: The observable along trajectories.
            angles: Where to evaluate, in [-π, π].
        """

    def atoms(
        self, series: Float[Tensor, "sample time"], angles: Float[Tensor, " angle"]
    ) -> Float[Tensor, " angle"] | None:
        """Return the mass of the measure at single angles; None where the estimate has no way to tell it."""
        return None
