"""Values of a kernel on states, their images and landmarks, and what kernel EDMD makes of them."""

from abc import ABC, abstractmethod
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
class Functions:
    """Values of combinations of k(·, z)."""

    before: Float[Tensor, "pair function"]
    """At the states."""
    after: Float[Tensor, "pair function"]
    """At their images."""
    moved: Float[Tensor, "landmark function"]
    """k(F(z), F(z)) · functions."""


@dataclass(frozen=True)
class Gram(ABC):
    """Values of the kernel that a fit needs."""

    Z: Float[Tensor, "landmark coordinate"]
    index: Int[Tensor, " landmark"]
    """Which of the states they are."""
    square: Float[Tensor, "landmark landmark"]
    """k(z, z)."""

    @property
    @abstractmethod
    def images(self) -> Float[Tensor, "landmark landmark"]:
        """k(F(z), F(z))."""

    @abstractmethod
    def values(self, functions: Float[Tensor, "landmark function"]) -> Functions:
        """Return the values of combinations of k(·, z)."""

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
        if len(self.Z) == len(root):
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
        found = self.values(whiten)
        q, q_next = root * found.before, root * found.after
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
        found: Functions,
    ) -> Float[Tensor, " mode"]:
        """Return ‖P u - λ u‖ / ‖u‖ in the space of the kernel, P k(z, ·) = k(F(z), ·).

        u is the left eigenfunction that belongs to λ. For u = Σ w_m k(z_m, ·) are ‖P u‖² = w* k(F(z), F(z)) w
        and <u, P u> = w* k(z, F(z)) w.

        Args:
            values: Eigenvalues λ.
            right: Eigenvectors, in terms of the functions.
            functions: What they combine, in terms of the landmarks.
            found: Their values.
        """
        q, q_next = found.before[self.index], found.after[self.index]
        # <P f, P g>, <f, P g> and <f, g> of all functions f and g.
        products = found.moved.mT @ functions, q_next.mT @ functions, q.mT @ functions
        between = [product.to(right.dtype) for product in products]
        # A left vector is a functional of the functions' coefficients; N⁻¹ turns it into a function.
        u = torch.linalg.solve(between[2], torch.linalg.pinv(right).mT)
        moved, mixed, size = ((u.conj() * (matrix @ u)).sum(dim=0) for matrix in between)
        squared = moved.real - 2 * (values.conj() * mixed).real + values.abs().square() * size.real
        least = torch.finfo(squared.dtype).tiny
        residuals: Tensor = (squared.clamp_min(0) / size.real.clamp_min(least)).sqrt()
        return residuals


@dataclass(frozen=True)
class SeparateGram(Gram):
    """One matrix for each of the sets of points."""

    before: Float[Tensor, "pair landmark"]
    """k(x, z), a transposed view."""
    after: Float[Tensor, "pair landmark"]
    """k(F(x), z), a transposed view."""
    between: Float[Tensor, "landmark landmark"]
    """k(F(z), F(z))."""

    @property
    def images(self) -> Float[Tensor, "landmark landmark"]:
        """k(F(z), F(z))."""
        return self.between

    def values(self, functions: Float[Tensor, "landmark function"]) -> Functions:
        """Return the values by one product a matrix."""
        matrices = self.before, self.after, self.between.mT
        return Functions(*(combined(matrix, functions) for matrix in matrices))


@dataclass(frozen=True)
class SharedGram(Gram):
    """One matrix of all distinct points, where most images are states again; all states are landmarks."""

    following: Int[Tensor, " landmark"]
    """Which of the points, the states first, are the images."""
    whole: Float[Tensor, "point point"]

    @property
    def images(self) -> Float[Tensor, "landmark landmark"]:
        """k(F(z), F(z))."""
        return self.whole[self.following][:, self.following]

    def values(self, functions: Float[Tensor, "landmark function"]) -> Functions:
        """Return the values by one product."""
        count, rank = functions.shape
        spread = functions.new_zeros(len(self.whole), 2 * rank)
        spread[:count, :rank] = functions
        spread[:, rank:].index_add_(0, self.following, functions)
        product = combined(self.whole.mT, spread)
        moved = product[self.following]
        return Functions(product[:count, :rank], moved[:, :rank], moved[:, rank:])


def distinct_points(
    X: Float[Tensor, "pair coordinate"], Y: Float[Tensor, "pair coordinate"]
) -> tuple[Float[Tensor, "point coordinate"], Int[Tensor, " pair"]]:
    """Return the states and the images that are not the next state, and which of these the images are."""
    is_new = torch.ones(len(Y), dtype=torch.bool)
    is_new[:-1] = (Y[:-1] != X[1:]).any(dim=1)
    following = torch.where(is_new, len(X) - 1 + is_new.cumsum(0), torch.arange(1, len(Y) + 1))
    return torch.cat([X, Y[is_new]]), following
