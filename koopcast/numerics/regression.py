"""Weighted linear regression as a pair of maps: prediction F(a) = X a and estimation G(y) = X⁺ y.

With errors of covariance R, G is the left inverse of F that is least squares in R⁻¹. F G is the projection
Π on what can be predicted, self-adjoint in R⁻¹.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.errors import InvalidInput


@dataclass(frozen=True)
class Regression:
    """Both maps, by an orthogonal decomposition of the whitened matrix: nothing is inverted."""

    X: Float[Tensor, "row column"]
    root: Float[Tensor, "row row"]
    """Cholesky factor of R."""
    basis: Float[Tensor, "row rank"]
    """Orthonormal columns that span the whitened X."""
    inverse: Float[Tensor, "column rank"]
    """From coordinates in that basis to parameters."""

    @classmethod
    def of(
        cls,
        X: Float[Tensor, "row column"],
        R: Float[Tensor, "row row"] | None = None,
        *,
        pseudoinverse: bool = False,
    ) -> "Regression":
        """Decompose; without R errors are independent and of variance 1.

        Raises:
            InvalidInput: The columns are dependent, and `pseudoinverse`, the shortest of all parameters that
                fit, was not asked for.
        """
        root = torch.eye(len(X), dtype=X.dtype) if R is None else torch.linalg.cholesky(R)
        U, s, Vh = torch.linalg.svd(_solved(root, X), full_matrices=False)
        limit = max(X.shape) * torch.finfo(X.dtype).eps * s[0]
        rank = int((s > limit).sum())
        if rank < X.shape[1] and not pseudoinverse:
            raise InvalidInput(
                f"the matrix has {X.shape[1]} columns and the numerical rank {rank}",
                "drop dependent columns, or set `pseudoinverse: true` for the shortest of all solutions",
            )
        return cls(X, root, U[:, :rank], Vh[:rank].mT / s[:rank])

    @property
    def rank(self) -> int:
        """Independent columns."""
        return self.basis.shape[1]

    def predict(self, a: Float[Tensor, "column *many"]) -> Float[Tensor, "row *many"]:
        """Return F(a)."""
        return self.X @ a

    def estimate(self, y: Float[Tensor, "row *many"]) -> Float[Tensor, "column *many"]:
        """Return G(y)."""
        return self.inverse @ (self.basis.mT @ self.whiten(y))

    def whiten(self, y: Float[Tensor, "row *many"]) -> Float[Tensor, "row *many"]:
        """Return R^{-1/2} y."""
        return _solved(self.root, y)

    def gain(self) -> Float[Tensor, "column row"]:
        """Return the matrix of G."""
        return self.estimate(torch.eye(len(self.X), dtype=self.X.dtype))

    def covariance(self) -> Float[Tensor, "column column"]:
        """Return the covariance of the estimate."""
        return self.inverse @ self.inverse.mT


def _solved(root: Tensor, y: Tensor) -> Tensor:
    rows = y if y.dim() == 2 else y[:, None]
    solved: Tensor = torch.linalg.solve_triangular(root, rows, upper=False).reshape(y.shape)
    return solved


def violations(
    regression: Regression, a: Float[Tensor, " column"], y: Float[Tensor, " row"]
) -> dict[str, float]:
    """Return by how much each identity of the pair fails, relative to the size of what it compares.

    `unit` G F = 1 is left out where columns are dependent: G F is then a projection itself.
    """
    F, G, whiten = regression.predict, regression.estimate, regression.whiten
    project = F(G(torch.eye(len(y), dtype=y.dtype)))
    r, best = y - F(a), G(y)
    least, shift = y - F(best), F(best - a)
    sizes = [float(whiten(part).square().sum()) for part in (r, least, shift)]
    bound = float(torch.linalg.matrix_norm(regression.inverse, 2)) * sizes[0] ** 0.5
    found = {
        "idempotent": _relative(project @ project, project),
        "self_adjoint": _asymmetry(regression, project),
        "triangle_of_f": _relative(F(G(F(a))), F(a)),
        "triangle_of_g": _relative(G(F(best)), best),
        "residual_to_parameter": _relative(G(r), best - G(F(a))),
        "parameter_to_residual": _relative((y - F(a + best)) - r, -F(best)),
        "orthogonal": float((whiten(regression.X).mT @ whiten(least)).norm())
        / float(whiten(regression.X).norm() * whiten(y).norm()),
        "pythagoras": abs(sizes[0] - sizes[1] - sizes[2]) / sizes[0],
        "bounded": max(0.0, float(G(r).norm()) / bound - 1),
    }
    if regression.rank == regression.X.shape[1]:
        found["unit"] = _relative(G(F(a)), a)
    return found


def _asymmetry(regression: Regression, project: Float[Tensor, "row row"]) -> float:
    """Return how far R^{-1/2} Π R^{1/2} is from its transpose."""
    whitened = regression.whiten(project @ regression.root)
    return _relative(whitened, whitened.mT)


def _relative(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm() / second.norm())
