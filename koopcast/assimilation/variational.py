"""What variational methods share: Gauss-Newton for ½ |v|² + ½ |d(v)|² over controls v.

d is the *misfit*, observations less what a control makes of them, in units of the observation error, and
L the derivative of what it makes: d(v + w) ≈ d(v) - L w. Here L is held transposed, one control a row.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from koopcast.numerics.conjugate_gradients import conjugate_gradients
from koopcast.numerics.derivatives import pushed
from koopcast.spec import Spec

DIRECT = 1500
"""Entries of a control up to which `auto` solves directly."""


class Minimiser(Spec):
    """How the cost is brought to its minimum."""

    iterations: PositiveInt = 10
    """Gauss-Newton iterations (outer loops) at most; each linearises anew."""
    tolerance: float = Field(1e-5, gt=0, lt=1)
    """Stop once the norm of the gradient has fallen to this share of the first."""
    inner: Literal["auto", "direct", "cg"] = "auto"
    """How a linearised cost is minimised: with its derivative held as a matrix, or by conjugate gradients
    that call tangent and adjoint models; `auto` by the size of a control."""
    inner_iterations: PositiveInt = 100
    """Conjugate gradient iterations at most."""
    inner_tolerance: float = Field(1e-8, gt=0, lt=1)
    """Relative residual at which conjugate gradients stop."""

    def is_direct(self, rank: int) -> bool:
        """Return whether controls of this size are solved for directly."""
        return rank <= DIRECT if self.inner == "auto" else self.inner == "direct"


class Misfit(ABC):
    """The misfit of controls and its derivatives, batched over experiments."""

    rank: int
    """Entries of a control."""

    @abstractmethod
    def __call__(self, v: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member obs"]:
        """Return d(v), differentiable."""

    def linearised(
        self, v: Float[Tensor, "batch 1 rank"]
    ) -> tuple[Float[Tensor, "batch obs"], Float[Tensor, "batch rank obs"]]:
        """Return d(v) and L at one control, all directions of it pushed forward at once as members."""
        identity = torch.eye(self.rank, dtype=v.dtype, device=v.device).repeat(len(v), 1, 1)
        d, tangent = pushed(self, v.repeat(1, self.rank, 1), identity)
        return d[:, 0], -tangent

    def tangent(self, v: Float[Tensor, "batch member rank"], w: Float[Tensor, "batch member rank"]) -> Tensor:
        """Return L w at v: `(batch, member, obs)`."""
        return -pushed(self, v, w)[1]

    def adjoint(self, v: Float[Tensor, "batch member rank"], u: Float[Tensor, "batch member obs"]) -> Tensor:
        """Return Lᵀ u at v: `(batch, member, rank)`."""
        with torch.enable_grad():
            start = v.detach().requires_grad_()
            return -torch.autograd.grad(self(start), start, u, materialize_grads=True)[0]


class Normal:
    """(I + L Lᵀ)⁻¹ with L held as `(batch, rank, obs)`, by the smaller of the two Gram matrices."""

    def __init__(self, L: Float[Tensor, "_ rank obs"]) -> None:
        self.L = L
        self._is_dual = L.shape[2] < L.shape[1]
        gram = L.mT @ L if self._is_dual else L @ L.mT
        gram.diagonal(dim1=1, dim2=2).add_(1.0)
        self._root = torch.linalg.cholesky(gram)

    def solve(self, d: Float[Tensor, "batch *member obs"]) -> Float[Tensor, "batch *member rank"]:
        """Return (I + L Lᵀ)⁻¹ L d, or L (I + Lᵀ L)⁻¹ d where observations are fewer."""
        rows = d if d.dim() == 3 else d[:, None]
        if self._is_dual:
            solved = (self.L @ torch.cholesky_solve(rows.mT, self._root)).mT
        else:
            solved = torch.cholesky_solve(self.L @ rows.mT, self._root).mT
        return solved if d.dim() == 3 else solved[:, 0]

    def reduced(self, columns: Float[Tensor, "_ rank state"]) -> Float[Tensor, "_ state"]:
        """Return the diagonal of Cᵀ (I + L Lᵀ)⁻¹ C: variances after the analysis."""
        if not self._is_dual:
            half: Tensor = torch.linalg.solve_triangular(self._root, columns, upper=False)
            return half.square().sum(dim=1)
        cross: Tensor = torch.linalg.solve_triangular(self._root, self.L.mT @ columns, upper=False)
        return (columns.square().sum(dim=1) - cross.square().sum(dim=1)).clamp_min(0)

    def figures(self, d: Float[Tensor, "batch obs"]) -> dict[str, Float[Tensor, " batch"]]:
        """Return dᵀ (I + Lᵀ L)⁻¹ d, and the trace of Lᵀ (I + L Lᵀ)⁻¹ L."""
        inverse = torch.cholesky_inverse(self._root).diagonal(dim1=1, dim2=2).sum(dim=1)
        fitted = (self.L.mT @ self.solve(d)[..., None])[..., 0]
        return {
            "degrees_of_freedom": (self._root.shape[1] - inverse).expand(len(d)),
            "chi_square": (d * (d - fitted)).sum(dim=1),
        }


class Minimum(NamedTuple):
    """Where the cost is least."""

    v: Float[Tensor, "batch rank"]
    figures: dict[str, Float[Tensor, " batch"]]
    """Of the background: `degrees_of_freedom` (where L is held) and `chi_square`."""
    gain: Callable[[Tensor], Tensor]
    """D "batch member obs" -> (I + L Lᵀ)⁻¹ L D, with L where it was last formed."""
    normal: Normal | None = None
    """The last Hessian, where L is held."""


def minimise(misfit: Misfit, background: Float[Tensor, "batch member state"], spec: Minimiser) -> Minimum:
    """Minimise ½ |v|² + ½ |d(v)|² of each experiment, from v = 0, which stands for the background.

    A step that raises the cost is halved and tried again as the next iteration. An experiment that has met
    the tolerance stays as it is, so that its answer does not depend on the others of the batch.
    """
    descent = _Direct(misfit) if spec.is_direct(misfit.rank) else _Inner(misfit, spec)
    start = background.new_zeros(len(background), misfit.rank)
    best, trial, least, step = start, start, torch.full_like(start[:, 0], torch.inf), torch.zeros_like(start)
    first, is_done = least, torch.zeros_like(least, dtype=torch.bool)
    for iteration in range(spec.iterations):
        cost, gradient, newton = descent.at(trial)
        norm = gradient.norm(dim=1)
        first = norm if iteration == 0 else first
        is_lower = (cost <= least) & ~is_done
        best, least = torch.where(is_lower[:, None], trial, best), torch.where(is_lower, cost, least)
        step = torch.where(is_lower[:, None], newton, step / 2)
        is_done = is_done | (is_lower & (norm <= spec.tolerance * first))
        if bool(is_done.all()):
            break
        trial = torch.where(is_done[:, None], best, best + step)
    else:
        d = misfit(trial[:, None])[:, 0]
        is_lower = (trial.square().sum(dim=1) + d.square().sum(dim=1)) / 2 <= least
        best = torch.where(is_lower[:, None] & ~is_done[:, None], trial, best)
    return Minimum(best, descent.figures, descent.gain, descent.normal)


class _Direct:
    """Newton steps with L as a matrix."""

    def __init__(self, misfit: Misfit) -> None:
        self._misfit = misfit
        self.figures: dict[str, Tensor] = {}
        self.normal: Normal | None = None

    def at(self, v: Float[Tensor, "batch rank"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return cost, gradient and Newton step."""
        d, L = self._misfit.linearised(v[:, None])
        self.normal = Normal(L)
        self.figures = self.figures or self.normal.figures(d)
        gradient = v - (L @ d[..., None])[..., 0]
        # The linearised minimum is (I + L Lᵀ)⁻¹ L (d + Lᵀ v).
        target = self.normal.solve(d + (L.mT @ v[..., None])[..., 0])
        return (v.square().sum(dim=1) + d.square().sum(dim=1)) / 2, gradient, target - v

    def gain(self, d: Float[Tensor, "batch member obs"]) -> Float[Tensor, "batch member rank"]:
        """Return (I + L Lᵀ)⁻¹ L d."""
        assert self.normal is not None
        return self.normal.solve(d)


