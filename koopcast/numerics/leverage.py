"""How much single rows of a table matter to a fit: leverage, Lewis weights and l_p sensitivities.

All of them depend on the span of the columns alone, so they are computed from an orthonormal basis U of it.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import qr

from koopcast.errors import DataError, Diverged, NotFinite

EXACT_ROWS = 10_000
"""Up to so many rows sensitivities are computed one by one; beyond, they are bracketed."""
BLOCK = 2**21
"""Numbers in the table of residuals of the rows that are treated at once."""
SWEEPS = 100
FLOOR_DECAY = 0.8
POOL = 256
"""Directions that a bracket looks along for its lower side."""

Bracket = tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]
"""A lower and an upper bound for every row."""


def orthonormal(A: Float[np.ndarray, "row column"]) -> Float[np.ndarray, "row column"]:
    """Return an orthonormal basis of the columns of A, by QR.

    Raises:
        NotFinite: A holds NaN or infinity.
        DataError: The columns depend on one another, or there are fewer rows than columns.
    """
    if not np.isfinite(A).all():
        raise NotFinite(f"{np.sum(~np.isfinite(A))} of {A.size} features are not finite", "mask these rows")
    norms = np.linalg.norm(A, axis=0)
    Q, R = np.linalg.qr(A / np.where(norms > 0, norms, 1.0))
    singular = np.linalg.svd(R, compute_uv=False)
    rank = int((singular > singular.max(initial=0.0) * max(A.shape) * np.finfo(np.float64).eps).sum())
    if rank < A.shape[1]:
        raise DataError(
            f"{A.shape[0]} rows of {A.shape[1]} features have rank {rank}",
            "drop features that depend on others, or give a `ridge` where there is one",
        )
    return np.asarray(Q)


def extended(A: Float[np.ndarray, "row column"], ridge: float) -> Float[np.ndarray, "more column"]:
    """Return A above √λ I, λ = ridge · mean eigenvalue of AᵀA; A itself without a ridge."""
    m = A.shape[1]
    return np.vstack((A, np.sqrt(ridge / m) * np.linalg.norm(A) * np.eye(m))) if ridge > 0 else A


def leverage(U: Float[np.ndarray, "row column"]) -> Float[np.ndarray, " row"]:
    """Return τᵢ = aᵢᵀ (AᵀA)⁻¹ aᵢ = ‖uᵢ‖², which sum to the number of columns."""
    return np.asarray(np.einsum("ij,ij->i", U, U))


def lewis_weights(
    U: Float[np.ndarray, "row column"], p: float, tolerance: float = 1e-10
) -> Float[np.ndarray, " row"]:
    """Return the weights w with wᵢ = τᵢ(W^{1/2 - 1/p} A); they sum to the number of columns.

    w ← (aᵢᵀ (Aᵀ W^{1-2/p} A)⁻¹ aᵢ)^{p/2} is a contraction for p < 4 (Cohen & Peng 2015); from p = 4 on the
    geometric mean of w and τ(W^{1/2 - 1/p} A) takes its place.

    Raises:
        Diverged: The iteration did not settle.
    """
    N, m = U.shape
    w = np.full(N, m / N)
    for _ in range(100 * SWEEPS):
        M = U.T @ (w[:, None] ** (1 - 2 / p) * U)
        form = np.einsum("ij,ij->i", U @ np.linalg.inv(M), U)
        # A row of zeros has weight zero, and must not become 0⁻¹ where 1 - 2/p < 0.
        form = np.maximum(form, np.finfo(np.float64).tiny)
        before = w
        w = np.asarray(form ** (p / 2) if p < 4 else np.sqrt(w ** (2 - 2 / p) * form))
        if np.abs(w - before).max() <= tolerance * w.max():
            return w
    raise Diverged(f"Lewis weights of order p = {p:g} did not settle", "choose another score")


def sensitivities(U: Float[np.ndarray, "row column"], p: float, tolerance: float = 0.05) -> Bracket:
    """Return bounds of σᵢ = max over x of |uᵢ x|ᵖ / ‖U x‖ₚᵖ.

    Up to `EXACT_ROWS` rows the upper bound is at most 1 + `tolerance` times the lower one (where the
    iteration settles); beyond, both sides come from Lewis weights and leverage, at the cost of a few QR.
    """
    if p == 2:
        return leverage(U), leverage(U)
    if len(U) > EXACT_ROWS:
        return sensitivity_bracket(U, p)
    size = max(1, BLOCK // len(U))
    blocks = [_solve_block(U, U[start : start + size], p, tolerance) for start in range(0, len(U), size)]
    return np.concatenate([low for low, _ in blocks]), np.concatenate([high for _, high in blocks])


def _solve_block(
    U: Float[np.ndarray, "row column"],
    targets: Float[np.ndarray, "target column"],
    p: float,
    tolerance: float,
) -> tuple[Float[np.ndarray, " target"], Float[np.ndarray, " target"]]:
    """Return bounds of max |a x|ᵖ / ‖U x‖ₚᵖ for each target a.

    Reweighted least squares for 1/σ = min ‖U x‖ₚᵖ subject to a x = 1: x ∝ M⁻¹ a, M = Uᵀ W U,
    W = diag |U x|^{p-2}. Every x gives a lower bound of σ. Every W gives an upper one: z = W U M⁻¹ a
    fulfils Uᵀ z = a, hence |a x| = |z · U x| ≤ ‖z‖_q ‖U x‖ₚ with 1/p + 1/q = 1. For p > 2 the step is
    shortened by p - 1, which makes it Newton's. For p < 2 small residuals are raised to a floor that falls
    from sweep to sweep: without it a residual that vanishes too early stays so, and the upper bound stalls.
    """
    low, high = np.zeros(len(targets)), np.full(len(targets), 1.0)
    active = np.flatnonzero(np.einsum("ij,ij->i", targets, targets) > 0)
    high[np.setdiff1d(np.arange(len(targets)), active)] = 0.0
    x = targets.copy()
    for sweep in range(SWEEPS):
        if len(active) == 0:
            break
        a, y = targets[active], x[active]
        y = y / np.einsum("ij,ij->i", a, y)[:, None]
        residual = np.abs(U @ y.T)
        low[active] = np.maximum(low[active], 1 / (residual**p).sum(axis=0))
        floor = FLOOR_DECAY**sweep if p < 2 else 1e-9
        W = np.maximum(residual, floor * residual.mean(axis=0)) ** (p - 2)
        y_next = _weighted_solve(U, W, a)
        high[active] = np.minimum(high[active], _dual_bound(W * (U @ y_next.T), p))
        y_next /= np.einsum("ij,ij->i", a, y_next)[:, None]
        x[active] = y_next if p < 2 else y + (y_next - y) / (p - 1)
        active = active[high[active] > (1 + tolerance) * low[active]]
    return low, high


def _weighted_solve(
    U: Float[np.ndarray, "row column"],
    W: Float[np.ndarray, "row target"],
    a: Float[np.ndarray, "target column"],
) -> Float[np.ndarray, "target column"]:
    """Return (Uᵀ W U)⁻¹ a for each column of W; one product with all pairs of columns of U makes all M."""
    m = U.shape[1]
    i, j = np.triu_indices(m)
    pairs = W.T @ (U[:, i] * U[:, j])
    M = np.empty((len(a), m, m))
    M[:, i, j] = M[:, j, i] = pairs
    return np.asarray(np.linalg.solve(M, a[..., None])[..., 0])


def _dual_bound(z: Float[np.ndarray, "row target"], p: float) -> Float[np.ndarray, " target"]:
    size = np.abs(z)
    if p == 1:
        return np.asarray(size.max(axis=0))
    return np.asarray((size ** (p / (p - 1))).sum(axis=0) ** (p - 1))


def sensitivity_bracket(U: Float[np.ndarray, "row column"], p: float) -> Bracket:
    """Return bounds of the sensitivities without a solve for every row.

    Above: min(1, d^{max(0, p/2-1)} wᵢ, τᵢ^{p/2} n^{max(0, p/2-1)}) with Lewis weights w. Below: the best of
    the columns of U, the Lewis directions of the rows that weigh most, and each row's own uᵢ.
    """
    n, d = U.shape
    w, tau = lewis_weights(U, p), leverage(U)
    excess = max(0.0, p / 2 - 1)
    high = np.minimum(1.0, np.minimum(d**excess * w, tau ** (p / 2) * n**excess))
    M = U.T @ (w[:, None] ** (1 - 2 / p) * U)
    heaviest = np.argsort(-w, kind="stable")[:POOL]
    X = np.hstack((np.eye(d), np.linalg.solve(M, U[heaviest].T)))
    values = np.abs(U @ X) ** p
    low = (values / values.sum(axis=0)).max(axis=1)
    return np.minimum(low, high), high


def pivoted_rows(A: Float[np.ndarray, "row column"], count: int) -> np.ndarray:
    """Return the rows that QR with column pivoting of Aᵀ takes first: each is the farthest from the span of
    those before it.
    """
    _, pivots = qr(A.T, mode="r", pivoting=True, check_finite=False)
    return np.asarray(pivots[:count], dtype=np.int64)
