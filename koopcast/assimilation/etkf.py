"""The ensemble transform Kalman filter."""

import math
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import EnsembleSpec, Finish, Transform, whitened
from koopcast.numerics.ensembles import haar, inverse_and_root, mean_and_contrasts, split


class ETKFSpec(EnsembleSpec):
    """Deterministic filter: anomalies are multiplied by a root of N-1 times the ensemble-space covariance."""

    kind: Literal["etkf"] = "etkf"

    reference = "Bishop et al. 2001; symmetric root as in Hunt et al. 2007; rotation as in Sakov and Oke 2008"

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        factor = finish.fused_factor()
        return partial(symmetric, finish=finish) if factor is None else partial(rotated_root, factor=factor)


def symmetric(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    finish: Finish,
) -> Analysis:
    """Return mean + w A + T A with M = (N-1) I + C Cᵀ, w = M⁻¹ C δ, T = √(N-1) M^{-1/2} (keeps the mean)."""
    N1 = ensemble.shape[1] - 1
    mean, A = split(ensemble)
    C, delta = whitened(observed)
    M = C @ C.mT
    M.diagonal(dim1=1, dim2=2).add_(N1)
    inverse, T = inverse_and_root(M, float(N1))
    g = C @ delta[..., None]
    w = inverse @ g
    figures = {
        # tr(M⁻¹ C Cᵀ) = N - (N-1) tr M⁻¹
        "degrees_of_freedom": N1 + 1 - N1 * inverse.diagonal(dim1=1, dim2=2).sum(dim=-1),
        "chi_square": delta.square().sum(dim=1) - (g * w).sum(dim=(1, 2)),
    }
    return Analysis(finish(mean + w.mT @ A, T @ A, ensemble, generator), figures)


def rotated_root(
    ensemble: Float[Tensor, "batch member state"],
    observed: Observed,
    generator: torch.Generator,
    *,
    factor: float,
) -> Analysis:
    """Return mean + 1 uᵀ X + f √(N-1) Vᵀ Q X with X = L⁻¹ V E: a root that is rotated at random on the spot.

    V holds N-1 contrasts orthogonal to the mean, and L Lᵀ = (N-1) I + C Cᵀ with C = V Y whitened; u = L⁻¹ C δ. With Q
    uniform on the orthogonal group, Q times *any* root has the distribution of Q times the symmetric one, so that a
    Cholesky factor of order N-1 replaces the eigenvectors of order N.
    """
    batch, members, _ = ensemble.shape
    basis = mean_and_contrasts(members, ensemble.device).expand(batch, -1, -1)
    scale, whole = observed.scale[:, None], observed.predicted is ensemble
    contrasts = torch.bmm(basis, ensemble)
    seen = (contrasts if whole else torch.bmm(basis, observed.predicted)) * scale
    C = seen[:, 1:]
    delta = torch.addcmul(seen[:, :1], observed.value[:, None], scale, value=-1)  # of the opposite sign
    M = torch.bmm(C, C.mT)
    M.diagonal(dim1=1, dim2=2).add_(members - 1)
    L = torch.linalg.cholesky_ex(M)[0]
    X = torch.linalg.solve_triangular(L, contrasts[:, 1:], upper=False)
    Z = X * scale if whole else torch.linalg.solve_triangular(L, C, upper=False)
    u = torch.bmm(delta, Z.mT)
    # The mean and the rotated root in one matrix: every row of it gives one member.
    rows = torch.baddbmm(
        u,
        basis[:, 1:].mT,
        haar(batch, members - 1, generator),
        beta=-1,
        alpha=factor * math.sqrt(members - 1),
    )
    figures = {
        "degrees_of_freedom": torch.linalg.vector_norm(Z, dim=(1, 2)).square_(),
        "chi_square": torch.linalg.vecdot(delta[:, 0], delta[:, 0]) - torch.linalg.vecdot(u[:, 0], u[:, 0]),
    }
    return Analysis(torch.baddbmm(contrasts[:, :1], rows, X), figures)
