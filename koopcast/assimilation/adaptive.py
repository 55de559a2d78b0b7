"""Adaptive inflation: the factor on variances is estimated from innovations, variable by variable."""

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, Observed, Remembering, whitened
from koopcast.assimilation.inflation import AdaptiveSpec
from koopcast.assimilation.localization import Taper
from koopcast.numerics.ensembles import split

ITERATIONS = 8
"""Steps to the most likely λ; each is a step of Fisher scoring."""


class Adaptive(Remembering):
    """An analysis of the background inflated by √λ. It remembers `inflation` λ and its `inflation_std`.

    An innovation d of an observation with the error variance 1 has the variance θ² + 1, where
    θ² = (1 + γ (√λ - 1))² σ² and γ = ρ |correlation| between the variable and what is observed.
    """

    def __init__(
        self, transform: Analyse, spec: AdaptiveSpec, taper: Taper | None, num_channels: int
    ) -> None:
        self._transform, self._spec = transform, spec
        self._taper, self._num_channels = taper, num_channels
        self.memory = {}

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis of the inflated ensemble, after λ has learned from the innovations."""
        spec = self._spec
        if not self.memory:
            one = torch.ones_like(ensemble[:, 0])
            self.memory = {"inflation": one, "inflation_std": spec.std * one}
        low, high = spec.bounds
        mode = (1 + spec.damping * (self.memory["inflation"] - 1)).clamp(low, high)
        mode, std = _updated(mode, self.memory["inflation_std"], *self._evidence(ensemble, observed), spec)
        self.memory = {"inflation": mode, "inflation_std": std}
        mean, A = split(ensemble)
        factor = mode.sqrt()[:, None]
        inflated = mean + factor * A
        if observed.predicted is ensemble:
            return self._transform(inflated, observed._replace(predicted=inflated), generator)
        centre, S = split(observed.predicted)
        predicted = centre + self._at_sites(factor, observed) * S
        return self._transform(inflated, observed._replace(predicted=predicted), generator)

    def _evidence(self, ensemble: Tensor, observed: Observed) -> tuple[Tensor, Tensor, Tensor]:
        """Return γ `(batch, state, obs)`, and variances and squared innovations `(batch, 1, obs)`."""
        A = split(ensemble)[1]
        C, delta = whitened(observed)
        N1 = ensemble.shape[1] - 1
        variance = C.square().sum(dim=1)
        scale = (A.square().sum(dim=1)[:, :, None] * variance[:, None]).sqrt()
        gamma = ((A.mT @ C).abs() / scale.clamp_min(torch.finfo(A.dtype).tiny)).clamp(0, 1)
        if self._taper is not None:
            assert observed.cell is not None, "localised filters are given the observed cells"
            rho = self._taper.to_points(observed.cell).repeat_interleave(self._num_channels, dim=1)
            gamma = gamma * rho
        return gamma, (variance / N1)[:, None], delta.square()[:, None]

    def _at_sites(self, factor: Float[Tensor, "batch 1 state"], observed: Observed) -> Tensor:
        """Return the factor at the cell of each observation."""
        assert observed.cell is not None, "observations stand at cells"
        return factor.gather(2, observed.cell[:, None])


def _updated(
    mode: Float[Tensor, "batch state"],
    std: Float[Tensor, "batch state"],
    gamma: Float[Tensor, "batch state obs"],
    variance: Float[Tensor, "batch 1 obs"],
    squared: Float[Tensor, "batch 1 obs"],
    spec: AdaptiveSpec,
) -> tuple[Float[Tensor, "batch state"], Float[Tensor, "batch state"]]:
    """Return the most likely λ given the innovations, and the deviation that the curvature there implies."""
    low, high = spec.bounds
    informative = (variance > 0).to(gamma.dtype)
    found = mode
    information = torch.zeros_like(mode)
    for _ in range(ITERATIONS):
        pull, information = _likelihood(found, gamma, variance, squared, informative)
        slope, bend = _prior(found, mode, std, spec)
        found = (found - (slope - pull) / (bend + information)).clamp(low, high)
    bend = _prior(found, mode, std, spec)[1]
    return found, (bend + information).rsqrt().clamp(spec.least_std, spec.std)


def _likelihood(
    found: Tensor, gamma: Tensor, variance: Tensor, squared: Tensor, informative: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the derivative of the log-likelihood with respect to λ, and its Fisher information."""
    root = found.sqrt()[..., None]
    share = 1 + gamma * (root - 1)
    total = share.square() * variance + 1
    change = share * variance * gamma / root / total * informative
    return ((squared / total - 1) * change / 2).sum(dim=2), change.square().sum(dim=2) / 2


def _prior(found: Tensor, mode: Tensor, std: Tensor, spec: AdaptiveSpec) -> tuple[Tensor, Tensor]:
    """Return derivative and curvature of minus the log of the prior of λ; the curvature is that at the mode.

    The inverse gamma λ^(-α-1) exp(-β/λ) has its mode at β/(α+1); α follows from mode and curvature 1/std².
    """
    curvature = std.square().reciprocal()
    if spec.prior == "normal":
        return (found - mode) * curvature, curvature
    power = curvature * mode.square()
    return power * (found - mode) / found.square(), curvature
