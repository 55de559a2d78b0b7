"""Errors as departures estimate them, over errors as they are stated."""

from typing import Literal

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.cards import entry


class DesroziersSpec(MetricSpec):
    """Estimate E[d_oa d_ob] of the error variance of observations over the stated one; 1 is consistent.

    The component `background` is E[d_ab d_ob] over the stated HPHᵀ; others are those of each type.
    """

    kind: Literal["desroziers"] = "desroziers"

    needs_card = "desroziers"
    reads_analysis = True
    is_local = False
    perfect = 1.0
    sense = "target"
    reference = "Desroziers, Berre, Chapnik and Poli 2005"

    def score(self, pair: Verification) -> Score:
        """Return the number."""
        return entry(pair, "desroziers")
