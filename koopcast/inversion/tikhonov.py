"""Coefficient of Darcy flow, node by node, by Tikhonov regularisation."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.optimize import minimize

from koopcast.inversion.base import InversionSpec, Observed, Posterior
from koopcast.models import MapModel
from koopcast.numerics.darcy_adjoint import DarcyFlow

BOUND = 5.0
"""log a stays so close to its start: a factor of about 150 either way."""


class TikhonovSpec(InversionSpec):
    """min over m = log a of ½ Σ (u(x_i) - y_i)²/σ² + ½ λ ‖∇m‖²; the model is not used.

    λ falls by a constant factor, each minimum the start of the next, until the misfit is what the noise
    explains: Σ (u(x_i) - y_i)²/σ² ≤ the number of observations.
    """

    kind: Literal["tikhonov"] = "tikhonov"
    source: float = 1.0
    """Right-hand side f of -div(a grad u) = f."""
    largest: PositiveFloat = 1e4
    """First λ."""
    factor: float = Field(0.3, gt=0, lt=1)
    """From one λ to the next."""
    steps: PositiveInt = 20
    """Values of λ at most."""
    iterations: PositiveInt = 60
    """Steps of L-BFGS for each λ."""

    reference = "Tikhonov 1963; Morozov's discrepancy principle; gradient by the adjoint equation"

    def invert(self, model: MapModel, observed: Observed, generator: torch.Generator) -> Posterior:
        """Return the minimiser and its solution, sample by sample."""
        found = []
        for values, std in zip(observed.values, observed.std, strict=True):
            problem = PixelProblem(
                DarcyFlow(self.source),
                observed.shape,
                observed.nodes.numpy(),
                values.double().numpy(),
                max(float(std), 1e-12),
            )
            found.append(problem.solution(self))
        coefficients, solutions = (
            torch.from_numpy(np.stack(part)).float() for part in zip(*found, strict=True)
        )
        return Posterior(coefficients, solutions)


class PixelProblem:
    """The functional of one sample."""

    def __init__(
        self,
        flow: DarcyFlow,
        shape: tuple[int, int],
        nodes: Int[np.ndarray, " obs"],
        values: Float[np.ndarray, " obs"],
        std: float,
    ) -> None:
        self.flow, self.shape, self.nodes, self.values, self.std = flow, shape, nodes, values, std

    def value_and_gradient(
        self, m: Float[np.ndarray, " node"], weight: float
    ) -> tuple[float, Float[np.ndarray, " node"]]:
        """Return the functional for λ = `weight` and its gradient in m."""
        field = m.reshape(self.shape)
        at = self.flow.linearised(np.exp(field))
        misfit = (at.u.ravel()[self.nodes] - self.values) / self.std
        slope = np.zeros(m.size)
        np.add.at(slope, self.nodes, misfit / self.std)
        gradient = at.a * at.pull_back(slope.reshape(self.shape))
        rough = 0.0
        # Both axes have the same spacing: h² of the cell cancels 1/h² of the difference.
        for axis in range(2):
            change = np.diff(field, axis=axis)
            rough += float((change**2).sum())
            gradient += weight * _transposed_difference(change, axis)
        return 0.5 * float(misfit @ misfit) + 0.5 * weight * rough, gradient.ravel()

    def misfit(self, m: Float[np.ndarray, " node"]) -> float:
        """Return Σ (u(x_i) - y_i)²/σ²."""
        u = self.flow.linearised(np.exp(m.reshape(self.shape))).u.ravel()[self.nodes]
        return float((((u - self.values) / self.std) ** 2).sum())

    def solution(self, options: TikhonovSpec) -> tuple[Float[np.ndarray, "y x"], Float[np.ndarray, "y x"]]:
        """Return a and u at the λ that the discrepancy chooses; the start is the constant that fits best."""
        unit = self.flow.linearised(np.ones(self.shape)).u.ravel()[self.nodes]
        ratio = float(unit @ unit) / max(float(unit @ self.values), 1e-12 * float(unit @ unit))
        start = np.log(min(max(ratio, 1e-6), 1e6))
        m, weight = np.full(int(np.prod(self.shape)), start), options.largest
        bounds = [(start - BOUND, start + BOUND)] * m.size
        for _ in range(options.steps):
            m = minimize(
                self.value_and_gradient,
                m,
                args=(weight,),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": options.iterations},
            ).x
            if self.misfit(m) <= self.nodes.size:
                break
            weight *= options.factor
        at = self.flow.linearised(np.exp(m.reshape(self.shape)))
        return at.a, at.u


def _transposed_difference(change: Float[np.ndarray, "*part"], axis: int) -> Float[np.ndarray, "*whole"]:
    """Return the transpose of the difference along an axis."""
    ends = [(1, 1) if other == axis else (0, 0) for other in range(change.ndim)]
    return np.asarray(-np.diff(np.pad(change, ends), axis=axis))
