"""Draw particles again by their weights."""

import math
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field

from koopcast.assimilation.blocks.base import BlockSpec, Form, Population, Session
from koopcast.numerics.particles import Scheme, ancestors, effective_number, normalised, weighted_split


class ResampleSpec(BlockSpec):
    """Copies of particles drawn by weight; each gets the mean weight Z/N, so that Z = Σ w stays."""

    kind: Literal["resample"] = "resample"
    scheme: Scheme = "systematic"
    """How the copies are drawn."""
    threshold: float = Field(1.0, ge=0, le=1)
    """Draw where the effective number is at most this share of the particles: 1 each time, 0 never."""

    takes = frozenset({Form.POSTERIOR})
    reference = "Douc, Cappé and Moulines 2005; Ścibior et al. 2018"

    def apply(self, population: Population | None, session: Session, name: str) -> Population:
        """Return the new particles, and remember how the old ones were spread."""
        assert population is not None, "the form was checked"
        weight, total = normalised(population.log_weight)
        members = weight.shape[1]
        # A threshold of 1 means each time, whatever rounding does to equal weights.
        chosen = effective_number(weight) <= self.threshold * members * (1 + 1e-9)
        anomalies = weighted_split(population.trace, weight)[1]
        index = ancestors(weight, self.scheme, session.draws(name).uniform(members))
        equal = (total - math.log(members))[:, None].expand_as(weight)
        return replace(
            population.drawn(index, chosen),
            log_weight=torch.where(chosen[:, None], equal, population.log_weight),
            covariance=anomalies.mT @ anomalies,
        )
