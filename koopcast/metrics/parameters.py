"""Size of the model behind a forecast."""

from typing import Literal

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.cards import entry


class ParametersSpec(MetricSpec):
    """Real parameters of a trained network; a complex one counts as two."""

    kind: Literal["parameters"] = "parameters"

    needs_card = "parameters"
    reference = "standard"

    def score(self, pair: Verification) -> Score:
        """Return the number."""
        return entry(pair, "parameters")
