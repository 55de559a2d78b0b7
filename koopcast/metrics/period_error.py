"""Whether a model knows an oscillation of known period."""

from typing import Literal

from pydantic import PositiveFloat

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.spectra import nearest_mode, of_model, periods


class PeriodErrorSpec(MetricSpec):
    """Distance between a known period and that of the model's mode with the nearest frequency.

    Of models with a spectrum alone; one value, at no lead.
    """

    kind: Literal["period_error"] = "period_error"
    period: PositiveFloat = 12.0
    """The known period, in record steps."""

    needs_spectrum = True
    reference = "standard"

    def score(self, pair: Verification) -> Score:
        """Return the distance, in record steps."""
        assert pair.spectrum is not None
        found = periods(pair.spectrum)[nearest_mode(pair.spectrum, self.period)]
        return of_model(pair, float(abs(found - self.period)), "step")
