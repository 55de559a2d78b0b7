"""The Arnoldi process with a space projected out, in blocks of columns."""

import math

import numpy as np
from jaxtyping import Float

from koopcast.solvers.iterative import Operator, norm

NOTHING_LEFT = 1e-14
"""Share of A M v that may remain outside the space for the space to count as invariant."""


def arnoldi(
    operator: Operator,
    W: Float[np.ndarray, "unknown column"],
    known: int,
    r: Float[np.ndarray, " unknown"],
    target: float,
) -> Float[np.ndarray, "row step"]:
    """Return [B; H] with A M V = C B + V₊ H, where W = [C, V₊] and v₁ = r / ‖r‖.

    It stops when W is full, when min ‖r - V₊ H z‖ ≤ target, or when the space is invariant: then the last
    row is zero. Each vector is made orthogonal to all others twice.

    Args:
        operator: y -> A M y.
        W: Column-major; C stands in its first columns, V₊ is written behind.
        known: Number of columns of C.
        r: Orthogonal to C.
        target: Residual at which to stop.
    """
    steps = W.shape[1] - known - 1
    coefficients = np.zeros((W.shape[1], steps))
    beta = norm(r)
    W[:, known] = r / beta
    # Left null vector t of H, t₁ = 1: min ‖β e₁ - H z‖ = β / ‖t‖.
    t = np.zeros(steps + 1)
    t[0] = squared = 1.0
    for step in range(steps):
        last = known + step
        basis = W[:, : last + 1]
        w = operator(W[:, last])
        h = basis.T @ w
        w -= basis @ h
        again = basis.T @ w
        w -= basis @ again
        h += again
        coefficients[: last + 1, step] = h
        size = norm(w)
        if not size > NOTHING_LEFT * norm(h):
            W[:, last + 1] = 0.0
            return coefficients[: last + 2, : step + 1]
        coefficients[last + 1, step] = size
        np.divide(w, size, out=W[:, last + 1])
        t[step + 1] = -(t[: step + 1] @ h[known:]) / size
        squared += t[step + 1] ** 2
        if beta <= target * math.sqrt(squared):
            break
    return coefficients[: last + 2, : step + 1]


def least_squares(H: Float[np.ndarray, "row step"], beta: float) -> Float[np.ndarray, " step"]:
    """Return the z that minimises ‖β e₁ - H z‖."""
    e1 = np.zeros(len(H))
    e1[0] = beta
    z: np.ndarray = np.linalg.lstsq(H, e1, rcond=None)[0]
    return z
