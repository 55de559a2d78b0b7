"""The Kalman filter, exact for linear models."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from koopcast.assimilation.base import Analyse, Setting
from koopcast.assimilation.extkf import CovarianceSpec, ExtendedKalman
from koopcast.errors import InvalidInput
from koopcast.numerics.jacobians import jacobian

LINEAR = 1e-8
"""Largest relative departure from superposition of a model, or an operator, that is taken as linear."""


class KalmanSpec(CovarianceSpec):
    """The exact answer for a linear model and linear observations, with Gaussian errors.

    The model is linear if superposition holds where the filter starts; another one is refused.
    """

    kind: Literal["kalman"] = "kalman"

    reference = "Kalman 1960"

    def build(self, setting: Setting) -> Analyse:
        """Return the filter."""
        return Kalman(setting, self.std, 1.0)


class Kalman(ExtendedKalman):
    """The same where the derivative of the model is one matrix."""

    def __init__(self, setting: Setting, std: float | None, inflation: float) -> None:
        super().__init__(setting, std, inflation)
        self._M: Tensor | None = None

    def _tangent(self, step: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        if self._M is None:
            _require_linear(step, x, "the model")
            self._M = jacobian(step, x[:1])[1]
        return step(x[:, None])[:, 0], self._M

    def _seen(self, operator: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        _require_linear(operator, x, "the observation operator")
        return super()._seen(operator, x)


def _require_linear(function: Callable[[Tensor], Tensor], x: Float[Tensor, "batch state"], name: str) -> None:
    """Refuse a function for which f(x + u + v) - f(x + u) - f(x + v) + f(x) is not 0.

    Raises:
        InvalidInput: It is not linear.
    """
    size = x.square().mean().sqrt().clamp_min(1)
    numbers = torch.arange(x.numel(), dtype=x.dtype, device=x.device).reshape(x.shape)
    u, v = size * torch.sin(numbers + 1), size * torch.cos(3 * numbers)
    both, first, second, neither = function(torch.stack((x + u + v, x + u, x + v, x), dim=1)).unbind(1)
    scale = (both - neither).abs().max() + (first - neither).abs().max()
    departure = float((both - first - second + neither).abs().max() / scale.clamp_min(1e-300))
    if not departure <= LINEAR:
        raise InvalidInput(
            f"{name} is not linear: superposition fails by {departure:.2g} of the change",
            "use `extkf` or an ensemble filter",
        )
