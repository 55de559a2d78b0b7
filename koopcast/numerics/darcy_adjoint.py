"""Darcy flow as a function of its coefficient at the nodes, and the derivative of it, by finite volumes."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg as sla
from jaxtyping import Float

from koopcast.numerics.finite_volumes import assemble, diffusion


@dataclass(frozen=True)
class DarcyFlow:
    """-div(a grad u) = f on the unit square, u = 0 on its boundary, with harmonic means of a at the faces."""

    source: float = 1.0

    def linearised(self, a: Float[np.ndarray, "y x"]) -> "Linearised":
        """Return u for this coefficient, and the way back from u to a."""
        spacings = tuple(1 / (size - 1) for size in a.shape)
        factors = sla.splu(assemble(diffusion(a, spacings)).tocsc())
        inner = factors.solve(np.full(factors.shape[0], float(self.source)))
        return Linearised(a, _with_boundary(inner, a.shape), factors)


@dataclass(frozen=True)
class Linearised:
    """The flow at one coefficient."""

    a: Float[np.ndarray, "y x"]
    u: Float[np.ndarray, "y x"]
    factors: sla.SuperLU

    def pull_back(self, slope: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
        """Return the gradient in a of a function of u whose gradient in u is `slope`.

        With A(a) u = f and A λ = slope, it is -λᵀ (∂A/∂a) u: a face between two nodes, of transmission T,
        adds -(λ₁ - λ₂)(u₁ - u₂) to the gradient in T.
        """
        adjoint = self.factors.solve(np.ascontiguousarray(slope[1:-1, 1:-1]).ravel())
        lagrange = _with_boundary(adjoint, self.a.shape)
        gradient = np.zeros_like(self.a)
        for axis, size in enumerate(self.a.shape):
            # Faces lie between interior lines of the other axis alone.
            inner = tuple(slice(None) if other == axis else slice(1, -1) for other in range(2))
            first, second = _halves(self.a[inner], axis)
            of_faces = -np.diff(lagrange[inner], axis=axis) * np.diff(self.u[inner], axis=axis)
            share = 2 * (size - 1) ** 2 * of_faces / (first + second) ** 2
            before, after = _halves(gradient[inner], axis)
            before += share * second**2
            after += share * first**2
        return gradient


def _with_boundary(inner: Float[np.ndarray, " unknown"], shape: tuple[int, ...]) -> Float[np.ndarray, "y x"]:
    return np.pad(inner.reshape([size - 2 for size in shape]), 1)


def _halves(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return views of all but the last, and of all but the first, along one axis."""
    leading = (slice(None),) * axis
    return values[(*leading, slice(None, -1))], values[(*leading, slice(1, None))]
