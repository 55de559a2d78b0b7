"""Proposals of Metropolis-Hastings moves for independent standard normal variables under a likelihood.

Each returns the proposal x' and log q(x | x') N(x') / (q(x' | x) N(x)), q being the density of proposals, N
that of the prior: what the ratio of likelihoods is multiplied with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.blocks.base import Draws

Kernel = Literal["rwm", "pcn", "mala", "trace"]
LogLikelihood = Callable[[Tensor], Tensor]
"""(position "batch member moved") -> "batch member"."""
RANDOM_WALK, LANGEVIN = 2.38, 1.65
"""Best steps for a Gaussian of many variables d, times d^{-1/2} and d^{-1/6} (Roberts and Rosenthal 2001)."""
FLOOR = 1e-9
"""Share of the mean variance added to a covariance, so that it has a root."""


@dataclass(frozen=True)
class Move:
    """Size and shape of proposals."""

    scale: float
    root: Float[Tensor, "batch moved moved"]
    """Lower triangular L with LLᵀ the covariance of the population."""

    @classmethod
    def of(
        cls, covariance: Float[Tensor, "batch moved moved"], kernel: Kernel, scale: float | None
    ) -> "Move":
        """Return the move of a kernel; `scale` as its option says."""
        size = covariance.shape[1]
        if kernel in ("pcn", "trace"):
            return cls(0.5 if scale is None else scale, covariance)
        best = RANDOM_WALK * size**-0.5 if kernel == "rwm" else LANGEVIN * size ** (-1 / 6)
        variance = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)
        floor = (FLOOR * variance).clamp_min(torch.finfo(covariance.dtype).tiny)
        whole = covariance + torch.diag_embed(floor[:, None].expand(-1, size))
        return cls(best * (1.0 if scale is None else scale), torch.linalg.cholesky(whole))


Propose = Callable[[Tensor, LogLikelihood, Move, Draws], tuple[Tensor, Tensor]]


def _prior_ratio(new: Tensor, old: Tensor) -> Float[Tensor, "batch member"]:
    return 0.5 * (old.square() - new.square()).sum(dim=2)


def random_walk(
    x: Float[Tensor, "batch member moved"], log_likelihood: LogLikelihood, move: Move, draws: Draws
) -> tuple[Float[Tensor, "batch member moved"], Float[Tensor, "batch member"]]:
    """Propose x + s L ξ."""
    new = x + move.scale * draws.normal(*x.shape[1:]) @ move.root.mT
    return new, _prior_ratio(new, x)


def crank_nicolson(
    x: Float[Tensor, "batch member moved"], log_likelihood: LogLikelihood, move: Move, draws: Draws
) -> tuple[Float[Tensor, "batch member moved"], Float[Tensor, "batch member"]]:
    """Propose √(1 - b²) x + b ξ, which is reversible in the prior: likelihoods alone decide."""
    b = move.scale
    new = (1 - b * b) ** 0.5 * x + b * draws.normal(*x.shape[1:])
    return new, x.new_zeros(x.shape[:2])


def langevin(
    x: Float[Tensor, "batch member moved"], log_likelihood: LogLikelihood, move: Move, draws: Draws
) -> tuple[Float[Tensor, "batch member moved"], Float[Tensor, "batch member"]]:
    """Propose x + ½ s² LLᵀ g(x) + s L ξ with the gradient g of the logarithm of the posterior."""
    xi, s = draws.normal(*x.shape[1:]), move.scale
    u = _whitened_gradient(x, log_likelihood, move)
    new = x + (0.5 * s * s * u + s * xi) @ move.root.mT
    # L⁻¹ (x - x' - ½ s² LLᵀ g(x')) / s, of the way back.
    back = -xi - 0.5 * s * (u + _whitened_gradient(new, log_likelihood, move))
    return new, _prior_ratio(new, x) + 0.5 * (xi.square() - back.square()).sum(dim=2)


def _whitened_gradient(
    x: Tensor, log_likelihood: LogLikelihood, move: Move
) -> Float[Tensor, "batch member moved"]:
    """Return Lᵀ g."""
    with torch.enable_grad():
        free = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_likelihood(free).sum(), free)
    whitened: Tensor = (gradient - x) @ move.root
    return whitened


def single_site(
    x: Float[Tensor, "batch member moved"], log_likelihood: LogLikelihood, move: Move, draws: Draws
) -> tuple[Float[Tensor, "batch member moved"], Float[Tensor, "batch member"]]:
    """Draw one variable, any with the same chance, from its prior; traces keep their length."""
    members, size = x.shape[1:]
    site = (draws.uniform(members, 1) * size).long().clamp_max(size - 1)
    return x.scatter(2, site, draws.normal(members, 1)), x.new_zeros(x.shape[:2])


PROPOSALS: Mapping[Kernel, Propose] = {
    "rwm": random_walk,
    "pcn": crank_nicolson,
    "mala": langevin,
    "trace": single_site,
}
