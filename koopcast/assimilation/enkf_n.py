"""The finite-size ensemble Kalman filter, which needs no tuned inflation."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import EnsembleSpec, Finish, Transform, whitened
from koopcast.numerics.ensembles import Roots, inverse_and_root, split

ITERATIONS = 50
"""Newton steps at most; a handful is usual."""


class EnKFNSpec(EnsembleSpec):
    """An ETKF whose prior counts the error of sampled mean and covariance.

    It inflates by l, the minimum of Σ u²/(l²s² + N-1) + ε / l² + c log l² over the singular values s of the
    whitened anomalies and the innovation u along them.
    """

    kind: Literal["enkf_n"] = "enkf_n"
    certainty: PositiveFloat = 1.0
    """x_N, the weight of the hyper-prior: 1 for a sample of a strongly nonlinear model, 2 or 3 where it is
    nearly linear."""
    mode: Literal["corrected", "plain"] = "corrected"
    """Whether the most likely inflation tends to 1 as observations lose their information."""
    covariance: Literal["gauss_newton", "hessian"] = "gauss_newton"
    """Anomalies from the inflated ETKF, or from the Hessian of the cost of the weights w, which is flatter
    along w."""

    reference = (
        "Bocquet 2011; dual form of Bocquet and Sakov 2012; hyper-prior of Bocquet, Raanes and Hannart 2015, "
        "its mode corrected and weighed as in Raanes, Bocquet and Carrassi 2019"
    )

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the analysis."""
        return partial(finite_size, spec=self, finish=finish)


def finite_size(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    spec: EnKFNSpec,
    finish: Finish,
) -> Analysis:
    """Return mean + w A + T A with M = ζ I + C Cᵀ, ζ = (N-1)/l², w = M⁻¹ C δ, T = √(N-1) M^{-1/2}."""
    N1 = ensemble.shape[1] - 1
    mean, A = split(ensemble)
    C, delta = whitened(observed)
    roots = Roots(C)
    epsilon, c = _hyperprior(roots.eigenvalues, N1, spec)
    zeta = N1 / _inflation(roots.eigenvalues, roots.along(delta).square(), epsilon, c, N1).square()
    g = C @ delta[..., None]
    w = roots.inverse(zeta, g)
    if spec.covariance == "hessian":
        T = inverse_and_root(_hessian(C, w, zeta, N1 * c), float(N1))[1]
        anomalies = T @ A
    else:
        anomalies = N1**0.5 * roots.root(zeta, A)
    figures = {
        "degrees_of_freedom": (roots.eigenvalues / (zeta[:, None] + roots.eigenvalues)).sum(dim=1),
        "chi_square": delta.square().sum(dim=1) - (g * w).sum(dim=(1, 2)),
    }
    return Analysis(finish(mean + w.mT @ A, anomalies, ensemble, generator), figures)


def _hyperprior(S: Float[Tensor, "batch rank"], N1: int, spec: EnKFNSpec) -> tuple[Tensor, Tensor]:
    """Return ε and c: (N+1)/N and N/(N-1), their ratio brought to 1 by the share I - KH of the prior."""
    members = N1 + 1
    epsilon, c = (members + 1) / members, members / N1
    # The mean of (N-1) / (s² + N-1) over all N values, zeros included.
    prior_share = 1 - (S / (S + N1)).sum(dim=1) / members
    shift = (epsilon / c) ** (prior_share / 2) if spec.mode == "corrected" else torch.ones_like(prior_share)
    return spec.certainty * epsilon / shift, spec.certainty * c * shift


def _inflation(S: Tensor, along: Tensor, epsilon: Tensor, c: Tensor, N1: int) -> Float[Tensor, " batch"]:
    """Return the minimum l of the dual cost, by Newton's method for log l from l = 1.

    In x = log l the curvature is that of ε l⁻² plus that of the innovation, where this is positive.
    """
    x = torch.zeros_like(epsilon)
    for _ in range(ITERATIONS):
        squared = (2 * x).exp()[:, None]
        shifted = squared * S + N1
        pull = (squared * along / shifted.square()).sum(dim=1)
        bend = (squared * along * (squared * S - N1) / shifted**3).sum(dim=1)
        prior = epsilon / squared[:, 0]
        slope, curvature = 2 * (c - prior - pull), 4 * prior + (4 * bend).clamp_min(0)
        step = (slope / curvature).clamp(-1, 1)
        x = x - step
        if float(step.abs().max()) < 1e-10:
            break
    return x.exp()


def _hessian(C: Tensor, w: Tensor, zeta: Tensor, scale: Tensor) -> Float[Tensor, "batch member member"]:
    """Return C Cᵀ + ζ I - 2 ζ² w wᵀ / scale, of the cost |δ - Cᵀw|²/2 + scale/2 log(ε + wᵀw)."""
    M = C @ C.mT - (2 * zeta.square() / scale)[:, None, None] * (w @ w.mT)
    M.diagonal(dim1=1, dim2=2).add_(zeta[:, None])
    return M
