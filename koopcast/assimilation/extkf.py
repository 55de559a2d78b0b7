"""The extended Kalman filter, and what it shares with the exact one."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from koopcast.assimilation.base import Analyse, Analysis, FilterSpec, Observed, Propagating, Setting
from koopcast.errors import EmptySelection
from koopcast.numerics.jacobians import jacobian


class CovarianceSpec(FilterSpec):
    """Options of a filter that carries a whole covariance, for states of up to a few hundred entries.

    Model noise enters the covariance; the state itself gets none.
    """

    std: PositiveFloat | None = None
    """Standard deviation of the error of the first state, entry by entry; default: the covariance of the
    climatology."""

    def num_members(self) -> int:
        """Return 1."""
        return 1

    def needs_climatology(self) -> bool:
        """Return whether the first covariance is that of the training data."""
        return self.std is None

    def needs_derivatives(self) -> bool:
        """Return True."""
        return True

    @abstractmethod
    def build(self, setting: Setting) -> Analyse:
        """Return the filter."""


class ExtKFSpec(CovarianceSpec):
    """The covariance is carried on by the model's derivative along the state."""

    kind: Literal["extkf"] = "extkf"
    inflation: PositiveFloat = 1.0
    """Factor on the covariance of the background at each analysis."""

    reference = "Jazwinski 1970, section 8.3; inflation of the covariance as in Pham, Verron and Roubaud 1998"

    def build(self, setting: Setting) -> Analyse:
        """Return the filter."""
        return ExtendedKalman(setting, self.std, self.inflation)


class ExtendedKalman(Propagating):
    """P ← M P Mᵀ + Q from record to record, P ← (I - KH) P at an analysis. It remembers `covariance` P."""

    def __init__(self, setting: Setting, std: float | None, inflation: float) -> None:
        self._setting, self._std, self._inflation = setting, std, inflation
        self.memory = {}

    def forecast(
        self, ensemble: Float[Tensor, "batch member state"], step: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch member state"]:
        """Return the state one record later, and carry the covariance with it."""
        state, M = self._tangent(step, ensemble[:, 0])
        P = M @ self._covariance(ensemble) @ M.mT
        if self._setting.noise is not None:
            P = P + self._setting.noise @ self._setting.noise.mT
        elif self._setting.noise_std is not None:
            P = P + torch.diag(self._setting.noise_std.square())
        self.memory = {"covariance": P}
        return state[:, None]

    def __call__(
        self, ensemble: Float[Tensor, "batch member state"], observed: Observed, generator: torch.Generator
    ) -> Analysis:
        """Return x + K d with K = P Hᵀ (H P Hᵀ + R)⁻¹, in whitened observations."""
        predicted, H = self._seen(observed.seen, ensemble[:, 0])
        H = H * observed.scale[..., None]
        delta = (observed.value - predicted) * observed.scale
        P = self._inflation * self._covariance(ensemble)
        HP = H @ P
        S = HP @ H.mT
        L = torch.linalg.cholesky(S + torch.eye(S.shape[-1], dtype=S.dtype, device=S.device))
        gain = torch.linalg.solve_triangular(L, HP, upper=False)
        u = torch.linalg.solve_triangular(L, delta[..., None], upper=False)
        P = P - gain.mT @ gain
        self.memory = {"covariance": (P + P.mT) / 2}
        figures = {
            "degrees_of_freedom": torch.cholesky_solve(S, L).diagonal(dim1=1, dim2=2).sum(dim=-1),
            "chi_square": u.square().sum(dim=(1, 2)),
        }
        std = P.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt() if self._is_physical else None
        return Analysis(ensemble + u.mT @ gain, figures, std)

    @property
    def _is_physical(self) -> bool:
        return self._setting.active is not None

    def _tangent(self, step: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return jacobian(step, x)

    def _seen(self, operator: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        return jacobian(operator, x)

    def _covariance(self, ensemble: Tensor) -> Float[Tensor, "batch state state"]:
        """Return P, at the start what the options say."""
        if not self.memory:
            batch, _, states = ensemble.shape
            self.memory = {"covariance": self._first(states, ensemble).expand(batch, -1, -1)}
        return self.memory["covariance"]

    def _first(self, states: int, like: Tensor) -> Float[Tensor, "state state"]:
        if self._std is not None:
            active = self._setting.active
            weights = torch.ones(states, dtype=like.dtype, device=like.device) if active is None else active
            return torch.diag(self._std**2 * weights)
        if self._setting.climatology is None:
            raise EmptySelection(
                "the first covariance is that of a climatology, and the setting holds none",
                "give `std`, or training data",
            )
        covariance: Tensor = torch.cov(self._setting.climatology.states.mT)
        return covariance
