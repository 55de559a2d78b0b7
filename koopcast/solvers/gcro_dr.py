"""GMRES that keeps a space of approximate smallest eigenvectors, and carries it on."""

from typing import Literal

import numpy as np
import scipy.linalg
from jaxtyping import Float
from pydantic import Field, model_validator

from koopcast.linear import Profile
from koopcast.solvers.arnoldi import arnoldi, least_squares
from koopcast.solvers.base import Solver
from koopcast.solvers.gmres import STAGNATION
from koopcast.solvers.iterative import Correction, IterativeSolver, Method, Operator, PreconditionedSpec, norm

DEPENDENT = 1e-12
"""Columns with a diagonal of R below this share of the first depend on the others."""


class RecyclingSpec(PreconditionedSpec):
    """Options of a method that recycles a space."""

    m: int = Field(40, ge=4, le=200)
    """Dimension of the space at which a cycle ends, the recycled one included."""
    k: int = Field(20, ge=1)
    """Dimension of the space that is kept."""

    @model_validator(mode="after")
    def _check_dimensions(self) -> "RecyclingSpec":
        if self.k >= self.m - 1:
            raise ValueError(
                f"k: {self.k} was given, at most m - 2 = {self.m - 2} is allowed; raise m or lower k"
            )
        return self


class GCRODRSpec(RecyclingSpec):
    """Restarted GMRES that keeps the smallest harmonic Ritz vectors from cycle to cycle of one system."""

    kind: Literal["gcro_dr"] = "gcro_dr"

    reference = "Parks, de Sturler, Mackey, Johnson and Maiti 2006; nothing is kept between systems"

    def build(self, profile: Profile, generator: np.random.Generator) -> Solver:
        """Return a solver that forgets each system."""
        method = GCRODR(self.m, self.k, carries=False)
        return IterativeSolver(method, self.preconditioner.start(profile), self)


class GCRODR(Method):
    """GCRO-DR(m, k) with A M U = C, CᵀC = I; U lives in the preconditioned variable y, x = M y."""

    def __init__(self, m: int, k: int, *, carries: bool) -> None:
        self._m, self._k, self._carries = m, k, carries
        self._U = np.zeros((0, 0))
        self._W = np.zeros((0, 0))
        self._operator: Operator | None = None
        self._carried = np.zeros((0, 0))

    def correct(
        self, operator: Operator, r: Float[np.ndarray, " unknown"], target: float, budget: int
    ) -> Correction:
        """Project on the kept space, then run cycles orthogonal to it and renew it after each."""
        if operator is not self._operator:
            self._begin(operator)
        c = self._images.T @ r
        y, r, step = self._U @ c, r - self._images @ c, 0
        size = norm(r)
        while size > target and step < budget:
            known = self._U.shape[1]
            columns = min(self._m, known + budget - step) + 1
            G = arnoldi(operator, self._W[:, :columns], known, r, target)
            if not np.isfinite(G).all():
                break
            B, H = G[:known], G[known:]
            z = least_squares(H, size)
            V = self._W[:, known : known + len(H)]
            y += V[:, : len(z)] @ z - self._U @ (B @ z)
            r = r - V @ (H @ z)
            step += len(z)
            self._renew(G)
            previous, size = size, norm(r)
            if not size < STAGNATION * previous:
                break
        return Correction(operator.precondition(y), step)

    def figures(self) -> dict[str, float]:
        """Return delta = ‖(I - C Cᵀ) Q‖: the sine of the largest angle between the image of the space that
        came from the last system and that of the space found here; 1 where none came.
        """
        if not self._carries:
            return {}
        if not (self._carried.shape[1] and self._images.shape[1]):
            return {"delta": 1.0}
        cosines = scipy.linalg.svdvals(self._carried.T @ self._images)
        return {"delta": float(np.sqrt(max(0.0, 1 - cosines.min() ** 2)))}

    @property
    def _images(self) -> np.ndarray:
        return self._W[:, : self._U.shape[1]]

    def _begin(self, operator: Operator) -> None:
        """Make C anew for this matrix: one application for each vector of U, none for the same matrix."""
        size, last = operator.matrix.shape[0], self._operator
        if not self._carries or len(self._U) != size:
            self._U = np.zeros((size, 0))
            self._W = np.empty((size, self._m + 1), order="F")
        is_same = last is not None and (
            operator.matrix is last.matrix and operator.precondition is last.precondition
        )
        if self._U.shape[1] and not is_same:
            self._reestablish(operator)
        self._operator = operator
        self._carried = self._images.copy()

    def _reestablish(self, operator: Operator) -> None:
        images = np.stack([operator(u) for u in self._U.T], axis=1)
        Q, R, order = scipy.linalg.qr(images, mode="economic", pivoting=True, check_finite=False)
        diagonal = np.abs(np.diag(R))
        rank = int(np.count_nonzero(diagonal > DEPENDENT * diagonal[0]))
        self._U = _divided(self._U[:, order[:rank]], R[:rank, :rank])
        self._W[:, :rank] = Q[:, :rank]

    def _renew(self, G: Float[np.ndarray, "row step"]) -> None:
        """Replace U and C by the k smallest harmonic Ritz vectors of the space [U, V] and their images."""
        U, (rows, steps) = self._U, G.shape
        known = rows - steps - 1
        W, V = self._W[:, :rows], self._W[:, known : rows - 1]
        D = 1 / np.sqrt(np.einsum("nk,nk->k", U, U))
        whole = np.zeros((rows, known + steps))
        whole[:known, :known] = np.diag(D)
        whole[:, known:] = G
        overlap = np.eye(rows, known + steps)
        overlap[:, :known] = (W.T @ U) * D
        Z = harmonic_vectors(whole, overlap, self._k)
        if Z is None:
            return
        Q, R = np.linalg.qr(whole @ Z)
        Z = _divided(Z, R)
        C = W @ Q
        self._U = np.asfortranarray(U @ (D[:, None] * Z[:known]) + V @ Z[known:])
        self._W[:, : C.shape[1]] = C


def harmonic_vectors(
    G: Float[np.ndarray, "row column"], overlap: Float[np.ndarray, "row column"], count: int
) -> Float[np.ndarray, "column kept"] | None:
    """Return a real basis of the z with GᵀG z = θ Gᵀ N z for the `count` smallest |θ|; None if G is singular.

    N is the overlap of the space with the basis of its image. With G = Q R these are the eigenvectors of
    R⁻¹ Qᵀ N, whose eigenvalues are 1 / θ. A complex pair is never cut in two: then one more vector is kept.
    """
    Q, R = np.linalg.qr(G)
    diagonal = np.abs(np.diag(R))
    if not diagonal.min() > DEPENDENT * diagonal.max():
        return None
    values, vectors = np.linalg.eig(_solved(R, Q.T @ overlap))
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    count = min(count, len(values))
    count += int(np.count_nonzero(values[:count].imag)) % 2
    first = values[:count].imag > 0
    single = values[:count].imag == 0
    return np.hstack([vectors[:, :count][:, first | single].real, vectors[:, :count][:, first].imag])


def _solved(R: np.ndarray, right: np.ndarray) -> np.ndarray:
    solved: np.ndarray = scipy.linalg.solve_triangular(R, right, check_finite=False)
    return solved


def _divided(left: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Return left R⁻¹."""
    divided: np.ndarray = scipy.linalg.solve_triangular(R, left.T, trans="T", check_finite=False).T
    return divided
