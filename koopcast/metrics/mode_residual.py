"""How well training data verify the mode of a known period."""

from typing import Literal

from pydantic import PositiveFloat

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.spectra import nearest_mode, of_model


class ModeResidualSpec(MetricSpec):
    """Relative residual, in training, of the mode whose frequency is nearest to that of a known period.

    It is ‖g(z') - λ g(z)‖ / ‖g(z)‖ over the pairs of states z, z', with g the eigenfunction of λ.
    Of models with a spectrum alone; one value, at no lead.
    """

    kind: Literal["mode_residual"] = "mode_residual"
    period: PositiveFloat = 12.0
    """The known period, in record steps."""

    needs_spectrum = True
    reference = "Colbrook, Ayton & Szőke 2023"

    def score(self, pair: Verification) -> Score:
        """Return the residual."""
        assert pair.spectrum is not None
        place = nearest_mode(pair.spectrum, self.period)
        return of_model(pair, float(pair.spectrum["residual"].values[place]), "1")