class _Inner:
    """Newton steps by conjugate gradients; the control is preconditioned by B^{1/2} as it stands."""

    normal: Normal | None = None

    def __init__(self, misfit: Misfit, spec: Minimiser) -> None:
        self._misfit, self._spec = misfit, spec
        self._point = torch.empty(0)
        self.figures: dict[str, Tensor] = {}

    def at(self, v: Float[Tensor, "batch rank"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return cost, gradient and Newton step."""
        self._point = v[:, None]
        d = self._misfit(self._point)
        gradient = self._point - self._misfit.adjoint(self._point, d)
        newton = self._solved(-gradient)
        if not self.figures:
            # At v = 0: dᵀ (I + Lᵀ L)⁻¹ d = dᵀ (d - L w) with the Newton step w.
            fitted = self._misfit.tangent(self._point, newton)
            self.figures = {"chi_square": (d * (d - fitted)).sum(dim=(1, 2))}
        return (v.square().sum(dim=1) + d.square().sum(dim=(1, 2))) / 2, gradient[:, 0], newton[:, 0]

    def gain(self, d: Float[Tensor, "batch member obs"]) -> Float[Tensor, "batch member rank"]:
        """Return (I + L Lᵀ)⁻¹ L d."""
        return self._solved(self._misfit.adjoint(self._point.expand(-1, d.shape[1], -1), d))

    def _solved(self, b: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member rank"]:
        point = self._point.repeat(1, b.shape[1], 1)

        def hessian(w: Float[Tensor, "batch member rank"]) -> Float[Tensor, "batch member rank"]:
            return w + self._misfit.adjoint(point, self._misfit.tangent(point, w))

        return conjugate_gradients(
            hessian, b, tolerance=self._spec.inner_tolerance, iterations=self._spec.inner_iterations
        )
