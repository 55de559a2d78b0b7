"""HiPPO matrices, their diagonalisation after a perturbation, and transfer functions."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from koopcast.errors import InvalidInput
from koopcast.rng import torch_generator

STABILITY_WEIGHT = 5.0
"""Weight of the penalty Σ max(0, Re λ + margin)."""
RATE = 0.3
"""First learning rate of the perturbation, entry by entry; it falls to 0."""
SPECKS = 1e-3
"""Random part of a first perturbation, relative to the matrix."""


@dataclass(frozen=True)
class Perturbation:
    """How a matrix is perturbed before it is diagonalised."""

    relative: float = 0.1
    """Share of the low-rank part that the search starts from, or size of a random one in units of the matrix,
    both in spectral norms."""
    optimise: bool = True
    """Minimise κ(V) + γ‖E‖ + a penalty on eigenvalues near the right half-plane; else random."""
    steps: int = 400
    gamma: float = 1.0
    stability_margin: float = 0.4
    """Real parts should be below its negative."""


@dataclass(frozen=True)
class Diagonalised:
    """A ≈ V diag(λ) V⁻¹ with what it costs."""

    eigenvalues: Complex[np.ndarray, " n"]
    vectors: Complex[np.ndarray, "n n"]
    perturbation: Float[np.ndarray, "n n"]

    @property
    def condition(self) -> float:
        """Return κ(V)."""
        return float(np.linalg.cond(self.vectors))


def hippo_legs(n: int) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, " n"]]:
    """Return A and B of HiPPO-LegS.

    A_jk = -√(2j+1)√(2k+1) below the diagonal, -(j+1) on it, 0 above; B_j = √(2j+1).
    """
    root = np.sqrt(2 * np.arange(n) + 1.0)
    return -np.tril(np.outer(root, root), -1) - np.diag(np.arange(n) + 1.0), root


def low_rank(n: int) -> Float[np.ndarray, " n"]:
    """Return P with A + P Pᵀ normal: P_j = √(j + ½)."""
    return np.asarray(np.sqrt(np.arange(n) + 0.5))


def normal_part(n: int) -> Diagonalised:
    """Return the diagonalisation of A + P Pᵀ, -½ plus a skew matrix: what is kept of A when P is dropped."""
    A, P = hippo_legs(n)[0], low_rank(n)
    skew = A + np.outer(P, P) + np.eye(n) / 2
    frequencies, V = np.linalg.eigh(-1j * skew)
    return Diagonalised(-0.5 + 1j * frequencies, V, np.outer(P, P))


@lru_cache(maxsize=32)
def perturbed(n: int, options: Perturbation, seed: int) -> Diagonalised:
    """Return the diagonalisation of A + E with a small E for which eigenvectors are well conditioned.

    Raises:
        InvalidInput: An eigenvalue of A + E is not in the left half-plane.
    """
    A = torch.from_numpy(hippo_legs(n)[0])
    draws = torch.randn(n, n, generator=torch_generator(seed, "perturbation"), dtype=torch.float64)
    unit = draws * (torch.linalg.matrix_norm(A, 2) / torch.linalg.matrix_norm(draws, 2))
    if options.optimise:
        P = torch.from_numpy(low_rank(n))
        E = _searched(A, options.relative * torch.outer(P, P) + SPECKS * unit, options)
    else:
        E = options.relative * unit
    values, vectors = torch.linalg.eig(A + E)
    if float(largest := values.real.max()) >= 0:
        raise InvalidInput(
            f"perturbation: relative {options.relative:g} gives the matrix of size {n} an eigenvalue with "
            f"the real part {float(largest):+.3g}, and the model would grow",
            "set optimise: true, raise steps, or lower relative",
        )
    return Diagonalised(values.numpy(), vectors.numpy(), E.numpy())


@torch.enable_grad()
def _searched(A: Float[Tensor, "n n"], start: Float[Tensor, "n n"], options: Perturbation) -> Tensor:
    """Return the E of the least κ(V) + γ‖E‖_F + penalty on the way of Adam from `start`."""
    E = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([E], lr=RATE)
    best, least = start, float("inf")
    for step in range(options.steps + 1):
        values, V = torch.linalg.eig(A + E)
        singular = torch.linalg.svdvals(V)
        excess = torch.relu(values.real + options.stability_margin).sum()
        loss = singular[0] / singular[-1] + options.gamma * E.norm() + STABILITY_WEIGHT * excess
        if float(loss.detach()) < least:
            best, least = E.detach().clone(), float(loss.detach())
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / (options.steps + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best


def responses(
    A: Complex[np.ndarray, "n n"] | Float[np.ndarray, "n n"],
    B: Complex[np.ndarray, " n"] | Float[np.ndarray, " n"],
    s: Complex[np.ndarray, " frequency"],
) -> Complex[np.ndarray, "frequency n"]:
    """Return (s - A)⁻¹ B: with C in front it is the transfer function G(s)."""
    identity = np.eye(len(A))
    return np.stack([np.linalg.solve(value * identity - A, B) for value in s])
