"""Contrastive loss of a latent space."""

from typing import Literal

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.cards import entry


class InfoNCESpec(MetricSpec):
    """Contrastive loss of a latent model on its training windows, in nats: how well neighbours in time are
    told from other times of a window.
    """

    kind: Literal["info_nce"] = "info_nce"

    needs_card = "info_nce"
    reference = "van den Oord, Li and Vinyals 2018; several positives as in Cheng et al. 2026"

    def score(self, pair: Verification) -> Score:
        """Return the number."""
        return entry(pair, "info_nce")
