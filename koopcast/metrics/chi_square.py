"""Departures against what background and observations state of their errors."""

from typing import Literal

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.cards import entry


class ChiSquareSpec(MetricSpec):
    """Mean of d² / (HPHᵀ + r) over the observations that an analysis used; 1 is consistent.

    The components are those of each type of observation.
    """

    kind: Literal["chi_square"] = "chi_square"

    needs_card = "chi_square"
    reads_analysis = True
    is_local = False
    perfect = 1.0
    sense = "target"
    reference = "Ménard et al. 2000; diagonal form, without correlations between observations"

    def score(self, pair: Verification) -> Score:
        """Return the number."""
        return entry(pair, "chi_square")
