"""The best linear unbiased estimate in closed form."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from koopcast.assimilation.backgrounds.base import Background
from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Setting
from koopcast.assimilation.var3d import Observing
from koopcast.assimilation.variational import Normal
from koopcast.assimilation.variational_options import SingleStateSpec
from koopcast.numerics.conjugate_gradients import conjugate_gradients


class BLUESpec(SingleStateSpec, FilterSpec):
    """x_a = x_b + K (y - H x_b), K = B Hᵀ (H B Hᵀ + R)⁻¹ = (B⁻¹ + Hᵀ R⁻¹ H)⁻¹ Hᵀ R⁻¹: 3D-Var in one step.

    A nonlinear observation operator is linearised about the background.
    """

    kind: Literal["blue"] = "blue"
    form: Literal["primal", "dual"] = "dual"
    """Whether the unknowns are the control of the increment or as many as there are observations."""
    solver: Literal["cholesky", "qr", "cg"] = "cholesky"
    """How they are found: `cholesky` of the normal equations, `qr` of their root, which loses half as many
    digits, or `cg`."""
    tolerance: float = Field(1e-12, gt=0, lt=1)
    """Relative residual at which `cg` stops."""

    reference = "Gauss-Markov theorem; as an adjoint pair of maps: Kamiura 2025"

    def build(self, setting: Setting) -> Analyse:
        """Return the analysis."""
        return BLUE(self, self.background.build(setting), setting.active is not None)


class BLUE:
    """The estimate, and the standard deviation that it states."""

    def __init__(self, spec: BLUESpec, background: Background, states_are_cells: bool) -> None:
        self._spec, self._background, self._states_are_cells = spec, background, states_are_cells

    def __call__(
        self, ensemble: Float[Tensor, "batch 1 state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return the analysis."""
        covariance = self._background(ensemble)
        d, L = Observing(ensemble, covariance, observed).linearised(
            ensemble.new_zeros(len(ensemble), 1, covariance.rank)
        )
        v = self._control(L.expand(len(d), -1, -1), d)
        normal, std = Normal(L), None
        if self._states_are_cells:
            std = normal.reduced(covariance.columns()).sqrt().expand(len(d), -1)
        return Analysis(ensemble + covariance.root(v[:, None]), normal.figures(d), std)

    def _control(
        self, L: Float[Tensor, "batch rank obs"], d: Float[Tensor, "batch obs"]
    ) -> Float[Tensor, "batch rank"]:
        """Return (I + L Lᵀ)⁻¹ L d or, dual, L (I + Lᵀ L)⁻¹ d."""
        column = d[..., None]
        if self._spec.form == "primal":
            return self._solved(L.mT, L @ column)[..., 0]
        return (L @ self._solved(L, column))[..., 0]

    def _solved(self, J: Float[Tensor, "batch m n"], b: Float[Tensor, "batch n 1"]) -> Tensor:
        """Solve (I + Jᵀ J) x = b."""
        identity = torch.eye(J.shape[2], dtype=J.dtype, device=J.device)
        if self._spec.solver == "cholesky":
            return torch.cholesky_solve(b, torch.linalg.cholesky(identity + J.mT @ J))
        if self._spec.solver == "qr":
            stacked = torch.cat((identity.expand(len(J), -1, -1), J), dim=1)
            R = torch.linalg.qr(stacked, mode="r").R
            half = torch.linalg.solve_triangular(R.mT, b, upper=False)
            solved: Tensor = torch.linalg.solve_triangular(R, half, upper=True)
            return solved

        def product(x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
            return x + (J.mT @ (J @ x[..., None]))[..., 0]

        iterations = 10 * J.shape[2]
        x = conjugate_gradients(product, b[..., 0], tolerance=self._spec.tolerance, iterations=iterations)
        return x[..., None]
