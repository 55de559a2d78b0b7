"""Spectral density by filtered autocorrelations."""

from typing import Literal

from jaxtyping import Float, Num
from pydantic import PositiveInt
from torch import Tensor

from koopcast.koopman.measures.base import MeasureSpec
from koopcast.numerics.spectral_measures import Filter, atom_weight, moment_density, moments


class MomentsSpec(MeasureSpec):
    """The Fourier series of the autocorrelations along trajectories, damped towards its end."""

    kind: Literal["moments"] = "moments"
    n_moments: PositiveInt = 50
    """Longest lag, in record steps; at most the records of a sample less one are there."""
    filter: Filter = "infinite"
    """How lags are damped: order 1 (fejer), 2 (cosine), 4 (vand), 8 (sharp_cosine), or any (infinite)."""

    reference = "Colbrook, Mezić & Stepanenko 2024; Colbrook & Townsend 2024"

    def density(
        self,
        K: Float[Tensor, "function function"],
        f: Float[Tensor, " function"],
        series: Float[Tensor, "sample time"],
        angles: Float[Tensor, " angle"],
    ) -> Float[Tensor, " angle"]:
        """Return the filtered series; lags that no sample holds are left out."""
        return moment_density(self._moments(series), angles, self.filter)

    def atoms(
        self, series: Float[Tensor, "sample time"], angles: Float[Tensor, " angle"]
    ) -> Float[Tensor, " angle"]:
        """Return the Fejér sums at these angles, over that of a single atom."""
        return atom_weight(self._moments(series), angles)

    def _moments(self, series: Float[Tensor, "sample time"]) -> Num[Tensor, " moment"]:
        return moments(series, min(self.n_moments, series.shape[1] - 1))
