"""The bootstrap particle filter, regularised."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting, Weighing
from koopcast.numerics.arrays import normal
from koopcast.numerics.particles import (
    Scheme,
    ancestors,
    covariance_root,
    effective_number,
    gathered,
    is_repeated,
    normalised,
    weighted_split,
)


class ParticleSpec(FilterSpec):
    """Members weighted by how likely they make the observations; drawn again, with jitter, when few count."""

    kind: Literal["particle"] = "particle"
    members: int = Field(200, ge=2)
    """Particles. Those that are needed grow exponentially with the number of observations."""
    resampling: Scheme = "systematic"
    """How particles are drawn again."""
    threshold: float = Field(0.3, ge=0, le=1)
    """Draw again when the effective number 1/Σw² is at most this share of `members`: 1 each time, 0
    never."""
    jitter: NonNegativeFloat = 1.0
    """Gaussian noise on particles drawn again: its size h in h N^{-1/(n+4)} C^{1/2}, of the weighted
    covariance C of the n components before. A model without noise of its own needs some."""
    jitter_unique: bool = True
    """Whether the first copy of a particle gets noise too, not the others alone."""

    reference = "Gordon, Salmond and Smith 1993; regularised as in Musso, Oudjane and Le Gland 2001"

    def num_members(self) -> int:
        """Return `members`."""
        return self.members

    def build(self, setting: Setting) -> Analyse:
        """Return the filter."""
        return ParticleFilter(self)


class ParticleFilter(Weighing):
    """w ← w exp(-½ |(y - Hx)/σ|²); the analysis is this population, and what is drawn of it goes on."""

    def __init__(self, spec: ParticleSpec) -> None:
        self._spec = spec
        self.memory = {}

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the background with new weights, and the population for the next forecast."""
        before = self.log_weight(ensemble)
        departure = (observed.value[:, None] - observed.predicted) * observed.scale[:, None]
        log_weight = before - 0.5 * departure.square().sum(dim=2)
        weight, total = normalised(log_weight)
        effective = effective_number(weight)
        is_observed = (observed.scale > 0).any(dim=1)
        is_drawn = is_observed & (effective <= self._spec.threshold * ensemble.shape[1])
        carried = ensemble
        log_weight = log_weight - total[:, None]
        unique = torch.full_like(total, ensemble.shape[1])
        if bool(is_drawn.any()):
            again, distinct = self._drawn(ensemble, weight, generator)
            carried = torch.where(is_drawn[:, None, None], again, ensemble)
            log_weight = torch.where(is_drawn[:, None], -math.log(ensemble.shape[1]), log_weight)
            unique = torch.where(is_drawn, distinct, unique)
        self.keep(log_weight)
        # Σ log σ and the constants of the Gaussian make the sum of weights the evidence p(y).
        constant = torch.where(observed.scale > 0, observed.scale.log() - 0.5 * math.log(2 * math.pi), 0.0)
        figures = {
            "n_eff": effective,
            "log_evidence": total + constant.sum(dim=1),
            "unique": unique,
        }
        return Analysis(ensemble, figures, weights=weight, background_weights=before.exp(), carried=carried)

    def _drawn(
        self,
        ensemble: Float[Tensor, "batch member state"],
        weight: Float[Tensor, "batch member"],
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "batch member state"], Float[Tensor, " batch"]]:
        """Return particles drawn by weight, with jitter, and how many were drawn at all."""
        spec, (batch, count, size) = self._spec, ensemble.shape
        uniform = torch.rand(batch, count, generator=generator, device=generator.device, dtype=torch.float64)
        index = ancestors(weight, spec.resampling, uniform)
        drawn, is_copy = gathered(ensemble, index), is_repeated(index)
        distinct = (~is_copy).sum(dim=1).double()
        if spec.jitter == 0:
            return drawn, distinct
        root = covariance_root(weighted_split(ensemble, weight)[1])
        width = spec.jitter * count ** (-1 / (size + 4))
        noise = width * normal(batch, count, root.shape[1], generator=generator) @ root
        if not spec.jitter_unique:
            noise = noise * is_copy[..., None]
        return drawn + noise, distinct
