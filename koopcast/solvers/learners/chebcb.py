"""ChebCB: the cost of each ω as a polynomial in a number of the system."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from scipy.optimize import lsq_linear

from koopcast.solvers.learners.base import Arrays, ContextualSpec, Learner


class ChebCBSpec(ContextualSpec):
    """A contextual bandit that fits the cost of every ω by a Chebyshev series and approaches the best ω of
    each system.
    """

    kind: Literal["chebcb"] = "chebcb"
    degree: int = Field(6, ge=1, le=50)
    """Number m of Chebyshev polynomials T₀ ... T_{m-1}."""

    reference = (
        "Khodak, Chow, Balcan and Talwalkar 2024, Learning to Relax, ICLR; choices as in SquareCB (Foster "
        "and Rakhlin 2020). Least squares are kept as triangular factors: a round costs the same at any time"
    )

    def build(self, generator: np.random.Generator) -> "ChebCB":
        """Return a bandit that expects nothing of any ω."""
        return ChebCB(self, generator)


class ChebCB(Learner):
    """y_i = θ_i · φ(c) predicts the loss of action i, φ the Chebyshev polynomials over the range of c.

    Losses are in units of `scale` = K N with K the greatest cost, Λ the greatest less the least (the range
    of c times a Lipschitz constant) and N = 2 + 4 (Λ/K)(1 + ln m).
    """

    def __init__(self, spec: ChebCBSpec, generator: np.random.Generator) -> None:
        self.spec, self.generator, self.actions = spec, generator, spec.actions()
        d, m = len(self.actions), spec.degree
        self.factors = np.zeros((d, m + 1, m + 1))  # [R z] of each action: min |R θ - z| is its least squares
        self.theta = np.zeros((d, m))
        self.costs = np.array([np.inf, -np.inf])
        self.sums = np.zeros(4)  # rounds, and Σ y², Σ y cost, Σ cost² over them
        self._index, self._features, self._predicted = 0, np.zeros(m), 0.0

    def choose(self, context: Mapping[str, float]) -> float:
        """Draw: the action that looks best gets what the others leave, 1/(d + η (y_i - min y)) each."""
        position = 2.0 * self.spec.position(context) - 1.0
        self._features = np.cos(np.arange(self.spec.degree) * np.arccos(position))
        y = self.theta @ self._features
        self._index = int(self.generator.choice(len(y), p=choices(y, self.boldness())))
        self._predicted = float(y[self._index])
        return float(self.actions[self._index])

    def learn(self, cost: float) -> None:
        """Fit the played action again; all of them where the scale of costs has changed."""
        before = self.costs.copy()
        self.costs = np.array([min(before[0], cost), max(before[1], cost)])
        self.sums += (1.0, self._predicted**2, self._predicted * cost, cost**2)
        row = np.append(self._features, cost - 1.0)
        self.factors[self._index] = np.linalg.qr(np.vstack([self.factors[self._index], row]), mode="r")
        has_new_scale = not np.array_equal(before, self.costs)
        played = np.flatnonzero(self.factors.any(axis=(1, 2))) if has_new_scale else [self._index]
        for action in played:
            self.theta[action] = self._fit(self.factors[action])

    def scale(self) -> float:
        """Return K N."""
        least, greatest = self.costs
        return float(2.0 * greatest + 4.0 * (greatest - least) * (1.0 + np.log(self.spec.degree)))

    def boldness(self) -> float:
        """Return η = 2 t √(d t / (R + 2 α² t)), R the squared errors of the predictions; 0 at first."""
        t, yy, yc, cc = self.sums
        if t == 0:
            return 0.0
        m, scale = self.spec.degree, self.scale()
        spread = (self.costs[1] - self.costs[0]) / scale
        alpha = (np.pi + 2.0 / np.pi * np.log(2.0 * m + 1.0)) * spread / (2.0 * (m + 1.0))
        errors = max(yy - 2.0 * yc / scale + cc / scale**2, np.finfo(np.float64).tiny)
        return float(2.0 * t * np.sqrt(len(self.actions) * t / (errors + 2.0 * alpha**2 * t)))

    def _fit(self, factor: Float[np.ndarray, "row row"]) -> Float[np.ndarray, " feature"]:
        """Return the least θ of least squares, or the best within the bounds of a Lipschitz function."""
        least, greatest = self.costs
        m, scale = self.spec.degree, self.scale()
        R, z = factor[:m, :m], factor[:m, m]
        bound = np.append(greatest, 2.0 * (greatest - least) / np.arange(1, m))
        theta = np.linalg.lstsq(R, z, rcond=None)[0]
        if (np.abs(theta) > bound).any():
            bound = np.maximum(bound, np.finfo(np.float64).eps * greatest)
            theta = lsq_linear(R, z, bounds=(-bound, bound), method="bvls").x
        return np.asarray(theta / scale)

    def state(self) -> Arrays:
        """Return fits, factors and sums."""
        names = ("factors", "theta", "costs", "sums")
        return {name: getattr(self, name).copy() for name in names}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.factors, self.theta = state["factors"].copy(), state["theta"].copy()
        self.costs, self.sums = state["costs"].copy(), state["sums"].copy()


def choices(y: Float[np.ndarray, " action"], boldness: float) -> Float[np.ndarray, " action"]:
    """Return the chances of SquareCB for predicted losses `y`."""
    best = int(np.argmin(y))
    p: np.ndarray = 1.0 / (len(y) + boldness * (y - y[best]))
    p[best] += 1.0 - p.sum()
    return p
