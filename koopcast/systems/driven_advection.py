"""Advection that starts from a random function, or is carried at a random speed, by its characteristics."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from scipy.interpolate import BSpline, make_interp_spline

from koopcast.errors import Underresolved
from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.squared_exponential import SquaredExponentialSpec
from koopcast.systems.base import DrawnSpec

FINE = 1000
"""Fewest intervals on which the random function is drawn."""
DEGREE = 5
"""Of the spline through the drawn values."""
NEWTON = 4
"""Steps to the place where a characteristic began, from a piecewise linear guess."""

Plane = Float[np.ndarray, "t x"]


class DrivenAdvectionSpec(DrawnSpec):
    """Advection: s_t + a s_x = D s_xx for x in (0, 1), with a random function V in the initial field or in
    the speed; s at all places and times, and u, what the case says of V, the same at all times.
    """

    kind: Literal["driven_advection"] = "driven_advection"
    case: Literal["periodic_start", "inflow_start", "inflow_speed", "periodic_speed"] = "periodic_start"
    """`periodic_start`: a = 1 on the circle, s = u = V(sin² πx) at first; `inflow_start`: a = 1, s = u =
    x V(x) at first and 0 at x = 0; `inflow_speed`: a = 1 + 0.1 V(x), s = x² at first and sin πt at x = 0;
    `periodic_speed`: a = 1 + 0.1 (V(x) + V(1 - x)) / 2 on the circle, s = sin 2πx at first; there u = V."""
    diffusion: NonNegativeFloat = 0.0
    """Diffusion D, under `periodic_start` alone; the advection-diffusion of the source has 0.1."""
    input: AnyRandomField = SquaredExponentialSpec()
    """Law of V on the closed interval from 0 to 1."""
    points: int = Field(101, ge=3, le=1001)
    """Nodes in x, both ends included."""
    times: int = Field(101, ge=2, le=1001)
    """Nodes in time, both ends included."""
    end: PositiveFloat = 1.0
    """Last time."""

    reference = (
        "Lu et al. 2021 (DeepONet): advection, cases I to IV, and advection-diffusion; there by finite "
        "differences. A DeepONet that sees u once takes sensors: [1, 101]"
    )

    @model_validator(mode="after")
    def _options_have_a_meaning(self) -> "DrivenAdvectionSpec":
        if self.diffusion > 0 and self.case != "periodic_start":
            raise ValueError(f"diffusion: case '{self.case}' has none; take periodic_start, or remove it")
        if (fault := self.input.fault((_axis(self.points),))) is not None:
            raise ValueError(f"input: {fault}")
        return self

    def describe(self) -> FieldsInfo:
        """Return the axes `t` and `x`, the input u and the solution s."""
        axes = (Axis("t", self.times, length=self.end), _axis(self.points))
        return FieldsInfo({"u": "1", "s": "1"}, axes, TimeAxis(1, ""))

    def draw(self, generator: torch.Generator, parameters: Mapping[str, float]) -> dict[str, Plane]:
        """Draw V on a fine grid and follow the characteristics of the spline through it.

        Raises:
            Underresolved: The speed is not positive everywhere.
        """
        size = -(-FINE // (self.points - 1)) * (self.points - 1) + 1
        V = self.input.draw((_axis(size),), 1, generator)[0].cpu().numpy()
        nodes = np.linspace(0, 1, size)
        spline = make_interp_spline(nodes, V, k=DEGREE)
        x, t = np.linspace(0, 1, self.points), np.linspace(0, self.end, self.times)[:, None]
        if self.case.endswith("start"):
            u, s = self._started(spline, x, t)
        else:
            u, s = spline(x), self._carried(spline, nodes, x, t)
        return {"u": np.broadcast_to(u, s.shape).copy(), "s": s}

    def _started(
        self, V: BSpline, x: Float[np.ndarray, " x"], t: Float[np.ndarray, "t 1"]
    ) -> tuple[Float[np.ndarray, " x"], Plane]:
        """Return f and f(x - t), on the circle smoothed by the heat kernel of the time."""
        if self.case == "inflow_start":
            z = x - t
            return x * V(x), np.where(z > 0, z * V(z.clip(0)), 0.0)

        def f(z: np.ndarray) -> np.ndarray:
            return np.asarray(V(np.sin(np.pi * z) ** 2))

        if self.diffusion == 0:
            return f(x), f(x - t)
        size = -(-FINE // (self.points - 1)) * (self.points - 1)
        c = np.fft.rfft(f(np.arange(size) / size), norm="forward")
        k = 2 * np.pi * np.arange(len(c))
        c[1 : (size + 1) // 2] *= 2
        decayed = c * np.exp(-(self.diffusion * k + 1j) * k * t)
        return f(x), (decayed @ np.exp(1j * np.outer(k, x))).real

    def _carried(
        self,
        V: BSpline,
        nodes: Float[np.ndarray, " node"],
        x: Float[np.ndarray, " x"],
        t: Float[np.ndarray, "t 1"],
    ) -> Plane:
        """Return f(X) with τ(X) = τ(x) - t, the time τ(x) = ∫ dy / a from 0 to x; times before 0 began at
        the inflow, or a turn earlier on the circle.
        """
        is_inflow = self.case == "inflow_speed"
        speed = 1 + 0.1 * (V(nodes) if is_inflow else (V(nodes) + V(1 - nodes)) / 2)
        if not speed.min() > 0:
            raise Underresolved(
                f"the speed 1 + 0.1 V of a sample falls to {speed.min():.2g}",
                "lower the amplitude of `input`: speeds are to be positive",
            )
        slowness = make_interp_spline(nodes, 1 / speed, k=DEGREE)
        travel = slowness.antiderivative()
        began = travel(x) - t
        inside = np.maximum(began, 0) if is_inflow else began % travel(1.0)
        X = np.interp(inside, travel(nodes), nodes)
        for _ in range(NEWTON):
            X = (X - (travel(X) - inside) / slowness(X)).clip(0, 1)
        s = np.where(began >= 0, X**2, np.sin(math.pi * -began)) if is_inflow else np.sin(2 * math.pi * X)
        return np.asarray(s)


def _axis(points: int) -> Axis:
    return Axis("x", points, length=1.0)
