"""The embedded Runge-Kutta pair of Dormand and Prince, with a step of its own for each sample."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from koopcast.dynamics import Form, Problem, Stepper, Tendency
from koopcast.errors import Diverged, ShapeMismatch
from koopcast.integrators.base import IntegratorSpec
from koopcast.numerics.arrays import AnyArray

STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""Weights of the slopes before each stage after the first; the last are those of the result."""
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
"""Weights of the slopes in the difference between the results of fifth and fourth order."""
SAFETY, LEAST_FACTOR, GREATEST_FACTOR = 0.9, 0.2, 5.0


class Dopri5Spec(IntegratorSpec):
    """Six stages, fifth order, for x' = f(x), in as many steps within dt as the tolerance needs."""

    kind: Literal["dopri5"] = "dopri5"
    rtol: PositiveFloat = 1e-6
    """Error that a step may make, as a share of the state; never taken below ten units of round-off."""
    atol: PositiveFloat = 1e-9
    """Error that a step may make where the state is small."""
    least_step: float = Field(1e-8, gt=0, lt=1)
    """Shortest step as a share of dt: a sample that needs a shorter one is refused."""

    reference = (
        "Dormand and Prince 1980; control as in Hairer, Norsett and Wanner 1993, II.4, but each interval dt "
        "starts with the attempt to cross it at once, so that a record depends on the one before alone"
    )
    order = 5

    def build(self, problem: Problem, dt: float) -> Stepper:
        """Return the map over `dt`; every sample has its own steps, so that it does not feel the others.

        The map raises Diverged where a sample needs steps below `least_step * dt`.
        """
        if not isinstance(problem, Tendency):
            raise ShapeMismatch(
                "dopri5 solves x' = f(x); this system has another form", "leave `integrator` to the system"
            )
        f: Callable[[Any], Any] = problem.function  # of tensors and, where it says so, of arrays

        @np.errstate(over="ignore", invalid="ignore")  # an attempt that overflows is one that is refused
        def step(x: AnyArray) -> AnyArray:
            left = np.full(x.shape[:-1], dt)
            h, slope = left.copy(), f(x)
            while bool((left > 0).any()):
                trial, slopes = _attempt(f, x, slope, _like(h[..., None], x))
                error = self._error(h, x, trial, slopes)
                accepted = np.asarray((error <= 1) & (left > 0))
                x, slope = (_where(accepted, new, old) for new, old in ((trial, x), (slopes[-1], slope)))
                left = np.asarray(np.where(accepted, np.where(h >= left, 0.0, left - h), left))
                h = np.asarray(np.minimum(h * _factor(error), left))
                self._check(h, left, dt)
            return x

        return step

    def takes(self, form: Form) -> bool:
        """Return whether the problem is a tendency."""
        return form == "tendency"

    def _error(
        self, h: Float[np.ndarray, "*batch"], x: AnyArray, trial: AnyArray, slopes: list[AnyArray]
    ) -> Float[np.ndarray, "*batch"]:
        """Return the root mean square of errors over tolerances in each sample; infinite where undefined."""
        difference = _sum(ERROR, slopes)
        rtol = max(self.rtol, 10 * _epsilon(x))
        ratio = difference / (self.atol + rtol * _larger(abs(x), abs(trial)))
        values = ratio.detach().cpu().numpy() if isinstance(ratio, Tensor) else ratio
        # Row by row, so that a sample's sum is rounded alike in whatever batch it stands.
        rows = np.ascontiguousarray(values, dtype=np.float64)
        size = h * np.sqrt(np.square(rows).mean(axis=-1))
        return np.asarray(np.where(np.isfinite(size), size, np.inf))

    def _check(self, h: Float[np.ndarray, "*batch"], left: Float[np.ndarray, "*batch"], dt: float) -> None:
        short = (h < self.least_step * dt) & (h < left)
        if bool(short.any()):
            sample = int(short.reshape(-1).argmax())
            raise Diverged(
                f"sample {sample} of the batch needs steps below {self.least_step * dt:.2g} to meet "
                f"rtol = {self.rtol:g} with dopri5",
                "the system is stiff (choose `integrator: bdf`), its state leaves all bounds, or rtol and "
                "atol are too small",
            )


def _attempt(
    f: Callable[[Any], Any], x: AnyArray, slope: AnyArray, h: AnyArray
) -> tuple[AnyArray, list[AnyArray]]:
    """Return the state after a step h from a state with the given slope, and all seven slopes."""
    slopes, stage = [slope], x
    for weights in STAGES:
        stage = x + h * _sum(weights, slopes)
        slopes.append(f(stage))
    return stage, slopes


def _factor(error: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Return by how much to stretch the next step: the error grows with the fifth power."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(SAFETY * error**-0.2, LEAST_FACTOR, GREATEST_FACTOR))


def _sum(weights: tuple[float, ...], slopes: list[AnyArray]) -> AnyArray:
    total: Any = 0.0
    for weight, slope in zip(weights, slopes, strict=True):
        if weight != 0.0:
            total = total + weight * slope
    result: AnyArray = total
    return result


def _like(values: Float[np.ndarray, "*batch 1"], x: AnyArray) -> AnyArray:
    if isinstance(x, Tensor):
        return torch.from_numpy(values).to(x.device, x.dtype)
    return values


def _where(chosen: Bool[np.ndarray, "*batch"], new: AnyArray, old: AnyArray) -> AnyArray:
    if isinstance(new, Tensor):
        return torch.where(torch.from_numpy(chosen[..., None]).to(new.device), new, old)
    return np.asarray(np.where(chosen[..., None], new, old))


def _larger(a: AnyArray, b: AnyArray) -> AnyArray:
    return torch.maximum(a, b) if isinstance(a, Tensor) else np.asarray(np.maximum(a, b))


def _epsilon(x: Tensor | np.ndarray) -> float:
    return float(torch.finfo(x.dtype).eps if isinstance(x, Tensor) else np.finfo(x.dtype).eps)
