"""Directions that share the variance of a latent space."""

from typing import Literal

from koopcast.metrics.base import MetricSpec, Score, Verification
from koopcast.metrics.cards import entry


class EffectiveDimSpec(MetricSpec):
    """exp(S) of a latent model, S the von Neumann entropy of the covariance of its training latents."""

    kind: Literal["effective_dim"] = "effective_dim"

    needs_card = "effective_dim"
    sense = "higher"
    reference = "Cheng et al. 2026, Information shapes Koopman representation, ICLR"

    def score(self, pair: Verification) -> Score:
        """Return the number."""
        return entry(pair, "effective_dim")
