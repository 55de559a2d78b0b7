"""Ordinary differential equations driven by a random function."""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator

from koopcast.grids import Axis, FieldsInfo, TimeAxis
from koopcast.random_fields import AnyRandomField
from koopcast.random_fields.squared_exponential import SquaredExponentialSpec
from koopcast.systems.base import DrawnSpec

Rate = Callable[[float, float, float], tuple[float, float]]
"""(s', v') of s, v and u."""


class ForcedODESpec(DrawnSpec):
    """A random function u on (0, L), and the solution s of an equation that it drives from s(0) = 0."""

    kind: Literal["forced_ode"] = "forced_ode"
    equation: Literal["antiderivative", "nonlinear", "pendulum"] = "antiderivative"
    """s' = u, or s' = -s² + u, or s'' = -g sin s + u with s'(0) = 0, whose rate s' is the variable v."""
    input: AnyRandomField = SquaredExponentialSpec()
    """Law of u."""
    length: PositiveFloat = 1.0
    """Length L of the interval."""
    points: int = Field(100, ge=2, le=10**5)
    """Nodes of the interval, its ends included."""
    gravity: PositiveFloat | None = None
    """Constant g of the pendulum; default: 1."""
    steps: int = Field(400, ge=1, le=10**6)
    """Fewest steps of the Runge-Kutta method of fourth order over the interval; u is drawn at their ends and
    middles. 400 leave 1e-11 with the default law."""

    reference = "Lu et al. 2021 (DeepONet), with u from a Gaussian field of length 0.2"

    @model_validator(mode="after")
    def _options_have_a_meaning(self) -> "ForcedODESpec":
        if self.gravity is not None and self.equation != "pendulum":
            raise ValueError(f"gravity: the equation '{self.equation}' has none; remove it")
        if (fault := self.input.fault((self._axis(self.points),))) is not None:
            raise ValueError(f"input: {fault}")
        return self

    def _axis(self, points: int) -> Axis:
        return Axis("x", points, length=self.length)

    def describe(self) -> FieldsInfo:
        """Return the axis `x`, the input u, the solution s and, of the pendulum, its rate v."""
        names = ("u", "s", "v") if self.equation == "pendulum" else ("u", "s")
        return FieldsInfo(dict.fromkeys(names, "1"), (self._axis(self.points),), TimeAxis(1, ""))

    def draw(
        self, generator: torch.Generator, parameters: Mapping[str, float]
    ) -> dict[str, Float[np.ndarray, " x"]]:
        """Draw u and solve the equation; a solution that escapes to infinity is not finite."""
        intervals = self.points - 1
        substeps = -(-self.steps // intervals)
        fine = self._axis(2 * substeps * intervals + 1)
        u = self.input.draw((fine,), 1, generator)[0].cpu().numpy()
        path = _march(self._rate(), u.tolist(), self.length / (substeps * intervals))
        fields = {"u": u[:: 2 * substeps], "s": path[::substeps, 0], "v": path[::substeps, 1]}
        return {name: fields[name] for name in self.describe().variables}

    def _rate(self) -> Rate:
        g, sin = self.gravity or 1.0, math.sin
        rates: dict[str, Rate] = {
            "antiderivative": lambda s, v, u: (u, 0.0),
            "nonlinear": lambda s, v, u: (u - s * s, 0.0),
            "pendulum": lambda s, v, u: (v, u - g * sin(s)),
        }
        return rates[self.equation]


def _march(rate: Rate, u: list[float], h: float) -> Float[np.ndarray, "node 2"]:
    """Return s and v after 0, 1, ... steps h from rest; u are the values at ends and middles of the steps.

    Plain numbers: an array of two costs ten times as much a step.
    """
    s, v, path = 0.0, 0.0, [(0.0, 0.0)]
    for start, middle, end in zip(u[:-2:2], u[1:-1:2], u[2::2], strict=True):
        a, b = rate(s, v, start)
        c, d = rate(s + h / 2 * a, v + h / 2 * b, middle)
        e, f = rate(s + h / 2 * c, v + h / 2 * d, middle)
        p, q = rate(s + h * e, v + h * f, end)
        s, v = s + h / 6 * (a + 2 * (c + e) + p), v + h / 6 * (b + 2 * (d + f) + q)
        path.append((s, v))
    return np.array(path)
