"""The ensemble transform Kalman filter."""

import math
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dgeqrf, dorgqr, dpotrf
from torch import Tensor

from koopcast.assimilation.base import Analysis, Observed, Setting
from koopcast.assimilation.ensemble import EnsembleSpec, Finish, Transform, whitened
from koopcast.assimilation.inflation import Factor
from koopcast.numerics.arrays import shared_normal
from koopcast.numerics.ensembles import inverse_and_root, mean_and_contrasts, split


class ETKFSpec(EnsembleSpec):
    """Deterministic filter: anomalies are multiplied by a root of N-1 times the ensemble-space covariance."""

    kind: Literal["etkf"] = "etkf"

    runs_side_by_side = True
    reference = "Bishop et al. 2001; symmetric root as in Hunt et al. 2007; rotation as in Sakov and Oke 2008"

    def transform(self, setting: Setting, finish: Finish) -> Transform:
        """Return the symmetric root, or a faster one where a rotation follows anyway."""
        factor = finish.fused_factor()
        return (
            partial(symmetric, finish=finish) if factor is None else RotatedRoot(finish, self.members, factor)
        )


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


class RotatedRoot:
    """The same mean, and a root that is rotated at random on the spot: 1 uᵀ X + f √(N-1) Vᵀ Q X.

    X is L⁻¹ V E. V holds N-1 contrasts orthogonal to the mean, L Lᵀ = (N-1) I + C Cᵀ with C = V Y whitened,
    u = L⁻¹ C δ, and f is the factor of inflation. With Q uniform on the orthogonal group, Q times *any*
    root has the distribution of Q times the symmetric one, so that a Cholesky factor of order N-1 replaces
    eigenvectors of order N.

    One experiment runs on LAPACK itself: for the small ensembles that are rotated, calling a tensor
    operation costs several times its arithmetic. Q is the same for all experiments of a batch that share one
    stream of random numbers.
    """

    def __init__(self, finish: Finish, members: int, factor: Factor) -> None:
        self._finish = finish
        self._basis = mean_and_contrasts(members, torch.device("cpu")).numpy()
        self._identity = (members - 1) * np.eye(members - 1)
        factors = np.asarray(factor.cpu() if isinstance(factor, torch.Tensor) else [[[factor]]])
        self._spreads = [
            np.ascontiguousarray(f * math.sqrt(members - 1) * self._basis[1:].T) for f in factors
        ]

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis."""
        if not ensemble.is_cpu:
            return symmetric(ensemble, observed, generator, finish=self._finish)
        batch, members, _ = ensemble.shape
        draws = shared_normal(
            batch, members - 1, members - 1, generator=generator, dtype=torch.float32
        ).numpy()
        spreads, count = self._spreads, max(len(draws), len(self._spreads))
        roots = [self._rotated(draws[i % len(draws)], spreads[i % len(spreads)]) for i in range(count)]
        if batch > 1:
            return self._many(ensemble, observed, torch.from_numpy(np.stack(roots)))
        background = ensemble[0].numpy()
        seen = None if observed.predicted is ensemble else observed.predicted[0].numpy()
        analysis = np.empty_like(background)
        freedom, chi_square = self._one(
            background, seen, observed.value[0].numpy(), observed.scale[0].numpy(), roots[0], analysis
        )
        figures = {
            "degrees_of_freedom": torch.from_numpy(np.array([freedom])),
            "chi_square": torch.from_numpy(np.array([chi_square])),
        }
        return Analysis(torch.from_numpy(analysis)[None], figures)

    def _rotated(
        self, draws: Float[np.ndarray, "_ _"], spread: Float[np.ndarray, "member _"]
    ) -> Float[np.ndarray, "member _"]:
        """Return f √(N-1) Vᵀ Q. The draws are float32, which are made three times as fast; Q is orthogonal to
        float64 precision.
        """
        reflectors, tau, _, _ = dgeqrf(draws.T, lwork=32 * draws.shape[0], overwrite_a=0)
        signs = np.sign(reflectors.diagonal())
        Q = dorgqr(reflectors, tau, lwork=32 * draws.shape[0], overwrite_a=1)[0]
        rotated: np.ndarray = spread @ (Q * signs)
        return rotated

    def _many(
        self,
        ensemble: Float[Tensor, "batch member state"],
        observed: Observed,
        roots: Float[Tensor, "_ member contrast"],
    ) -> Analysis:
        """Return the analysis of several experiments at once; one root serves all, or each has its own."""
        basis = torch.from_numpy(self._basis)
        contrasts = basis @ ensemble
        seen = contrasts if observed.predicted is ensemble else basis @ observed.predicted
        seen = seen * observed.scale[:, None]
        C, delta = seen[:, 1:], observed.value * observed.scale - seen[:, 0]
        M = C @ C.mT
        M.diagonal(dim1=1, dim2=2).add_(C.shape[1])
        L = torch.linalg.cholesky(M)
        X = torch.linalg.solve_triangular(L, contrasts[:, 1:], upper=False)
        if observed.predicted is ensemble:
            Z = X * observed.scale[:, None]
        else:
            Z = torch.linalg.solve_triangular(L, C, upper=False)
        u = Z @ delta[..., None]
        figures = {
            "degrees_of_freedom": Z.square().sum(dim=(1, 2)),
            "chi_square": delta.square().sum(dim=1) - u.square().sum(dim=(1, 2)),
        }
        return Analysis(torch.baddbmm(contrasts[:, :1], roots + u.mT, X), figures)

    def _one(
        self,
        background: Float[np.ndarray, "member state"],
        predicted: Float[np.ndarray, "member obs"] | None,
        value: Float[np.ndarray, " obs"],
        scale: Float[np.ndarray, " obs"],
        root: Float[np.ndarray, "_ _"],
        analysis: Float[np.ndarray, "member state"],
    ) -> tuple[float, float]:
        """Write the analysis of one experiment; return its degrees of freedom and its χ².

        Matrices are handed to LAPACK transposed, since it counts columns first.
        """
        contrasts = self._basis @ background
        seen = (contrasts if predicted is None else self._basis @ predicted) * scale
        C = seen[1:]
        delta = value * scale - seen[0]
        M = C @ C.T
        M += self._identity
        L = dpotrf(M.T, lower=1, overwrite_a=1)[0]
        X = dtrsm(1.0, L, contrasts[1:].T, side=1, lower=1, trans_a=1).T
        Z = X * scale if predicted is None else dtrsm(1.0, L, C.T, side=1, lower=1, trans_a=1).T
        u = Z @ delta
        # The mean and the rotated root in one matrix: each row of it makes one member.
        rows = root + u
        np.matmul(rows, X, out=analysis)
        analysis += contrasts[0]
        entries = Z.ravel()
        return float(entries @ entries), float(delta @ delta - u @ u)
