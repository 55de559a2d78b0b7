"""Values of a kernel on states, their images and landmarks, and what kernel EDMD makes of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from koopcast.numerics.leading import leading_eigenpairs


def combined(
    kernel: Float[Tensor, "pair landmark"], functions: Float[Tensor, "landmark function"]
) -> Float[Tensor, "pair function"]:
    """Return kernel · functions, of a transposed view: from the right a few columns are slow."""
    return (functions.mT.contiguous() @ kernel.mT).mT.contiguous()


@dataclass(frozen=True)
class Gram:
    """Values of the kernel that a fit needs."""

    Z: Float[Tensor, "landmark coordinate"]
    index: Int[Tensor, " landmark"]
    """Which of the states they are."""
    before: Float[Tensor, "pair landmark"]
    """k(x, z)."""
    after: Float[Tensor, "pair landmark"]
    """k(F(x), z)."""
    square: Float[Tensor, "landmark landmark"]
    """k(z, z)."""
    images: Float[Tensor, "landmark landmark"]
    """k(F(z), F(z))."""

    def predictive(
        self,
        rank: int,
        penalty: float,
        root: Float[Tensor, "pair 1"],
    ) -> Float[Tensor, "landmark function"]:
        """Return the functions of reduced-rank regression in the space of the kernel.

        With all states as landmarks the directions u solve L K u = σ² (K + γ) u, K and L the Gram matrices of
        states and of images (weights of pairs enter the map alone). With fewer, the same regression is made
        between principal directions of the landmarks.
        """
        if len(self.Z) == len(self.before):
            D, Q = torch.linalg.eigh(self.square)
            D = D.clamp_min(0)
            # With u = Q (D (D + γ))^{-1/2} v the problem is symmetric; null directions of K have no part.
            kept = torch.finfo(D.dtype).eps * len(D) * D[-1] < D
            D, Q = D[kept], Q[:, kept]
            half = Q * (D / (D + penalty * D[-1])).sqrt()
            _, V = leading_eigenpairs(half.mT @ self.images @ half, rank)
            solution: Tensor = Q @ (V / (D * (D + penalty * D[-1])).sqrt()[:, None])
            return solution
        D, U = torch.linalg.eigh(self.square)
        kept = torch.finfo(D.dtype).eps * len(D) * D[-1] < D
        whiten = U[:, kept] / D[kept].sqrt()
        q, q_next = root * combined(self.before, whiten), root * combined(self.after, whiten)
        G = q.mT @ q
        C = q.mT @ q_next
        values, W = torch.linalg.eigh(G)
        shrunk = W / (values.clamp_min(0) + penalty * values[-1]).sqrt()
        left, _, _ = torch.linalg.svd(shrunk.mT @ C, full_matrices=False)
        predictive: Tensor = whiten @ (shrunk @ left[:, :rank])
        return predictive

    def dual_residuals(
        self,
        values: Complex[Tensor, " mode"],
        right: Complex[Tensor, "function mode"],
        functions: Float[Tensor, "landmark function"],
        values_at: tuple[Float[Tensor, "pair function"], Float[Tensor, "pair function"]],
    ) -> Float[Tensor, " mode"]:
        """Return ‖P u - λ u‖ / ‖u‖ in the space of the kernel, P k(z, ·) = k(F(z), ·).

        u is the left eigenfunction that belongs to λ. For u = Σ w_m k(z_m, ·) are ‖P u‖² = w* k(F(z), F(z)) w
        and <u, P u> = w* k(z, F(z)) w.

        Args:
            values: Eigenvalues λ.
            right: Eigenvectors, in terms of the functions.
            functions: What they combine, in terms of the landmarks.
            values_at: The functions at the states and at their images.
        """
        q, q_next = (item[self.index] for item in values_at)
        # <P f, P g>, <f, P g> and <f, g> of all functions f and g.
        products = combined(self.images.mT, functions).mT @ functions, q_next.mT @ functions, q.mT @ functions
        between = [product.to(right.dtype) for product in products]
        # A left vector is a functional of the functions' coefficients; N⁻¹ turns it into a function.
        u = torch.linalg.solve(between[2], torch.linalg.pinv(right).mT)
        moved, mixed, size = ((u.conj() * (matrix @ u)).sum(dim=0) for matrix in between)
        squared = moved.real - 2 * (values.conj() * mixed).real + values.abs().square() * size.real
        least = torch.finfo(squared.dtype).tiny
        residuals: Tensor = (squared.clamp_min(0) / size.real.clamp_min(least)).sqrt()
        return residuals
