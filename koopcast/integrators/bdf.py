"""The backward differentiation formula of second order as a one-step method, for stiff equations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat
from scipy.linalg import lapack
from torch import Tensor

from koopcast.dynamics import Form, Problem, Stepper, Tendency
from koopcast.errors import Diverged, ShapeMismatch
from koopcast.integrators.base import IntegratorSpec

GAMMA = 2 - math.sqrt(2)
"""Where in the step the trapezoidal stage ends: both stages then have the same matrix."""
D, W = GAMMA / 2, math.sqrt(2) / 4
THIRD = ((1 - W) / 3, (3 * W + 1) / 3, D / 3)
"""Weights of the three slopes in a result of third order."""
ITERATIONS, CLOSE = 10, 1e-2
"""Newton iterations of a stage, and the change, in units of the tolerance, at which they end."""
SAFETY, LEAST_FACTOR, GREATEST_FACTOR, FAILED_FACTOR = 0.9, 0.2, 5.0, 0.25

Rows = Callable[[Float[np.ndarray, "row state"]], Float[np.ndarray, "row state"]]


class BDFSpec(IntegratorSpec):
    """A trapezoidal stage, then the backward formula of order two, in as many steps as they need."""

    kind: Literal["bdf"] = "bdf"
    rtol: PositiveFloat = 1e-6
    """Error that a step may make, as a share of the state; never taken below ten units of round-off."""
    atol: PositiveFloat = 1e-9
    """Error that a step may make where the state is small."""
    least_step: float = Field(1e-8, gt=0, lt=1)
    """Shortest step as a share of dt: a sample that needs a shorter one is refused."""

    reference = (
        "TR-BDF2: Bank et al. 1985; error estimate and control as in Hosea and Shampine 1996. Formulas of "
        "higher order need a past, which a map from record to record has not"
    )
    order = 2

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return the map over `dt`; every sample has its own steps, so that it does not feel the others.

        Matrices are banded where the problem gives its bandwidth. No gradients pass through the map. It
        raises Diverged where a sample needs steps below `least_step * dt`.
        """
        if not isinstance(problem, Tendency):
            raise ShapeMismatch(
                "bdf solves x' = f(x); this system has another form", "leave `integrator` to the system"
            )

        @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # such attempts are refused
        def step(x: Any) -> Any:
            shape, values = x.shape, _to_array(x)
            rows, unit = values.reshape(-1, shape[-1]), _epsilon(x)
            band = shape[-1] - 1 if problem.bandwidth is None else min(problem.bandwidth, shape[-1] - 1)
            tolerance = (max(self.rtol, 10 * unit), self.atol)
            march = _March(_rows(problem.function, x), band, unit, tolerance, self.least_step * dt)
            after = march.over(rows, dt).reshape(shape)
            return torch.from_numpy(after).to(x.device, x.dtype) if isinstance(x, Tensor) else after

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is a tendency."""
        return form == "tendency"


@dataclass(frozen=True)
class _March:
    """Steps of many samples side by side, in double precision: one call of f serves them all."""

    f: Rows
    band: int
    unit: float
    """Unit of round-off of f."""
    tolerance: tuple[float, float]
    least: float

    def over(self, x: Float[np.ndarray, "row state"], dt: float) -> Float[np.ndarray, "row state"]:
        left = np.full(len(x), dt)
        h, slope = left.copy(), self.f(x)
        while (left > 0).any():
            trial, end_slope, error = self._attempt(x, slope, h)
            accepted = (error <= 1) & (left > 0)
            x, slope = (
                np.where(accepted[:, None], new, old) for new, old in ((trial, x), (end_slope, slope))
            )
            left = np.where(accepted, np.where(h >= left, 0.0, left - h), left)
            stretch = np.clip(SAFETY * error ** (-1 / 3), LEAST_FACTOR, GREATEST_FACTOR)
            h = np.minimum(h * np.where(np.isfinite(error), stretch, FAILED_FACTOR), left)
            short = (h < self.least) & (h < left)
            if short.any():
                raise Diverged(
                    f"sample {int(short.argmax())} of the batch needs steps below {self.least:.2g} to meet "
                    f"rtol = {self.tolerance[0]:.2g} with bdf",
                    "its state leaves all bounds, or rtol and atol are too small",
                )
        return x

    def _attempt(
        self,
        x: Float[np.ndarray, "row state"],
        slope: Float[np.ndarray, "row state"],
        h: Float[np.ndarray, " row"],
    ) -> tuple[Float[np.ndarray, "row state"], Float[np.ndarray, "row state"], Float[np.ndarray, " row"]]:
        """Return the state after h, the slope there and the error over the tolerance.

        With z = h f: z₁ at x, z₂ at x + d z₁ + d z₂, z₃ at x₊ = x + w z₁ + w z₂ + d z₃. The error is what a
        result of third order differs by, filtered by (1 - d h J)⁻¹, without which stiff parts rule it. A
        sample whose iterations fail has an infinite error.
        """
        matrices = [
            _factored(J, D * step) if step > 0 else None
            for J, step in zip(self._jacobians(x), h, strict=True)
        ]
        scale = self.tolerance[1] + self.tolerance[0] * np.abs(x)
        z1 = h[:, None] * slope
        z2, second = self._stage(x + D * z1, z1, h, scale, matrices)
        base = x + W * (z1 + z2)
        z3, third = self._stage(base, z2, h, scale, matrices)
        difference = sum((a - b) * z for a, b, z in zip((W, W, D), THIRD, (z1, z2, z3), strict=True))
        filtered = _solved(matrices, np.asarray(difference))
        trial = base + D * z3
        larger = np.maximum(scale, self.tolerance[1] + self.tolerance[0] * np.abs(trial))
        error = _size(filtered / larger)
        fine = second & third & np.isfinite(error)
        return trial, z3 / np.where(h > 0, h, 1.0)[:, None], np.where(fine, error, np.inf)

    def _stage(
        self,
        base: Float[np.ndarray, "row state"],
        z: Float[np.ndarray, "row state"],
        h: Float[np.ndarray, " row"],
        scale: Float[np.ndarray, "row state"],
        matrices: list[Any],
    ) -> tuple[Float[np.ndarray, "row state"], Bool[np.ndarray, " row"]]:
        """Return z = h f(base + d z) by Newton iterations from z, and which samples have found it.

        A sample that has found it, or that moves away, is left alone.
        """
        going, found = h > 0, np.zeros(len(h), dtype=bool)
        last = np.full(len(h), np.inf)
        for _ in range(ITERATIONS):
            rest = np.where(going[:, None], h[:, None] * self.f(base + D * z) - z, 0.0)
            change = _solved([m if on else None for m, on in zip(matrices, going, strict=True)], rest)
            size = _size(D * change / scale)
            z = z + change
            found |= going & (size <= CLOSE)
            going = going & (size > CLOSE) & (size < 2 * last)
            last = size
            if not going.any():
                break
        return z, found

    def _jacobians(self, x: Float[np.ndarray, "row state"]) -> Float[np.ndarray, "row diagonal state"]:
        """Return ∂f_i/∂x_j at [b + i - j, j] by differences: columns 2b + 1 apart are moved at once."""
        size, b, here = x.shape[1], self.band, self.f(x)
        typical = np.maximum(np.abs(x), np.sqrt(np.square(x).mean(axis=1, keepdims=True)))
        increment = math.sqrt(self.unit) * np.where(typical > 0, typical, 1.0)
        increment = (x + increment) - x  # as it is in floating point
        period = min(2 * b + 1, size)
        changes = np.empty((period, *x.shape))
        for first in range(period):
            moved = x.copy()
            moved[:, first::period] += increment[:, first::period]
            changes[first] = self.f(moved) - here
        column = np.arange(size)
        place = column + np.arange(-b, b + 1)[:, None]
        inside = (place >= 0) & (place < size)
        slopes = changes[column % period, :, place.clip(0, size - 1)] / increment.T
        return np.ascontiguousarray(np.where(inside[..., None], slopes, 0.0).transpose(2, 0, 1))


def _factored(J: Float[np.ndarray, "diagonal state"], factor: float) -> Any:
    """Return the banded triangular factors of 1 - factor J; None where it is singular or undefined."""
    b = J.shape[0] // 2
    storage = np.zeros((3 * b + 1, J.shape[1]), order="F")
    storage[b:] = -factor * J
    storage[2 * b] += 1.0
    if not np.isfinite(storage).all():
        return None
    lu, pivots, info = lapack.dgbtrf(storage, b, b, overwrite_ab=True)
    return (lu, pivots, b) if info == 0 else None


def _solved(matrices: list[Any], rest: Float[np.ndarray, "row state"]) -> Float[np.ndarray, "row state"]:
    """Return the solution of each row; rows without a matrix are undefined unless they are zero."""
    result = np.where(rest == 0, 0.0, np.nan)
    for row, matrix in enumerate(matrices):
        if matrix is not None:
            lu, pivots, b = matrix
            result[row], _ = lapack.dgbtrs(lu, b, b, rest[row], pivots)
    return result


def _size(ratio: Float[np.ndarray, "row state"]) -> Float[np.ndarray, " row"]:
    return np.asarray(np.sqrt(np.square(ratio).mean(axis=1)))


def _rows(function: Callable[[Any], Any], x: Any) -> Rows:
    """Return f of arrays (row, state) in double precision, evaluated as x is: its device, type and shape."""

    def f(values: Float[np.ndarray, "row state"]) -> Float[np.ndarray, "row state"]:
        shaped = values.reshape(x.shape)
        if isinstance(x, Tensor):
            return _to_array(function(torch.from_numpy(shaped).to(x.device, x.dtype))).reshape(values.shape)
        return np.asarray(function(shaped), dtype=np.float64).reshape(values.shape)

    return f


def _to_array(x: Any) -> Float[np.ndarray, "*batch state"]:
    if isinstance(x, Tensor):
        return np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float64)
    return np.ascontiguousarray(x, dtype=np.float64)


def _epsilon(x: Any) -> float:
    return float(torch.finfo(x.dtype).eps if isinstance(x, Tensor) else np.finfo(x.dtype).eps)
