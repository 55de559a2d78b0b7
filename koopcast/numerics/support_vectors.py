"""Support vector machines on a Gram matrix, by sequential minimal optimisation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

TOLERANCE = 1e-6
"""Violation of the optimality conditions at which the iteration stops."""
STEPS = 100_000


@dataclass(frozen=True)
class SupportVectors:
    """The decision f(x) = Σ y_i α_i k(x_i, x) + b."""

    weights: Float[np.ndarray, " sample"]
    """y α."""
    bias: float

    def decide(self, kernel: Float[np.ndarray, "row sample"]) -> Float[np.ndarray, " row"]:
        """Return f for rows of k(x, x_i)."""
        return np.asarray(kernel @ self.weights + self.bias)


def support_vectors(
    gram: Float[np.ndarray, "sample sample"], labels: Float[np.ndarray, " sample"], cost: float
) -> SupportVectors:
    """Return the maximiser of Σ α - ½ Σ α_i α_j y_i y_j k_ij with 0 ≤ α ≤ cost and Σ y α = 0.

    Each step moves the pair that violates the optimality conditions most (Keerthi et al. 2001): y α rises at
    one and falls at the other, as far as the parabola or the box allows.

    Args:
        gram: k(x_i, x_j), symmetric and positive semi-definite.
        labels: 1 or -1.
        cost: Upper limit of α: what an error costs.
    """
    beta = np.zeros(len(labels))
    low, high = np.minimum(0, cost * labels), np.maximum(0, cost * labels)
    gradient = labels.astype(np.float64)
    for _ in range(STEPS):
        can_rise, can_fall = beta < high - 1e-14 * cost, beta > low + 1e-14 * cost
        i = int(np.where(can_rise, gradient, -np.inf).argmax())
        j = int(np.where(can_fall, gradient, np.inf).argmin())
        gap = gradient[i] - gradient[j]
        if gap <= TOLERANCE:
            break
        curvature = max(gram[i, i] + gram[j, j] - 2 * gram[i, j], 1e-12)
        step = min(gap / curvature, high[i] - beta[i], beta[j] - low[j])
        beta[i] += step
        beta[j] -= step
        gradient -= step * (gram[:, i] - gram[:, j])
    return SupportVectors(beta, float(gradient[i] + gradient[j]) / 2)
