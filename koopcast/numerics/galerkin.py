"""Galerkin matrices of a Koopman operator with the part of the images that they cannot see: residuals."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

CHUNK = 2**22
"""Numbers in the matrices that are decomposed together."""
DEPENDENT = 1e-14
"""Share of the largest eigenvalue of the Gram matrix below which a direction counts as dependent."""


@dataclass(frozen=True)
class Pairs:
    """Eigenpairs of a Galerkin matrix; `vectors` combine orthonormal functions and have norm 1."""

    values: Num[Tensor, " mode"]
    vectors: Num[Tensor, "function mode"]
    residuals: Float[Tensor, " mode"]
    """‖ψ(y) g - λ ψ(x) g‖ / ‖ψ(x) g‖ in the norm of the weights."""


@dataclass(frozen=True)
class Galerkin:
    """A dictionary ψ made orthonormal in the inner product of weighted snapshots, q = ψ · `transform`.

    With q(y) = q(x) K + p and p ⟂ q(x), K is the Galerkin matrix and TᴴT the Gram matrix of p. Every
    residual follows from both without a difference of large numbers: ‖q(y) g - z q(x) g‖² = ‖K g - z g‖² +
    ‖T g‖². (T is the part of EDMD's second matrix L = KᴴK + TᴴT that EDMD does not look at.)
    """

    transform: Num[Tensor, "observable function"]
    K: Num[Tensor, "function function"]
    T: Num[Tensor, "left function"]

    @classmethod
    def of(
        cls,
        before: Num[Tensor, "pair observable"],
        after: Num[Tensor, "pair observable"],
        weights: Float[Tensor, " pair"] | None = None,
        *,
        dependent: float = DEPENDENT,
        most: int | None = None,
    ) -> "Galerkin":
        """Return the matrices of observables at snapshots and at their images.

        Args:
            before: ψ(x), real or complex.
            after: ψ(y).
            weights: Of the pairs in the inner product; default 1/pairs.
            dependent: Directions whose share of the largest eigenvalue of ψ(x)ᴴWψ(x) is at most this are
                dropped.
            most: Leading directions to keep; default all that are independent.
        """
        count = len(before)
        root = before.new_full((count, 1), count**-0.5) if weights is None else weights.sqrt()[:, None]
        triangle = torch.linalg.qr(torch.cat([root * before, root * after], dim=1), mode="r").R
        size = before.shape[1]
        U, singular, Vh = torch.linalg.svd(triangle[:, :size], full_matrices=False)
        keep = int((singular.square() > dependent * singular[0].square()).sum())
        keep = max(1, min(keep, most or keep))
        transform = Vh[:keep].mH / singular[:keep]
        images = triangle[:, size:] @ transform
        K = U[:, :keep].mH @ images
        T = torch.linalg.qr(images - U[:, :keep] @ K, mode="r").R
        return cls(transform.contiguous(), K, T)

    def residuals(
        self, values: Num[Tensor, " mode"], vectors: Num[Tensor, "function mode"]
    ) -> Float[Tensor, " mode"]:
        """Return ‖q(y) g - λ q(x) g‖ / ‖q(x) g‖ for each pair (λ, g)."""
        vectors = vectors.to(values.dtype)
        seen = self.K.to(values.dtype) @ vectors - values * vectors
        unseen = self.T.to(values.dtype) @ vectors
        sizes = [torch.linalg.vector_norm(item, dim=0) for item in (seen, unseen, vectors)]
        least = torch.finfo(sizes[2].dtype).tiny
        relative: Tensor = torch.hypot(sizes[0], sizes[1]) / sizes[2].clamp_min(least)
        return relative

    def pairs(self) -> Pairs:
        """Return the eigenpairs of K, as EDMD has them, with their residuals, smallest residual first."""
        values, vectors = torch.linalg.eig(self.K)
        residuals = self.residuals(values, vectors)
        # Rounded, so that conjugates keep together; then the upper half first.
        order = sorted(
            range(len(values)),
            key=lambda i: (round(float(residuals[i]), 9), -float(values[i].abs().round(decimals=9)),
                           -float(values[i].imag)),
        )  # fmt: skip
        return Pairs(values[order], vectors[:, order], residuals[order])

    def tau(self, points: Num[Tensor, " point"]) -> Float[Tensor, " point"]:
        """Return the smallest residual that any function of the dictionary has at each z.

        τ(z) = σ_min([K - z; T]): {z: τ(z) ≤ ε} approaches the ε-pseudospectrum from inside.
        """
        size = len(self.K)
        identity = torch.eye(size, dtype=points.dtype)
        T = self.T.to(points.dtype)
        result = []
        for z in points.split(max(1, CHUNK // (2 * size * size))):
            stacked = torch.cat([self.K - z[:, None, None] * identity, T.expand(len(z), *T.shape)], dim=1)
            result.append(torch.linalg.svdvals(stacked)[:, -1])
        return torch.cat(result).real

    def unitary(self) -> Num[Tensor, "function function"]:
        """Return the unitary matrix nearest to K: that of the least squares problem among unitary ones."""
        U, _, Vh = torch.linalg.svd(self.K)
        nearest: Tensor = U @ Vh
        return nearest

    def contraction(self) -> Num[Tensor, "function function"]:
        """Return the solution of the least squares problem among matrices of norm at most 1."""
        U, singular, Vh = torch.linalg.svd(self.K)
        best: Tensor = U @ (singular.clamp_max(1.0)[:, None] * Vh)
        return best
